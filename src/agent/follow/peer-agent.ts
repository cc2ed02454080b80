/**
 * The agent of the other node, over mutual TLS: asked for its report every second, and asked to do what concerns its node.
 * Nothing here waits for it longer than a deadline, and what it told last is kept with its age.
 */
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Clock, Timer } from '../../base/clock.ts';
import { WorldError } from '../../base/errors.ts';
import type { Endpoint } from '../../config/link-config.ts';
import { describeConnectionError, dialOptions, type TlsIdentity } from '../../platform/tls.ts';
import { parseJson, readBody } from '../http-body.ts';
import { type NodeReport, parseNodeReport } from '../view/reports.ts';

/** From one report to the next, ms. */
export const reportIntervalMs = 1000;
const reportDeadlineMs = 2000;
/** Without a report for this time the other agent counts as lost, ms. */
export const peerLostAfterMs = 4000;
/** Of one report: 64 modules with everything that they tell. */
const reportBytesMax = 8 * 1024 * 1024;

/** Names whom the asking agent speaks for. */
export const onBehalfHeader = 'vmpair-on-behalf-of';

export interface PeerAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface PeerRequest {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly deadlineMs: number;
  readonly onBehalfOf?: string;
}

export interface PeerAgentOptions {
  /** Of this node, as it is now. */
  readonly identity: () => TlsIdentity;
  /** Where it is and how the node is called; `undefined`: not known yet. */
  readonly where: () => { readonly node: string; readonly address: Endpoint } | undefined;
  readonly clock: Clock;
  readonly turned: (answers: boolean, because: string) => void;
}

export class PeerAgent {
  readonly #options: PeerAgentOptions;
  readonly #connections = new HttpsAgent({
    keepAlive: true,
    maxSockets: 16,
    maxFreeSockets: 2,
    // Each connection shows its certificate.
    maxCachedSessions: 0,
  });
  #report: NodeReport | undefined;
  #heardMs: number | undefined;
  #beganMs = 0;
  #problem: string | undefined = 'it was not asked yet';
  #answers: boolean | undefined;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: PeerAgentOptions) {
    this.#options = options;
  }

  get node(): string | undefined {
    return this.#options.where()?.node;
  }

  /** What it told last. */
  get report(): NodeReport | undefined {
    return this.#report;
  }

  get heardAgoMs(): number | undefined {
    return this.#heardMs === undefined ? undefined : this.#options.clock.nowMs() - this.#heardMs;
  }

  get answers(): boolean {
    return this.#answers ?? false;
  }

  /** Why there is no report now; `undefined`: there is one. */
  get problem(): string | undefined {
    return this.#problem;
  }

  begin(): void {
    this.#beganMs = this.#options.clock.nowMs();
    void this.#ask();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#connections.destroy();
  }

  /** Asks the other agent. Throws `agent-unreachable`, or why its certificate is not accepted. */
  request({ method, path, body, deadlineMs, onBehalfOf }: PeerRequest): Promise<PeerAnswer> {
    const where = this.#options.where();
    if (where === undefined) return Promise.reject(unreachable('another node', 'no module that names one'));
    const { node, address } = where;
    const identity = this.#options.identity();
    const text = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        clearTimeout(timer);
        sent.destroy();
        const what = `the agent of ${node} at ${address.host}:${address.port}`;
        const known = describeConnectionError(error, what);
        reject(known.code === 'peer-unreachable' ? unreachable(what, known.found) : known);
      };
      const sent = httpsRequest(
        {
          ...dialOptions(identity, { clusterId: identity.self.clusterId, role: 'node', name: node }),
          host: address.host,
          port: address.port,
          method,
          path,
          agent: this.#connections,
          headers: {
            ...(text === undefined
              ? {}
              : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
            ...(onBehalfOf === undefined ? {} : { [onBehalfHeader]: onBehalfOf }),
          },
        },
        (answer) => {
          readBody(answer, reportBytesMax).then((bytes) => {
            clearTimeout(timer);
            resolve({ status: answer.statusCode ?? 0, body: parseJson(bytes) });
          }, fail);
        },
      );
      const timer = setTimeout(() => fail(new Error(`no answer within ${deadlineMs} ms`)), deadlineMs);
      sent.on('error', fail);
      sent.end(text);
    });
  }

  async #ask(): Promise<void> {
    try {
      const answer = await this.request({
        method: 'GET',
        path: '/api/v1/node',
        deadlineMs: reportDeadlineMs,
      });
      const report = answer.status === 200 ? parseNodeReport(answer.body) : undefined;
      if (report === undefined) {
        const found = answer.status === 200 ? 'a report of another form' : `the status ${answer.status}`;
        throw unreachable('a report of the other agent', found);
      }
      this.#report = report;
      this.#heardMs = this.#options.clock.nowMs();
      this.#problem = undefined;
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      this.#problem = error.found;
    }
    if (this.#closed) return;
    this.#judge();
    this.#timer = this.#options.clock.after(reportIntervalMs, () => void this.#ask());
  }

  #judge(): void {
    const silentMs = this.heardAgoMs ?? this.#options.clock.nowMs() - this.#beganMs;
    const answers = this.#problem === undefined;
    if (!answers && silentMs < peerLostAfterMs) return;
    if (answers === this.#answers) return;
    this.#answers = answers;
    this.#options.turned(answers, this.#problem ?? 'it answers');
  }
}

function unreachable(what: string, found: string): WorldError {
  return new WorldError('agent-unreachable', {
    wanted: `an answer of ${what}`,
    found,
    next: 'Look at the other server: `systemctl status vmpair-agent`. Its modules go on without it.',
  });
}
