/**
 * Whether a secondary is the one that is cut off: it reaches none of the addresses that it was given, usually the gateway. Then it
 * neither claims nor has its peer switched off: a VM that nobody reaches is of no use here. Never a proof, and nothing is ever allowed
 * because of it.
 *
 * A primary is not asked. Its VM runs, and a gateway that fails would otherwise stop every VM of the pair; whether it may go on is
 * what the record or the fence says. Nor is an operator who asked for `prim`.
 */
import type { Surroundings } from '../arbiter/fence.ts';
import type { Clock } from '../base/clock.ts';
import type { Decision } from '../base/decision.ts';
import type { AloneAction, AloneSituation, Timers } from './decide-alone.ts';

/** Longest time that one address may take to answer, ms. */
export const pingDeadlineMs = 1000;
/** From one question to the next, ms. */
const askIntervalMs = 1000;
/** An older answer is none, ms. */
const answerValidMs = 3000;

export class Isolation {
  readonly #surroundings: Surroundings | undefined;
  readonly #clock: Clock;
  readonly #changed: () => void;
  #asking = false;
  #askedMs = Number.NEGATIVE_INFINITY;
  #answer: { readonly reached: boolean; readonly atMs: number } | undefined;

  constructor(surroundings: Surroundings | undefined, clock: Clock, changed: () => void) {
    this.#surroundings = surroundings;
    this.#clock = clock;
    this.#changed = changed;
  }

  review(decision: Decision<AloneAction>, situation: AloneSituation, timers: Timers): Decision<AloneAction> {
    const surroundings = this.#surroundings;
    const { primary, forced, peer, silenceMs } = situation;
    if (
      surroundings === undefined ||
      primary ||
      forced ||
      peer !== 'silent' ||
      silenceMs < timers.lostAfterMs
    )
      return decision;
    // Before the answer is needed, so that it delays nobody who is not cut off.
    this.#ask(surroundings);
    if (decision.action !== 'claim' && decision.action !== 'go-on-without-arbiter') return decision;
    const isFresh = this.#answer !== undefined && this.#clock.nowMs() - this.#answer.atMs <= answerValidMs;
    if (isFresh && this.#answer?.reached === true) return decision;
    const addresses = surroundings.addresses.join(', ');
    const because = isFresh
      ? `this node reaches none of ${addresses}: it is cut off, and does not take over`
      : `this node is looking whether it reaches ${addresses}`;
    return { action: 'wait', rule: 'reaches-nobody', because };
  }

  #ask(surroundings: Surroundings): void {
    const nowMs = this.#clock.nowMs();
    if (this.#asking || nowMs - this.#askedMs < askIntervalMs) return;
    this.#asking = true;
    this.#askedMs = nowMs;
    surroundings.reachAny((reached) => {
      this.#asking = false;
      this.#answer = { reached, atMs: this.#clock.nowMs() };
      this.#changed();
    });
  }
}
