/** What an operator sees of two nodes that keep their configuration equal: one story each, without faults but a link that is cut. */
import { expect } from 'chai';
import {
  ConfigAgreement,
  type ConfigChange,
  reservationMs,
} from '../../../src/agent/config/config-agreement.ts';
import { ConfigStore } from '../../../src/agent/config/config-store.ts';
import type { PeerConfigPort } from '../../../src/agent/config/peer-config-port.ts';
import { WorldError } from '../../../src/base/errors.ts';
import { documents, note, sha256 } from './digest.ts';
import { MemoryFiles } from './memory-files.ts';

interface Side {
  readonly agreement: ConfigAgreement;
  readonly store: ConfigStore;
  /** What this host cannot use. */
  unusable: string | undefined;
  /** Why what is committed does not count here. */
  stuck: string | undefined;
}

class Pair {
  cut = false;
  nowMs = 0;
  #tokens = 0;
  readonly sides: Record<'A' | 'B', Side>;

  static async make(): Promise<Pair> {
    return new Pair(
      await ConfigStore.open(new MemoryFiles(), sha256),
      await ConfigStore.open(new MemoryFiles(), sha256),
    );
  }

  private constructor(storeA: ConfigStore, storeB: ConfigStore) {
    const side = (store: ConfigStore, other: () => ConfigAgreement): Side => {
      const made: Side = {
        store,
        unusable: undefined,
        stuck: undefined,
        agreement: new ConfigAgreement({
          store,
          host: {
            validate: async (wanted) => {
              if (made.unusable !== undefined && wanted['cluster.yaml']?.includes(made.unusable))
                throw wrong('validate');
            },
            apply: async () => {
              if (made.stuck !== undefined) throw wrong(made.stuck);
            },
          },
          peer: this.#port(other),
          clock: { nowMs: () => this.nowMs },
          digest: sha256,
          token: () => `token ${(this.#tokens += 1)}`,
        }),
      };
      return made;
    };
    this.sides = {
      A: side(storeA, () => this.sides.B.agreement),
      B: side(storeB, () => this.sides.A.agreement),
    };
  }

  /** A change, or the code of its refusal. */
  async change(node: 'A' | 'B', text: string, more: Partial<ConfigChange> = {}): Promise<string> {
    const change = { ...note, documents: documents(text), base: undefined, onlyHere: false, ...more };
    return this.sides[node].agreement.propose(change).then(
      ({ scope }) => scope,
      (error: unknown) => {
        if (error instanceof WorldError) return error.code;
        throw error;
      },
    );
  }

  texts(node: 'A' | 'B'): string {
    return this.sides[node].store.head?.documents['cluster.yaml'] ?? '';
  }

  #port(other: () => ConfigAgreement): PeerConfigPort {
    const call = <Result>(ask: (peer: ConfigAgreement) => Promise<Result>): Promise<Result> =>
      this.cut
        ? Promise.reject(
            new WorldError('peer-unreachable', { wanted: 'an answer', found: 'no link', next: 'wait' }),
          )
        : ask(other());
    return {
      head: () => call((peer) => peer.head()),
      reserve: (request) => call((peer) => peer.reserve(request)),
      commit: (request) => call((peer) => peer.commit(request)),
      release: (request) => call((peer) => peer.release(request)),
      fetch: (request) => call((peer) => peer.fetch(request)),
    };
  }
}

function wrong(found: string): WorldError {
  return new WorldError('config-invalid', { wanted: 'something usable', found, next: 'correct it' });
}

describe('configuration of two nodes', () => {
  let pair: Pair;
  beforeEach(async () => {
    pair = await Pair.make();
    expect(await pair.change('A', 'first')).to.equal('both');
  });

  it('a change on one node is there on both, with one identifier', async () => {
    expect(await pair.change('B', 'second')).to.equal('both');
    expect(pair.sides.A.store.facts).to.deep.equal(pair.sides.B.store.facts);
    expect(pair.texts('A')).to.equal('second');
  });

  it('the other node cannot use it: refused, and nothing is changed on either', async () => {
    pair.sides.B.unusable = 'bad';
    expect(await pair.change('A', 'bad')).to.equal('config-invalid');
    expect([pair.texts('A'), pair.texts('B')]).to.deep.equal(['first', 'first']);
    expect(await pair.change('A', 'good'), 'the refused one is not in the way').to.equal('both');
  });

  it('the other node is away: refused, unless it is asked for; it takes it over when it is back', async () => {
    pair.cut = true;
    expect(await pair.change('A', 'second')).to.equal('peer-unreachable');
    expect(await pair.change('A', 'second', { onlyHere: true })).to.equal('here');
    expect(await pair.change('A', 'third', { onlyHere: true })).to.equal('here');
    pair.cut = false;
    expect((await pair.sides.A.agreement.reconcile()).rule).to.equal('their-head-in-mine');
    expect(await pair.change('A', 'fourth'), 'before the other one has it').to.equal('config-changed');
    expect((await pair.sides.B.agreement.reconcile()).verdict).to.equal('same');
    expect(pair.texts('B')).to.equal('third');
    expect(await pair.change('A', 'fourth')).to.equal('both');
  });

  it('a node that was away takes over what it lacks before its own change is made for it', async () => {
    pair.cut = true;
    await pair.change('A', 'second', { onlyHere: true });
    pair.cut = false;
    const base = pair.sides.B.store.head?.id;
    expect(await pair.change('B', 'third', { base }), 'made for an older one').to.equal('config-changed');
    expect(pair.texts('B')).to.equal('second');
    expect(await pair.change('B', 'third', { base: pair.sides.B.store.head?.id })).to.equal('both');
  });

  it('both changed alone: both refuse changes, and say so, until one is chosen', async () => {
    pair.cut = true;
    await pair.change('A', 'of A', { onlyHere: true });
    await pair.change('B', 'of B', { onlyHere: true });
    pair.cut = false;
    for (const node of ['A', 'B'] as const) {
      const { verdict, rule } = await pair.sides[node].agreement.reconcile();
      expect([verdict, rule]).to.deep.equal(['diverged', 'both-changed']);
      expect(await pair.change(node, 'more')).to.equal('config-diverged');
    }
    pair.cut = true;
    expect(await pair.change('A', 'more', { onlyHere: true })).to.equal('config-diverged');
    pair.cut = false;
    await pair.sides.A.agreement.keepPeers();
    expect(pair.texts('A')).to.equal('of B');
    expect(pair.sides.A.store.facts).to.deep.equal(pair.sides.B.store.facts);
    expect(await pair.change('A', 'more')).to.equal('both');
  });

  it('a history is not given up while there is nothing to choose', async () => {
    const error = await pair.sides.A.agreement.keepPeers().catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(WorldError).with.property('code', 'config-changed');
  });

  it('a new node takes the whole configuration over', async () => {
    for (let index = 0; index < 45; index += 1) await pair.change('A', `change ${index}`);
    const store = await ConfigStore.open(new MemoryFiles(), sha256);
    const fresh = new ConfigAgreement({
      store,
      host: { validate: () => Promise.resolve(), apply: () => Promise.resolve() },
      peer: pair.sides.A.agreement,
      clock: { nowMs: () => 0 },
      digest: sha256,
      token: () => 'token',
    });
    expect((await fresh.reconcile()).verdict).to.equal('same');
    expect(store.facts).to.deep.equal(pair.sides.A.store.facts);
  });

  it('an earlier revision comes back as a new one', async () => {
    const first = pair.sides.A.store.head?.id as string;
    await pair.change('A', 'second');
    const change = { ...note, base: undefined, onlyHere: false };
    const { revision } = await pair.sides.A.agreement.rollBack(first, change);
    expect(revision.number).to.equal(3);
    expect([pair.texts('A'), pair.texts('B')]).to.deep.equal(['first', 'first']);
    expect(await pair.change('A', 'first'), 'no change at all').to.equal('config-invalid');
  });

  it('a reservation of the other node keeps changes away, and lapses', async () => {
    const { store, agreement } = pair.sides.A;
    const revision = store.head as NonNullable<typeof store.head>;
    await refusedAs(agreement.reserve({ token: 'x', revision }), 'config-changed');
    pair.cut = true;
    await pair.change('B', 'second', { onlyHere: true });
    const next = pair.sides.B.store.head as NonNullable<typeof store.head>;
    await agreement.reserve({ token: 'of B', revision: next });
    expect(await pair.change('A', 'mine', { onlyHere: true })).to.equal('config-busy');
    pair.nowMs += reservationMs;
    expect(await pair.change('A', 'mine', { onlyHere: true })).to.equal('here');
    await refusedAs(agreement.commit({ token: 'of B', id: next.id }), 'config-changed');
  });

  it('a comparison that goes on on either node delays a change, and does not refuse it', async () => {
    const comparisons = [pair.sides.A.agreement.reconcile(), pair.sides.B.agreement.reconcile()];
    expect(pair.sides.A.agreement.reconcile(), 'asked again').to.equal(comparisons[0]);
    expect(await pair.change('A', 'second')).to.equal('both');
    for (const { verdict } of await Promise.all(comparisons)) expect(verdict).to.equal('same');
  });

  it('what is committed but does not count on a host is said, and tried again', async () => {
    pair.sides.B.stuck = 'the supervisor does not answer';
    expect(await pair.change('A', 'second')).to.equal('both');
    const { agreement } = pair.sides.B;
    expect((await agreement.applyHead())?.found).to.equal('the supervisor does not answer');
    pair.sides.B.stuck = undefined;
    await agreement.reconcile();
    expect(agreement.notApplied).to.equal(undefined);
  });
});

async function refusedAs(work: Promise<unknown>, code: string): Promise<void> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).to.be.instanceOf(WorldError).with.property('code', code);
}
