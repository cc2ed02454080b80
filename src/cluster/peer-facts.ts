/**
 * What this node knows of its peer's copy, for display: asked over the link when there is one, else what the peer said
 * last, else what this node recorded. Nothing is decided by it.
 */
import type { Clock } from '../base/clock.ts';
import type { PersistentState } from '../disk/state.ts';
import { coveredBytes } from '../engine/coverage.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import type { Replica } from '../engine/replica.ts';
import type { ControlMessage, CopyFacts } from '../link/control-messages.ts';
import { type DryRun, dryRun, type KnownCopy, peerAsRecorded } from './dry-run.ts';

/** How long the peer may take to say what it holds, ms. */
export const factsDeadlineMs = 1000;

export interface PeerFactsHost {
  readonly state: PersistentState;
  readonly replicas: readonly Replica[];
  readonly preferSelf: boolean;
  readonly channel: PeerChannel | undefined;
  /** What this side would say if the link were lost and came back now. */
  factsAfterBlip(): CopyFacts;
}

type FactsAnswer = Extract<ControlMessage, { type: 'facts' }>;

export class PeerFacts {
  readonly #host: PeerFactsHost;
  readonly #clock: Clock;
  #lastHeard: CopyFacts | undefined;
  #waiting: ((answer: FactsAnswer) => void)[] = [];

  constructor(host: PeerFactsHost, clock: Clock) {
    this.#host = host;
    this.#clock = clock;
  }

  /** The peer has said what it holds, in a handshake. */
  observe(facts: CopyFacts): void {
    this.#lastHeard = facts;
  }

  /** The two copies have been made a pair since, or are about to be: what was heard before is worth nothing. */
  forget(): void {
    this.#lastHeard = undefined;
  }

  control(message: Extract<ControlMessage, { type: 'facts' | 'facts-request' }>): void {
    if (message.type === 'facts') {
      for (const waiter of this.#waiting.splice(0)) waiter(message);
      return;
    }
    this.#host.channel?.control({
      type: 'facts',
      facts: this.#host.factsAfterBlip(),
      coveredBytes: coveredBytes(this.#host.replicas),
    });
  }

  /** The verdict that a handshake would come to now; `done` is called once, within `factsDeadlineMs`. */
  dryRun(done: (result: DryRun) => void): void {
    const { channel } = this.#host;
    if (channel === undefined) return done(this.#judge(undefined));
    const waiter = (answer: FactsAnswer | undefined): void => {
      timer.cancel();
      this.#waiting = this.#waiting.filter((each) => each !== waiter);
      done(this.#judge(answer));
    };
    const timer = this.#clock.after(factsDeadlineMs, () => waiter(undefined));
    this.#waiting.push(waiter);
    channel.control({ type: 'facts-request' });
  }

  #judge(answer: FactsAnswer | undefined): DryRun {
    const { state, replicas, preferSelf } = this.#host;
    const mine: KnownCopy = {
      node: state.self,
      facts: this.#host.factsAfterBlip(),
      origin: 'asked-now',
      coveredBytes: coveredBytes(replicas),
    };
    const volumeBytes = state.volumes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return dryRun(mine, this.#peer(answer), preferSelf, volumeBytes);
  }

  #peer(answer: FactsAnswer | undefined): KnownCopy {
    const node = this.#host.state.peer;
    if (answer !== undefined)
      return { node, facts: answer.facts, origin: 'asked-now', coveredBytes: answer.coveredBytes };
    if (this.#lastHeard !== undefined)
      return { node, facts: this.#lastHeard, origin: 'last-heard', coveredBytes: undefined };
    return {
      node,
      facts: peerAsRecorded(this.#host.state),
      origin: 'own-record',
      coveredBytes: undefined,
    };
  }
}
