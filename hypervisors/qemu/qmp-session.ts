/**
 * The client side of one QMP connection, sans-IO (QEMU Machine Protocol, docs/interop/qmp-spec): greeting, negotiation of
 * capabilities, commands with ids and deadlines, events.
 *
 * Invariants: every command settles: with its reply, at its deadline, or when the connection ends. A late reply is
 * dropped. Bytes are foreign: lines over `qmpLineBytesMax`, text that is not JSON and values of an unknown shape end the
 * connection. It does not reconnect.
 */
import type { Clock, Timer } from '../../src/base/clock.ts';
import { JsonLineReader } from '../../src/platform/json-lines.ts';
import { actionFailed } from '../deadline.ts';
import type { Wait } from '../port.ts';

/** Longest line taken from a monitor, bytes. */
export const qmpLineBytesMax = 1024 * 1024;
/** Commands without a reply on one connection. */
export const qmpCommandsMax = 64;

export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpPort {
  send(text: string): void;
  /** Ends the connection; `closed` of the session follows, now or later. */
  close(): void;
}

export interface QmpHandler {
  /** Capabilities are negotiated; commands may be sent. */
  ready(): void;
  event(event: QmpEvent): void;
  /** Last call. */
  closed(because: string): void;
}

interface PendingCommand {
  readonly name: string;
  readonly timer: Timer;
  readonly unlisten: () => void;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export class QmpSession {
  readonly #port: QmpPort;
  readonly #clock: Clock;
  readonly #handler: QmpHandler;
  readonly #reader: JsonLineReader;
  readonly #pending = new Map<number, PendingCommand>();
  #nextId = 1;
  #stage: 'greeting' | 'negotiating' | 'ready' | 'closed' = 'greeting';

  constructor(port: QmpPort, clock: Clock, handler: QmpHandler) {
    this.#port = port;
    this.#clock = clock;
    this.#handler = handler;
    this.#reader = new JsonLineReader(qmpLineBytesMax, (value) => this.#message(value));
  }

  received(bytes: Uint8Array): void {
    if (this.#stage === 'closed') return;
    const problem = this.#reader.feed(bytes);
    if (problem !== undefined) this.#violation(problem);
  }

  closed(because: string): void {
    if (this.#stage === 'closed') return;
    this.#stage = 'closed';
    for (const id of this.#pending.keys()) this.#fail(id, because);
    this.#handler.closed(because);
  }

  /** The `return` value of the reply. Errors: `vm-action-failed`. */
  execute(name: string, commandArguments: object | undefined, wait: Wait): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const refuse = (found: string) =>
        reject(actionFailed(`the monitor to do "${name}"`, found, 'Look at the state of the VM.'));
      if (this.#stage !== 'ready') return refuse('no connection to the monitor');
      if (this.#pending.size >= qmpCommandsMax) return refuse(`${qmpCommandsMax} commands without a reply`);
      if (wait.signal?.aborted === true) return refuse('the caller gave up');
      const id = this.#nextId;
      this.#nextId += 1;
      const abort = () => this.#fail(id, 'the caller gave up');
      wait.signal?.addEventListener('abort', abort);
      const unlisten = () => wait.signal?.removeEventListener('abort', abort);
      const timer = this.#clock.after(wait.timeoutMs, () =>
        this.#fail(id, `no reply within ${Math.round(wait.timeoutMs)} ms`),
      );
      this.#pending.set(id, { name, timer, unlisten, resolve, reject });
      this.#send({ execute: name, arguments: commandArguments, id });
    });
  }

  #send(message: object): void {
    this.#port.send(`${JSON.stringify(message)}\n`);
  }

  #message(value: unknown): void {
    if (this.#stage === 'closed') return;
    if (!isRecord(value)) return this.#violation('a value that is no object');
    if (this.#stage === 'greeting') {
      if (!isRecord(value['QMP'])) return this.#violation('no greeting');
      this.#stage = 'negotiating';
      return this.#send({ execute: 'qmp_capabilities', id: 0 });
    }
    if (typeof value['event'] === 'string') {
      const data = isRecord(value['data']) ? value['data'] : {};
      return this.#handler.event({ name: value['event'], data });
    }
    if ('return' in value || isRecord(value['error'])) return this.#reply(value);
    this.#violation('an unknown message');
  }

  #reply(value: Readonly<Record<string, unknown>>): void {
    const { id, error } = value;
    if (this.#stage === 'negotiating') {
      if (id !== 0 || error !== undefined) return this.#violation('capabilities were refused');
      this.#stage = 'ready';
      return this.#handler.ready();
    }
    const pending = typeof id === 'number' ? this.#pending.get(id) : undefined;
    if (pending === undefined) return;
    if (isRecord(error)) return this.#fail(id as number, String(error['desc']));
    this.#take(id as number)?.resolve(value['return']);
  }

  #take(id: number): PendingCommand | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.timer.cancel();
    pending?.unlisten();
    return pending;
  }

  #fail(id: number, found: string): void {
    const pending = this.#take(id);
    pending?.reject(
      actionFailed(`the monitor to do "${pending.name}"`, found, 'Look at the state of the VM.'),
    );
  }

  #violation(what: string): void {
    this.#port.close();
    this.closed(`the monitor broke the protocol: ${what}`);
  }
}
