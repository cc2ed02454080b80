/**
 * A fence as a port: something that switches the peer's server off and then proves that it is off (a program, a server's management
 * controller, a command over SSH). A proof is a status that says "off" after the switching, never the acceptance of the order, and
 * never silence: a controller that lost its power with its server does not answer, and that proves nothing.
 *
 * A fence remembers nothing. What its proof allows is decided in `decide-fence.ts` and `fencing.ts`.
 */

/** `because`: one sentence for a person, without the full stop. */
export interface FenceAnswer {
  readonly kind: 'off' | 'no-proof';
  readonly because: string;
}

/** Whether the fence would answer when it is needed; nothing was switched to find out. */
export interface FenceTest {
  /** `not-testable`: there is no way to ask without switching. */
  readonly kind: 'answers' | 'no-answer' | 'not-testable';
  readonly because: string;
}

/** One try to switch off. */
export interface FenceAttempt {
  /** Ends it as soon as possible, with its answer. What was already ordered may still happen. Idempotent. */
  abandon(): void;
}

export interface Fence {
  /** Every answer comes within this, ms. */
  readonly deadlineMs: number;
  /** Switches the peer off. `answered` exactly once, and not from inside the call. */
  proveOff(answered: (answer: FenceAnswer) => void): FenceAttempt;
  /** Asks for a status and switches nothing. `answered` exactly once, and not from inside the call. */
  test(answered: (test: FenceTest) => void): void;
}

/** Addresses outside the pair, by which a node sees whether it is the one that is cut off. */
export interface Surroundings {
  readonly addresses: readonly string[];
  /** Whether any of them answers; exactly once, within `pingDeadlineMs`, and not from inside the call. */
  reachAny(answered: (reached: boolean) => void): void;
}
