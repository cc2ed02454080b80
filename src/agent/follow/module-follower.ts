/**
 * Follows one module of this node over its control socket: events tell at once that something changed, a status is asked for
 * then, and now and then anyway. A module that does not answer keeps its last status, with its age and the reason.
 */
import { z } from 'zod';
import type { Clock, Timer } from '../../base/clock.ts';
import type { ModuleStatus } from '../../base/status.ts';
import { ControlClient } from '../../platform/control-client.ts';

/** Without an event, ms. */
export const statusIntervalMs = 2000;
/** While the module does not answer, ms. */
const retryIntervalMs = 250;
/** A module answers from its event loop; one that takes longer hangs. */
const statusDeadlineMs = 1500;
/** Of one status after another, ms: a burst of events is one question. */
const statusSpacingMs = 50;
/** The arbiter is asked through the module so often, ms: it has no traffic of its own while the pair is in sync. */
export const arbiterIntervalMs = 60_000;
const arbiterDeadlineMs = 20_000;

const eventSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('state'),
    state: z.enum(['STOP', 'WAIT', 'ALONE', 'PRIM', 'SECOND']),
    readiness: z.enum(['not-ready', 'transient', 'ready']),
    because: z.string(),
    axes: z.looseObject({}),
  }),
  // The next status has it, with those that were missed.
  z.object({ kind: z.literal('decision') }),
]);

export interface ModuleFollowerOptions {
  readonly module: string;
  readonly control: string;
  readonly clock: Clock;
  /** A newer status; `before`: the last one that this agent saw. */
  readonly changed: (status: ModuleStatus, before: ModuleStatus | undefined) => void;
}

export interface ArbiterSeen {
  readonly verdict: string;
  readonly because: string;
  readonly askedMs: number;
}

const arbiterAnswerSchema = z.looseObject({ verdict: z.string(), because: z.string() });

export class ModuleFollower {
  readonly #options: ModuleFollowerOptions;
  readonly #client: ControlClient;
  #status: ModuleStatus | undefined;
  #heardMs: number | undefined;
  #problem: string | undefined = 'it was not asked yet';
  #arbiter: ArbiterSeen | undefined;
  #arbiterDueMs = 0;
  #subscribed = false;
  #asking = false;
  #askAgain = false;
  #timer: Timer | undefined;
  #closed = false;
  readonly #waiters = new Set<(status: ModuleStatus | undefined) => void>();

  constructor(options: ModuleFollowerOptions) {
    this.#options = options;
    this.#client = new ControlClient({
      path: options.control,
      event: (event) => this.#event(event),
      disconnected: () => {
        this.#subscribed = false;
        this.#soon(0);
      },
    });
    // All modules of a node are not to ask the arbiter in the same instant.
    this.#arbiterDueMs = options.clock.nowMs() + Math.random() * arbiterIntervalMs * 0.1;
  }

  get control(): string {
    return this.#options.control;
  }

  get status(): ModuleStatus | undefined {
    return this.#status;
  }

  /** Why it does not answer; `undefined`: it does. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Since the status was given. */
  get heardAgoMs(): number | undefined {
    return this.#heardMs === undefined ? undefined : this.#options.clock.nowMs() - this.#heardMs;
  }

  get arbiter(): ArbiterSeen | undefined {
    return this.#arbiter;
  }

  begin(): void {
    void this.#ask();
  }

  /** A status that is newer than this call; `undefined` when the module does not answer now. */
  fresh(): Promise<ModuleStatus | undefined> {
    return new Promise((resolve) => {
      this.#waiters.add(resolve);
      if (this.#asking) this.#askAgain = true;
      else void this.#ask();
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#client.close();
    for (const resolve of this.#waiters) resolve(undefined);
    this.#waiters.clear();
  }

  #event(value: unknown): void {
    const parsed = eventSchema.safeParse(value);
    if (!parsed.success) return;
    if (parsed.data.kind === 'state' && this.#status !== undefined && this.#problem === undefined) {
      const { kind: _kind, axes, ...shown } = parsed.data;
      this.#took({ ...this.#status, ...shown, axes: { ...this.#status.axes, ...axes } });
    }
    this.#soon(statusSpacingMs);
  }

  #soon(delayMs: number): void {
    if (this.#closed) return;
    if (this.#asking) {
      this.#askAgain = true;
      return;
    }
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => void this.#ask());
  }

  async #ask(): Promise<void> {
    if (this.#asking || this.#closed) return;
    this.#asking = true;
    this.#askAgain = false;
    this.#timer?.cancel();
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    try {
      if (!this.#subscribed) {
        this.#subscribed = true;
        await this.#client.call('subscribe', {}, statusDeadlineMs);
      }
      this.#took((await this.#client.call('status', {}, statusDeadlineMs)) as ModuleStatus);
    } catch (error) {
      this.#subscribed = false;
      // What was not answered is not asked again of a process that hangs.
      this.#client.close();
      this.#problem = error instanceof Error && 'found' in error ? String(error.found) : String(error);
    }
    this.#asking = false;
    const answered = this.#problem === undefined;
    for (const resolve of waiters) resolve(answered ? this.#status : undefined);
    if (this.#closed) return;
    if (answered) void this.#askArbiterWhenDue();
    const again = this.#askAgain || this.#waiters.size > 0;
    this.#soon(answered ? (again ? statusSpacingMs : statusIntervalMs) : retryIntervalMs);
  }

  #took(status: ModuleStatus): void {
    const before = this.#status;
    this.#status = status;
    this.#heardMs = this.#options.clock.nowMs();
    this.#problem = undefined;
    this.#options.changed(status, before);
  }

  async #askArbiterWhenDue(): Promise<void> {
    const { clock } = this.#options;
    if (clock.nowMs() < this.#arbiterDueMs) return;
    this.#arbiterDueMs = clock.nowMs() + arbiterIntervalMs;
    const answer = await this.#client.call('arbiter', {}, arbiterDeadlineMs).catch(() => undefined);
    const parsed = arbiterAnswerSchema.safeParse(answer);
    if (!parsed.success) return;
    const { verdict, because } = parsed.data;
    this.#arbiter = { verdict, because, askedMs: clock.nowMs() };
  }
}
