/**
 * What the peer said of its own checks, and whether the VM would be better off there. A word counts on the connection on which it
 * came, and for a while; a peer of an older version says nothing. Pure.
 */
import type { Clock } from '../base/clock.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import type { ControlMessage } from '../link/control-messages.ts';
import { reportsSinceProtocol, commonProtocol } from '../link/frames.ts';

export type ChecksMessage = Extract<ControlMessage, { type: 'checks' }>;

/** How old the word of the peer may be, ms: it comes more often. */
export const peerWordValidMs = 30_000;

/** From one word to the peer to the next when nothing has changed, ms. */
const tellIntervalMs = 10_000;

/** What both nodes tell each other of their checks. */
export class PeerWord {
  readonly #clock: Clock;
  #said: ChecksMessage | undefined;
  #saidOn: PeerChannel | undefined;
  #saidMs = 0;
  #told = '';
  #toldOn: PeerChannel | undefined;
  #toldMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  observe(message: ChecksMessage, channel: PeerChannel | undefined): void {
    this.#said = message;
    this.#saidOn = channel;
    this.#saidMs = this.#clock.nowMs();
  }

  current(channel: PeerChannel | undefined): ChecksMessage | undefined {
    const isCurrent = channel !== undefined && channel === this.#saidOn;
    return isCurrent && this.#clock.nowMs() - this.#saidMs <= peerWordValidMs ? this.#said : undefined;
  }

  /**
   * Tells the peer when there is news, and again after a while. `news` changes when the message does, but for what changes with time;
   * `protocols`: those of the peer, `undefined` as long as it has not said them.
   */
  tell(
    channel: PeerChannel | undefined,
    protocols: readonly number[] | undefined,
    news: string,
    message: () => ChecksMessage,
  ): void {
    const protocol = protocols && commonProtocol(protocols);
    if (channel === undefined || protocol === undefined || protocol < reportsSinceProtocol) return;
    const nowMs = this.#clock.nowMs();
    const isKnown = channel === this.#toldOn && news === this.#told;
    if (isKnown && nowMs - this.#toldMs < tellIntervalMs) return;
    this.#told = news;
    this.#toldMs = nowMs;
    this.#toldOn = channel;
    channel.control(message());
  }
}

/**
 * Why the peer is not healthier for checks that fail here; `undefined`: it is. Of what fails here and is about the host, everything is
 * well there, and nothing fails there that does not fail here. `failing`: the failing checks of the rule that are about the host;
 * `failingHere`: all of this node that are, without those that only notify.
 */
export function healthObstacle(
  failing: readonly string[],
  failingHere: readonly string[],
  word: ChecksMessage | undefined,
): string | undefined {
  if (word === undefined) {
    return failing.length === 0 ? undefined : 'the peer does not say how its own checks are';
  }
  const alsoThere = failing.filter((name) => word.failing.includes(name));
  if (alsoThere.length > 0) return `${alsoThere.join(', ')} fails on the peer as well`;
  const unknown = failing.filter((name) => !word.well.includes(name));
  if (unknown.length > 0) return `the peer does not know yet whether ${unknown.join(', ')} is well there`;
  const onlyThere = word.failing.filter((name) => !failingHere.includes(name));
  if (onlyThere.length > 0) return `${onlyThere.join(', ')} fails on the peer`;
  return undefined;
}
