/** Follows the supervisor of this node: which modules it keeps running, and how their processes are. */
import { z } from 'zod';
import type { Clock } from '../../base/clock.ts';
import type { Decision } from '../../base/decision.ts';
import type { SupervisedStatus } from '../../supervisor/supervised-module.ts';
import { FollowedProcess } from './followed-process.ts';

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
  readonly #process: FollowedProcess;
  #modules: readonly SupervisedStatus[] = [];
  #answers: boolean | undefined;
  #because = 'it was not asked yet';

  constructor(options: SupervisorFollowerOptions) {
    this.#options = options;
    this.#process = new FollowedProcess({
      control: options.control,
      question: 'list',
      clock: options.clock,
      answered: (answer) => {
        this.#modules = answer as readonly SupervisedStatus[];
        this.#turn(true, 'it answers');
        options.listed(this.#modules);
      },
      silent: (because) => this.#turn(false, because),
      event: (event) => this.#event(event),
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
    this.#process.begin();
  }

  close(): void {
    this.#process.close();
  }

  #event(value: unknown): boolean {
    const parsed = decidedSchema.safeParse(value);
    if (parsed.success) this.#options.decided(parsed.data.module, parsed.data);
    return parsed.success;
  }

  #turn(answers: boolean, because: string): void {
    const turned = this.#answers !== answers;
    this.#answers = answers;
    this.#because = because;
    if (turned) this.#options.turned(answers, because);
  }
}
