/**
 * Keeps the configuration of two nodes equal. A change is made on one node: it is reserved there and at the peer, both check it,
 * the peer makes it its head, then this node does. Between asking the peer to commit and its answer the change is pending here, durably,
 * so that a crash or a lost answer is completed, or dropped, when the nodes next compare their heads.
 *
 * Invariants: a node commits a change of its own only when the peer has committed it, or the operator asked for `onlyHere` and
 * the peer did not answer; a pending change is dropped only when it can never be committed at the peer. So the
 * histories differ in more than length only when both nodes changed something with `onlyHere`.
 *
 * A reservation lives in memory and lapses: a node that restarts has none, which is safe, because a commit under a token that is
 * not known is refused.
 */
import type { Clock } from '../../base/clock.ts';
import { WorldError } from '../../base/errors.ts';
import type { Documents } from '../../config/configuration-set.ts';
import {
  commonAncestor,
  compareHeads,
  type HeadComparison,
  type HeadFacts,
  headOf,
} from './compare-heads.ts';
import type { ConfigStore } from './config-store.ts';
import { fetchedMax, type PeerConfigPort } from './peer-config-port.ts';
import {
  type Digest,
  follows,
  makeRevision,
  type Revision,
  type RevisionNote,
  revisionProblem,
  sameDocuments,
} from './revision.ts';

/** How long a change may take from its reservation to its commit, ms. */
export const reservationMs = 30_000;

/** What a configuration means for this host. */
export interface ConfigHost {
  /** Whether this host can use these documents instead of those before. Throws `WorldError` when not; changes nothing. */
  validate(documents: Documents, before: Documents): Promise<void>;
  /** Makes the head count. Idempotent: it is called again after a failure and at every start. */
  apply(revision: Revision): Promise<void>;
}

export interface ConfigChange extends RevisionNote {
  readonly documents: Documents;
  /** The head that the change was made for; `undefined`: whatever it is. */
  readonly base: string | undefined;
  /** Commits here when the peer does not answer, which takes it over when it is back. */
  readonly onlyHere: boolean;
}

export interface Committed {
  readonly revision: Revision;
  /** `here`: the peer did not answer. */
  readonly scope: 'both' | 'here';
  /** Why the new head does not count on this host yet; `undefined`: it does. */
  readonly notApplied: WorldError | undefined;
}

export interface AgreementPorts {
  readonly store: ConfigStore;
  readonly host: ConfigHost;
  readonly peer: PeerConfigPort;
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly digest: Digest;
  /** A token that nobody has had before. */
  readonly token: () => string;
}

interface Reservation {
  readonly token: string;
  readonly untilMs: number;
  /** `undefined`: it is this node's own change. */
  readonly revision: Revision | undefined;
}

export class ConfigAgreement implements PeerConfigPort {
  readonly #ports: AgreementPorts;
  #reservation: Reservation | undefined;
  /** Resolves when the step before has changed the store. */
  #turn: Promise<unknown> = Promise.resolve();
  #notApplied: WorldError | undefined;
  /** The comparison that goes on: whoever wants a reservation waits for it, and is not told that this node is busy. */
  #comparing: Promise<HeadComparison> | undefined;
  #comparison: HeadComparison | undefined;

  constructor(ports: AgreementPorts) {
    this.#ports = ports;
  }

  /** What the last comparison with the peer found; `undefined`: none since the start. */
  get comparison(): HeadComparison | undefined {
    return this.#comparison;
  }
  /** Why the head does not count on this host yet. */
  get notApplied(): WorldError | undefined {
    return this.#notApplied;
  }

  // ---- own changes ----------------------------------------------------------------------------------------------------

  /**
   * Makes a change on both nodes. Throws `config-busy`, `config-changed`, `config-invalid`, `config-diverged`, `peer-unreachable`: nothing
   * was changed; `config-in-doubt`: the peer may have it, which shows when it answers again.
   */
  async propose(change: ConfigChange): Promise<Committed> {
    const { store, peer, token: newToken } = this.#ports;
    const token = newToken();
    await this.#comparisonEnds();
    this.#reserveOwn(token);
    try {
      await this.#meetPeer(change.onlyHere);
      const revision = this.#revisionOf(change);
      await this.#ports.host.validate(revision.documents, store.head?.documents ?? {});
      try {
        await peer.reserve({ token, revision });
      } catch (error) {
        if (!isUnreachable(error) || !change.onlyHere) throw error;
        return await this.#commitOwn(token, revision, 'here');
      }
      await this.#step(async () => {
        this.#assertOwn(token, revision);
        await store.setPending({ token, revision });
      });
      return await this.#commitAtPeer(token, revision, change.onlyHere);
    } finally {
      this.#free(token);
    }
  }

  /** Makes the documents of an earlier revision a new one. Throws as `propose`, and `config-invalid` for one that is not kept. */
  async rollBack(id: string, change: Omit<ConfigChange, 'documents'>): Promise<Committed> {
    const { documents } = await this.#ports.store.revision(id);
    return this.propose({ ...change, documents });
  }

  /**
   * Compares the heads, completes or drops what is pending, and takes the peer's changes over when this node is behind; when it is ahead,
   * the peer does the same. Throws `peer-unreachable`, `config-busy`, and what keeps this host from using the peer's configuration.
   */
  reconcile(): Promise<HeadComparison> {
    this.#comparing ??= this.#reconcile().finally(() => {
      this.#comparing = undefined;
    });
    return this.#comparing;
  }

  async #reconcile(): Promise<HeadComparison> {
    const token = this.#ports.token();
    this.#reserveOwn(token);
    try {
      return await this.#compare();
    } finally {
      this.#free(token);
    }
  }

  /** Applies the head again, after a start or a failure. */
  async applyHead(): Promise<WorldError | undefined> {
    await this.#step(() => this.#apply());
    return this.#notApplied;
  }

  /** After both nodes have changed something: gives up what this node changed alone, and takes the peer's history. */
  async keepPeers(): Promise<Revision> {
    const { store, host } = this.#ports;
    const token = this.#ports.token();
    await this.#comparisonEnds();
    this.#reserveOwn(token);
    try {
      const comparison = await this.#compare();
      if (comparison.verdict !== 'diverged') throw notDiverged(comparison);
      const theirs = await this.#ports.peer.head();
      const ancestor = commonAncestor(store.facts, theirs);
      const revisions = await this.#fetch(ancestor, theirs);
      const last = revisions.at(-1) as Revision;
      await host.validate(last.documents, store.head?.documents ?? {});
      await this.#step(async () => {
        await store.replaceAfter(ancestor, revisions);
        await this.#apply();
      });
      this.#comparison = compareHeads(store.facts, theirs);
      return last;
    } finally {
      this.#free(token);
    }
  }

  /** Before a change: both heads are the same, or nobody answers and the operator knows. */
  async #meetPeer(onlyHere: boolean): Promise<void> {
    const { store } = this.#ports;
    try {
      const { verdict, because } = await this.#compare();
      if (verdict === 'same') return;
      throw verdict === 'diverged' ? diverged(because) : peerIsBehind();
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      if (!onlyHere) throw withoutPeer(error);
      if (this.#comparison?.verdict === 'diverged') throw diverged(this.#comparison.because);
    }
    // What the peer may have committed already, this node commits before it goes on alone: then its next change follows it.
    await this.#step(async () => {
      if (store.pending === undefined) return;
      await store.append(store.pending.revision);
      await this.#apply();
    });
  }

  #revisionOf({ base, documents, ...note }: ConfigChange): Revision {
    const { head } = this.#ports.store;
    if (base !== undefined && base !== head?.id) throw changedMeanwhile(head);
    if (head !== undefined && sameDocuments(documents, head.documents))
      throw new WorldError('config-invalid', {
        wanted: 'a change of the configuration',
        found: 'the documents as they are',
        next: 'Change something; nothing was changed.',
      });
    return makeRevision(head, documents, note, this.#ports.digest);
  }

  async #commitAtPeer(token: string, revision: Revision, onlyHere: boolean): Promise<Committed> {
    const { peer } = this.#ports;
    try {
      await peer.commit({ token, id: revision.id });
    } catch (error) {
      if (!isUnreachable(error)) {
        await this.#step(() => this.#ports.store.clearPending());
        throw error;
      }
      if (!onlyHere) throw inDoubt(error);
      return this.#commitOwn(token, revision, 'here').catch(() => {
        // The reservation lapsed in the wait for the answer: this node may not go on alone any more, and the peer may have it.
        throw inDoubt(error);
      });
    }
    return this.#commitOwn(token, revision, 'both');
  }

  /** The peer has it already, or the operator goes on without the peer. */
  #commitOwn(token: string, revision: Revision, scope: 'both' | 'here'): Promise<Committed> {
    return this.#step(async () => {
      const { store } = this.#ports;
      // With the peer's commit nothing else can have become the head meanwhile; without it, a change of the peer may have.
      if (scope === 'here') this.#assertOwn(token, revision);
      if (!store.facts.ids.includes(revision.id)) await store.append(revision);
      await this.#apply();
      return { revision, scope, notApplied: this.#notApplied };
    });
  }

  // ---- comparing ------------------------------------------------------------------------------------------------------

  async #compare(): Promise<HeadComparison> {
    const { store, peer } = this.#ports;
    const { pending } = store;
    const theirs = pending === undefined ? await peer.head() : await peer.release({ token: pending.token });
    if (pending !== undefined) await this.#step(() => this.#settle(pending.revision, theirs));
    let comparison = compareHeads(store.facts, theirs);
    if (comparison.verdict === 'behind') {
      await this.#takeOver(theirs);
      comparison = compareHeads(store.facts, theirs);
    } else if (this.#notApplied !== undefined) await this.#step(() => this.#apply());
    this.#comparison = comparison;
    return comparison;
  }

  /** The reservation for it is gone: the peer has committed it, or never will. */
  async #settle(revision: Revision, theirs: HeadFacts): Promise<void> {
    const { store } = this.#ports;
    if (store.pending?.revision.id !== revision.id) return;
    if (!theirs.ids.includes(revision.id)) return store.clearPending();
    await store.append(revision);
    await this.#apply();
  }

  async #takeOver(theirs: HeadFacts): Promise<void> {
    const { store, host } = this.#ports;
    const from = store.head;
    const revisions = await this.#fetch(from?.id, theirs);
    const last = revisions.at(-1) as Revision;
    await host.validate(last.documents, from?.documents ?? {});
    await this.#step(async () => {
      if (store.head?.id !== from?.id) return;
      if (from === undefined) await store.replaceAfter(undefined, revisions);
      else for (const revision of revisions) await store.append(revision);
      await this.#apply();
    });
  }

  /** The peer's revisions after `after` up to the head that it told, checked one by one. */
  async #fetch(after: string | undefined, theirs: HeadFacts): Promise<readonly Revision[]> {
    const { peer, digest } = this.#ports;
    const target = headOf(theirs);
    const found: Revision[] = [];
    while (found.at(-1)?.id !== target) {
      const page = await peer.fetch({ after: found.at(-1)?.id ?? after });
      for (const revision of page) {
        const before = found.at(-1);
        const problem =
          revisionProblem(revision, digest) ??
          (before === undefined || follows(revision, before) ? undefined : 'a revision that does not follow');
        if (problem !== undefined) throw strangeRevision(problem);
        found.push(revision);
        if (revision.id === target) break;
      }
      if (page.length === 0 || found.length > theirs.ids.length)
        throw strangeRevision('a history that does not lead to its head');
    }
    if (after !== undefined && found[0]?.parent !== after)
      throw strangeRevision('a revision that does not follow');
    return found;
  }

  // ---- what the peer asks ---------------------------------------------------------------------------------------------

  head(): Promise<HeadFacts> {
    return Promise.resolve(this.#ports.store.facts);
  }

  async reserve({ token, revision }: { readonly token: string; readonly revision: Revision }): Promise<void> {
    // It asks the peer for nothing that waits for this answer.
    await this.#comparisonEnds();
    return this.#step(async () => {
      const { store, host, digest } = this.#ports;
      // What is pending here may become the peer's head yet; the next comparison of heads ends that.
      if (this.#reserved() !== undefined || store.pending !== undefined) throw busy();
      const problem = revisionProblem(revision, digest);
      if (problem !== undefined) throw strangeRevision(problem);
      if (!follows(revision, store.head)) throw changedMeanwhile(store.head);
      this.#reservation = { token, revision, untilMs: this.#ports.clock.nowMs() + reservationMs };
      try {
        await host.validate(revision.documents, store.head?.documents ?? {});
      } catch (error) {
        this.#free(token);
        throw error;
      }
    });
  }

  commit({ token, id }: { readonly token: string; readonly id: string }): Promise<void> {
    return this.#step(async () => {
      const { store } = this.#ports;
      const reservation = this.#reserved();
      if (reservation?.token !== token || reservation.revision?.id !== id) throw changedMeanwhile(store.head);
      if (!follows(reservation.revision, store.head)) throw changedMeanwhile(store.head);
      await store.append(reservation.revision);
      this.#free(token);
      // The answer does not wait for it: the change is made, and the peer waits with a deadline.
      void this.applyHead();
    });
  }

  release({ token }: { readonly token: string }): Promise<HeadFacts> {
    return this.#step(async () => {
      this.#free(token);
      return this.#ports.store.facts;
    });
  }

  fetch({ after }: { readonly after: string | undefined }): Promise<readonly Revision[]> {
    return this.#ports.store.revisionsAfter(after, fetchedMax);
  }

  // ---- reservations and turns -----------------------------------------------------------------------------------------

  #reserved(): Reservation | undefined {
    if (this.#reservation !== undefined && this.#ports.clock.nowMs() >= this.#reservation.untilMs)
      this.#reservation = undefined;
    return this.#reservation;
  }

  async #comparisonEnds(): Promise<void> {
    while (this.#comparing !== undefined) await this.#comparing.catch(() => undefined);
  }

  #reserveOwn(token: string): void {
    if (this.#reserved() !== undefined) throw busy();
    this.#reservation = { token, revision: undefined, untilMs: this.#ports.clock.nowMs() + reservationMs };
  }

  /** The change is still this node's to make: nobody else was let in meanwhile. */
  #assertOwn(token: string, revision: Revision): void {
    if (this.#reserved()?.token !== token) throw tookTooLong();
    if (!follows(revision, this.#ports.store.head)) throw changedMeanwhile(this.#ports.store.head);
  }

  #free(token: string): void {
    if (this.#reservation?.token === token) this.#reservation = undefined;
  }

  /** One change of the store at a time. */
  #step<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #apply(): Promise<void> {
    const { store, host } = this.#ports;
    if (store.head === undefined) return;
    try {
      await host.apply(store.head);
      this.#notApplied = undefined;
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      this.#notApplied = error;
    }
  }
}

function isUnreachable(error: unknown): error is WorldError {
  return error instanceof WorldError && error.code === 'peer-unreachable';
}

function busy(): WorldError {
  return new WorldError('config-busy', {
    wanted: 'no other change of the configuration under way',
    found: `one that began less than ${reservationMs / 1000} s ago`,
    next: 'Try again in a moment; nothing was changed.',
  });
}

function tookTooLong(): WorldError {
  return new WorldError('config-busy', {
    wanted: `a change to be made within ${reservationMs / 1000} s`,
    found: 'it took longer, and another one may have begun',
    next: 'Make the change again; nothing was changed.',
  });
}

function changedMeanwhile(head: Revision | undefined): WorldError {
  const by =
    head === undefined ? 'no configuration' : `revision ${head.number} by ${head.author}: ${head.comment}`;
  return new WorldError('config-changed', {
    wanted: 'the configuration that the change was made for',
    found: by,
    next: 'Look at the present configuration, and make the change again.',
  });
}

function peerIsBehind(): WorldError {
  return new WorldError('config-changed', {
    wanted: 'the same configuration on both nodes',
    found: 'changes of this node that the other one has not taken over yet',
    next: 'Try again in a moment; `vmpair config status` on the other node says what keeps it.',
  });
}

function diverged(because: string): WorldError {
  return new WorldError('config-diverged', {
    wanted: 'one history of the configuration',
    found: because,
    next: 'Compare both with `vmpair config diff`, then choose: `vmpair config resolve --keep NODE`.',
  });
}

function notDiverged({ because }: HeadComparison): WorldError {
  return new WorldError('config-changed', {
    wanted: 'two histories to choose from',
    found: because,
    next: 'There is nothing to resolve.',
  });
}

function withoutPeer(error: WorldError): WorldError {
  return new WorldError(
    'peer-unreachable',
    {
      wanted: 'both nodes to take the change',
      found: error.found,
      next: 'Wait for the other node, or make the change only here: it takes it over when it is back.',
    },
    error,
  );
}

function inDoubt(error: WorldError): WorldError {
  return new WorldError(
    'config-in-doubt',
    {
      wanted: 'the other node to confirm the change',
      found: error.found,
      next: 'Wait for the other node: the change is then completed or dropped on both; `vmpair config status` says which.',
    },
    error,
  );
}

function strangeRevision(found: string): WorldError {
  return new WorldError('config-invalid', {
    wanted: 'a revision of the configuration of the other node',
    found,
    next: 'Compare the versions of vmpair on both nodes; nothing was changed.',
  });
}
