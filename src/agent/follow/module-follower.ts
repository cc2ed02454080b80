/**
 * Follows one module of this node: its events change what people see at once, its status has the rest. A module that does
 * not answer keeps its last status, with its age and the reason.
 */
import { z } from 'zod';
import type { Clock } from '../../base/clock.ts';
import type { ModuleStatus } from '../../base/status.ts';
import { FollowedProcess } from './followed-process.ts';

/** The arbiter is asked through the module so often, ms: it has no traffic of its own while the pair is in sync. */
export const arbiterIntervalMs = 60_000;
/** The first questions of all modules of a node are spread over this time, ms. */
const arbiterSpreadMs = 6000;
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

const arbiterAnswerSchema = z.looseObject({ verdict: z.string(), because: z.string() });

export interface ModuleFollowerOptions {
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

export class ModuleFollower {
  readonly #options: ModuleFollowerOptions;
  readonly #process: FollowedProcess;
  #status: ModuleStatus | undefined;
  #heardMs: number | undefined;
  #problem: string | undefined = 'it was not asked yet';
  #arbiter: ArbiterSeen | undefined;
  #arbiterDueMs: number;

  constructor(options: ModuleFollowerOptions) {
    const { control, clock } = options;
    this.#options = options;
    this.#arbiterDueMs = clock.nowMs() + Math.random() * arbiterSpreadMs;
    this.#process = new FollowedProcess({
      control,
      question: 'status',
      clock,
      answered: (answer) => {
        this.#took(answer as ModuleStatus);
        void this.#askArbiterWhenDue();
      },
      silent: (because) => {
        this.#problem = because;
      },
      event: (event) => this.#event(event),
    });
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
    this.#process.begin();
  }

  close(): void {
    this.#process.close();
  }

  /** A status that is newer than this call; `undefined` when the module does not answer now. */
  async fresh(): Promise<ModuleStatus | undefined> {
    return (await this.#process.fresh()) ? this.#status : undefined;
  }

  #event(value: unknown): boolean {
    const parsed = eventSchema.safeParse(value);
    if (!parsed.success) return false;
    if (parsed.data.kind === 'state' && this.#status !== undefined && this.#problem === undefined) {
      const { kind: _kind, axes, ...shown } = parsed.data;
      this.#took({ ...this.#status, ...shown, axes: { ...this.#status.axes, ...axes } });
    }
    return true;
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
    const answer = await this.#process.call('arbiter', arbiterDeadlineMs).catch(() => undefined);
    const parsed = arbiterAnswerSchema.safeParse(answer);
    if (!parsed.success) return;
    const { verdict, because } = parsed.data;
    this.#arbiter = { verdict, because, askedMs: clock.nowMs() };
  }
}
