/**
 * Does what people ask of modules: finds the node that is to do it, asks the module there, or the agent there. The agent
 * decides nothing: modules refuse what must not be.
 */
import { WorldError } from '../base/errors.ts';
import { callOnce } from '../platform/control-client.ts';
import { describePrincipal, type Principal, type Role } from './access/permissions.ts';
import { Answer } from './api/route.ts';
import { errorBody, errorOfBody, statusOf } from './api/http-errors.ts';
import type { PeerAgent } from './follow/peer-agent.ts';
import type { Job } from './jobs/job.ts';
import type { Jobs } from './jobs/jobs.ts';
import type { EventJournal } from './journal/event-journal.ts';
import { type ActionName, type ModuleAction, moduleActions } from './module-actions.ts';
import type { NodeWatch } from './node-watch.ts';

/** What the way to the other agent and back may take beyond the work itself, ms. */
const forwardMarginMs = 5000;
/** How long the supervisor may take to end a process, ms. */
const processDeadlineMs = 30_000;

/** What the supervisor can be asked for, and who may. */
export const processActions = {
  restart: { role: 'operator', summary: 'End the process of the module and start it again; its VM runs on.' },
  start: { role: 'operator', summary: 'Start the process of the module.' },
  stop: {
    role: 'admin',
    summary: 'End the process of the module and keep it ended; then nobody serves its VM.',
  },
} as const satisfies Record<string, { readonly role: Role; readonly summary: string }>;
export type ProcessAction = keyof typeof processActions;
export const processActionNames = Object.keys(processActions) as ProcessAction[];

export interface ModuleCallsOptions {
  readonly node: string;
  readonly watch: NodeWatch;
  readonly peer: PeerAgent;
  readonly jobs: Jobs;
  readonly journal: EventJournal;
  readonly supervisorSocket: string;
  /** The node that serves the module, as far as it is known. */
  readonly primaryOf: (module: string) => string | undefined;
}

/** Who asked for what, where. */
export interface Asked {
  readonly module: string;
  /** `undefined`: the node that the action asks for. */
  readonly node: string | undefined;
  readonly principal: Principal;
}

export class ModuleCalls {
  readonly #options: ModuleCallsOptions;

  constructor(options: ModuleCallsOptions) {
    this.#options = options;
  }

  /** Asks a module. A job answers when it has ended, or as it is after `waitMs`. */
  async act(name: ActionName, args: object, waitMs: number, asked: Asked): Promise<unknown> {
    const action: ModuleAction = moduleActions[name];
    const { module } = asked;
    const node = this.#nodeFor(asked, action.asks);
    if (node !== this.#options.node) {
      const path = `/api/v1/modules/${encodeURIComponent(module)}/actions/${name}?waitMs=${waitMs}`;
      const workMs = action.quick ? action.deadlineMs : waitMs;
      return this.#forward(path, { ...args, node }, workMs + forwardMarginMs, asked);
    }
    const control = this.#controlOf(module);
    const work = (): Promise<unknown> => callOnce(control, name, args, action.deadlineMs);
    if (action.quick) {
      if (action.role !== 'viewer') this.#note(name, asked);
      return work();
    }
    const by = describePrincipal(asked.principal);
    const { id } = await this.#options.jobs.start({ module, action: name, by }, work);
    return jobAnswer(await this.#options.jobs.wait(id, waitMs));
  }

  /** Asks the supervisor for the process of a module. */
  async actOnProcess(action: ProcessAction, asked: Asked): Promise<unknown> {
    const { module } = asked;
    const node = this.#nodeFor(asked, 'this-node');
    if (node !== this.#options.node) {
      const path = `/api/v1/modules/${encodeURIComponent(module)}/process/${action}`;
      return this.#forward(path, { node }, processDeadlineMs + forwardMarginMs, asked);
    }
    this.#note(`process ${action}`, asked);
    return callOnce(this.#options.supervisorSocket, action, { module }, processDeadlineMs);
  }

  /** A job of this node, or of the other one, whose agent is asked. Throws `not-found`. */
  async job(id: string, waitMs: number, principal: Principal): Promise<unknown> {
    const [node] = id.split('.');
    if (node === this.#options.peer.node && node !== this.#options.node) {
      const path = `/api/v1/jobs/${encodeURIComponent(id)}?waitMs=${waitMs}`;
      return this.#toPeer('GET', path, undefined, waitMs + forwardMarginMs, principal);
    }
    const job = await this.#options.jobs.wait(id, waitMs);
    if (job !== undefined) return job;
    throw new WorldError('not-found', {
      wanted: `a job ${id}`,
      found: 'none of that id; old ones are forgotten',
      next: 'See /api/v1/jobs.',
    });
  }

  /** What the other agent answers to a question about its node; `undefined`: the question is for this one. Throws as `request`. */
  async askOther(node: string | undefined, path: string, principal: Principal): Promise<unknown> {
    const { node: self } = this.#options;
    if (this.#nodeFor({ module: '', node, principal }, 'this-node') === self) return undefined;
    const { status, body } = await this.#options.peer.request({
      method: 'GET',
      path,
      deadlineMs: forwardMarginMs,
      onBehalfOf: describePrincipal(principal),
    });
    if (status === 200) return body;
    throw (
      errorOfBody(body) ??
      new WorldError('agent-unreachable', {
        wanted: `an answer of the agent of ${node}`,
        found: `the status ${status}`,
        next: 'Look at the log of that agent; it may be of another version.',
      })
    );
  }

  #note(action: string, { module, principal }: Asked): void {
    const by = describePrincipal(principal);
    this.#options.journal.add({ kind: 'action', module, action, by, because: `${by} asked for it` });
  }

  #nodeFor({ module, node, principal }: Asked, asks: ModuleAction['asks']): string {
    const { node: self, peer, primaryOf } = this.#options;
    const wanted = node ?? (asks === 'primary' ? primaryOf(module) : undefined) ?? self;
    if (wanted === self) return self;
    // What the other agent sends is for this node: it never goes back.
    if (wanted === peer.node && principal.kind !== 'peer') return wanted;
    throw new WorldError('request-invalid', {
      wanted: `one of the nodes ${[self, ...(peer.node === undefined ? [] : [peer.node])].join(' and ')}`,
      found: `node ${JSON.stringify(wanted)}`,
      next: 'Correct the name of the node; nothing was changed.',
    });
  }

  #controlOf(module: string): string {
    const follower = this.#options.watch.follower(module);
    if (follower !== undefined) return follower.control;
    const names = this.#options.watch.report().modules.map((each) => each.module);
    throw new WorldError('module-unknown', {
      wanted: `one of the modules of node ${this.#options.node}: ${names.join(', ') || '(none)'}`,
      found: JSON.stringify(module),
      next: 'Correct the name, or name the node that has it.',
    });
  }

  #forward(path: string, body: object, deadlineMs: number, { principal }: Asked): Promise<unknown> {
    return this.#toPeer('POST', path, body, deadlineMs, principal);
  }

  async #toPeer(
    method: string,
    path: string,
    body: object | undefined,
    deadlineMs: number,
    principal: Principal,
  ): Promise<unknown> {
    const onBehalfOf = describePrincipal(principal);
    const sent = { method, path, deadlineMs, onBehalfOf };
    const answer = await this.#options.peer.request(body === undefined ? sent : { ...sent, body });
    const { id } = (answer.body ?? {}) as { readonly id?: unknown };
    return new Answer(answer.status, answer.body, typeof id === 'string' ? { job: id } : {});
  }
}

/** 200 with what the job has done, 202 while it goes on, or the error with which it ended. */
function jobAnswer(job: Job | undefined): Answer {
  if (job?.state === 'failed' && job.error !== undefined) {
    const { code, ...problem } = job.error;
    const error = new WorldError(code as WorldError['code'], problem);
    return new Answer(statusOf(error.code), errorBody(error), { job: job.id });
  }
  return new Answer(job?.state === 'running' ? 202 : 200, job, job === undefined ? {} : { job: job.id });
}
