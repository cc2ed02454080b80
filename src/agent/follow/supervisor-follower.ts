/** Follows the supervisor of this node: which modules it keeps running, and how their processes are. */
import { z } from 'zod';
import type { Clock, Timer } from '../../base/clock.ts';
import type { Decision } from '../../base/decision.ts';
import { ControlClient } from '../../platform/control-client.ts';
import type { SupervisedStatus } from '../../supervisor/supervised-module.ts';

const listIntervalMs = 2000;
const retryIntervalMs = 250;
const listDeadlineMs = 1500;

const decidedSchema = z.object({
  kind: z.literal('decided'),
  module: z.string(),
  action: z.string(),
  rule: z.string(),
  because: z.string(),
});

export interface SupervisorFollowerOptions {
  readonly control: string;
  readonly clock: Clock;
  readonly listed: (modules: readonly SupervisedStatus[]) => void;
  readonly decided: (module: string, decision: Decision<string>) => void;
  /** It answers again, or no longer. */
  readonly turned: (answers: boolean, because: string) => void;
}

export class SupervisorFollower {
  readonly #options: SupervisorFollowerOptions;
  readonly #client: ControlClient;
  #modules: readonly SupervisedStatus[] = [];
  #answers: boolean | undefined;
  #because = 'it was not asked yet';
  #subscribed = false;
  #asking = false;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: SupervisorFollowerOptions) {
    this.#options = options;
    this.#client = new ControlClient({
      path: options.control,
      event: (event) => this.#event(event),
      disconnected: () => {
        this.#subscribed = false;
        this.#soon(0);
      },
    });
  }

  get answers(): boolean {
    return this.#answers ?? false;
  }

  get because(): string {
    return this.#because;
  }

  /** As it told last. */
  get modules(): readonly SupervisedStatus[] {
    return this.#modules;
  }

  begin(): void {
    void this.#ask();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#client.close();
  }

  #event(value: unknown): void {
    const parsed = decidedSchema.safeParse(value);
    if (!parsed.success) return;
    this.#options.decided(parsed.data.module, parsed.data);
    this.#soon(0);
  }

  #soon(delayMs: number): void {
    if (this.#closed || this.#asking) return;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => void this.#ask());
  }

  async #ask(): Promise<void> {
    this.#asking = true;
    try {
      if (!this.#subscribed) {
        this.#subscribed = true;
        await this.#client.call('subscribe', {}, listDeadlineMs);
      }
      this.#modules = (await this.#client.call('list', {}, listDeadlineMs)) as readonly SupervisedStatus[];
      this.#turn(true, 'it answers');
      this.#options.listed(this.#modules);
    } catch (error) {
      this.#subscribed = false;
      // What was not answered is not asked again of a process that hangs.
      this.#client.close();
      this.#turn(false, error instanceof Error && 'found' in error ? String(error.found) : String(error));
    }
    this.#asking = false;
    this.#soon(this.answers ? listIntervalMs : retryIntervalMs);
  }

  #turn(answers: boolean, because: string): void {
    const turned = this.#answers !== answers;
    this.#answers = answers;
    this.#because = because;
    if (turned && !this.#closed) this.#options.turned(answers, because);
  }
}
