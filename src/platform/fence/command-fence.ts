/**
 * A program of the administrator as a fence. Exit code 0 is the proof that the node is off; every other end of it is none, and the
 * end of its output is shown. A second program, which switches nothing, tests whether the first would work.
 */
import type { Fence, FenceAttempt, FenceTest } from '../../arbiter/fence.ts';
import { runBounded } from './bounded-program.ts';
import type { FenceTarget } from './fence-choice.ts';

export interface CommandFenceConfig {
  readonly kind: 'command';
  /** Program and arguments. */
  readonly off: readonly string[];
  readonly test?: readonly string[] | undefined;
}

export class CommandFence implements Fence {
  readonly deadlineMs: number;
  readonly #config: CommandFenceConfig;
  readonly #env: Readonly<Record<string, string>>;

  constructor(config: CommandFenceConfig, { node, self, module, deadlineMs }: FenceTarget) {
    this.#config = config;
    this.deadlineMs = deadlineMs;
    this.#env = { VMPAIR_FENCE_NODE: node, VMPAIR_NODE: self, VMPAIR_MODULE: module };
  }

  proveOff(answered: Parameters<Fence['proveOff']>[0]): FenceAttempt {
    const [program = '', ...rest] = this.#config.off;
    const running = runBounded(program, rest, this.#options, ({ code, because }) =>
      answered({ kind: code === 0 ? 'off' : 'no-proof', because: `${program}: ${because}` }),
    );
    return { abandon: () => running.abandon('given up: the peer answers') };
  }

  test(answered: (test: FenceTest) => void): void {
    if (this.#config.test === undefined) {
      const because = 'no program that tests without switching is configured (`test`)';
      setImmediate(() => answered({ kind: 'not-testable', because }));
      return;
    }
    const [program = '', ...rest] = this.#config.test;
    runBounded(program, rest, this.#options, ({ code, because }) =>
      answered({ kind: code === 0 ? 'answers' : 'no-answer', because: `${program}: ${because}` }),
    );
  }

  get #options() {
    return { deadlineMs: this.deadlineMs, env: this.#env };
  }
}
