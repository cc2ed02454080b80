/**
 * What every keeper of records must do, as one suite that runs against each of them.
 *
 * Not verified here: what a keeper's own loss of power leaves; what is asked of it while it moves between machines.
 */
import { expect } from 'chai';
import type { Arbiter, ArbiterAnswer, ReadAnswer } from '../../src/arbiter/arbiter.ts';
import type { ArbiterRecord, PendingOperation } from '../../src/disk/state.ts';

export type AskingNode = 'alpha' | 'beta';

/** Who asks; left out: node alpha, the first module of the first cluster. */
export interface Asker {
  readonly node?: AskingNode;
  readonly module?: 1 | 2;
  readonly cluster?: 1 | 2;
}

/** One keeper in its surroundings, without any record. */
export interface ArbiterFixture {
  /** A new object with each call, as a new module process would make it. */
  reach(asker?: Asker): Arbiter;
  /** The keeper dies without a word, and nobody listens at its place. */
  kill(): Promise<void>;
  /** It runs again with what it kept. */
  restart(): Promise<void>;
  /** Its records are lost, and it runs again without any, at the same place and with the same configuration. */
  loseStore(): Promise<void>;
  dispose(): Promise<void>;
  /** In virtual time: lets everything happen until nothing is under way. */
  readonly settle?: () => void;
}

/** A keeper that does not answer as it should. */
export interface FaultyKeeper<Fixture> {
  readonly what: string;
  /** Whether the operation may have left. */
  readonly sent: boolean;
  /** Node alpha's way to it; it ends with the fixture. */
  open(fixture: Fixture): Promise<Arbiter>;
}

export interface ArbiterConformance<Fixture extends ArbiterFixture> {
  readonly name: string;
  /** From the call to the answer, of the keeper and of the faulty ones, ms. */
  readonly deadlineMs: number;
  /** The keeper knows which node asks, and lets it claim for itself or for both only. */
  readonly knowsNodes: boolean;
  /** Operations that can never be right are answered; if not, they end the process of the asker. */
  readonly answersNonsense: boolean;
  /** `reach` tells modules apart; clusters too. */
  readonly tellsApart: readonly ('module' | 'cluster')[];
  /** With nobody there `sent` is exact; if not, it may be true. */
  readonly knowsUnsent: boolean;
  readonly faulty: readonly FaultyKeeper<Fixture>[];
}

/** What the load of the machine may add to a deadline, ms. */
const slackMs = 4000;
const concurrentClaims = 16;

export const record = (generation: number, holder: string, id = generation): ArbiterRecord => ({
  generation,
  holder,
  operationId: id.toString(16).padStart(32, '0'),
});
const both = record(1, 'both');
const forAlpha = record(2, 'alpha', 0xa);
const forBeta = record(2, 'beta', 0xb);

export function arbiterConformance<Fixture extends ArbiterFixture>(
  options: ArbiterConformance<Fixture>,
  make: () => Promise<Fixture>,
): void {
  describe(`arbiter kept by ${options.name}`, () => {
    let fixture: Fixture;
    /** How often each question was answered. */
    let answers: { count: number }[];

    beforeEach(async () => {
      answers = [];
      fixture = await make();
    });

    afterEach(async () => {
      await fixture?.dispose();
      // Looked at this late, so that an answer too many had its time.
      expect(answers.filter(({ count }) => count !== 1)).to.deep.equal([]);
    });

    /** Asks, and resolves to the answer, which must come after the call and within the deadline. */
    async function ask<Answer>(call: (answered: (answer: Answer) => void) => void): Promise<Answer> {
      const seen = { count: 0 };
      answers.push(seen);
      const startedMs = performance.now();
      const answer = await new Promise<Answer>((resolve) => {
        call((given) => {
          seen.count += 1;
          resolve(given);
        });
        expect(seen.count, 'answers from inside the call').to.equal(0);
        fixture.settle?.();
      });
      expect(performance.now() - startedMs, 'ms to the answer').to.be.below(options.deadlineMs + slackMs);
      return answer;
    }

    const swapAt = (arbiter: Arbiter, operation: PendingOperation) =>
      ask<ArbiterAnswer>((answered) => arbiter.swap(operation, answered));
    const swap = (expected: ArbiterRecord | undefined, next: ArbiterRecord, asker: Asker = {}) =>
      swapAt(fixture.reach(asker), { expected, next });
    const read = (asker: Asker = {}) => ask<ReadAnswer>((answered) => fixture.reach(asker).read(answered));

    async function granted(
      expected: ArbiterRecord | undefined,
      next: ArbiterRecord,
      asker?: Asker,
    ): Promise<void> {
      expect(await swap(expected, next, asker)).to.deep.include({ kind: 'granted', record: next });
    }

    async function reads(wanted: ArbiterRecord | undefined, asker?: Asker): Promise<string> {
      const answer = await read(asker);
      if (answer.kind === 'no-answer') throw new Error(answer.because);
      expect(answer.record).to.deep.equal(wanted);
      expect(answer.store).to.match(/^[0-9a-f]{32}$/);
      return answer.store;
    }

    it('a module without a record gets its first one, and both nodes read it', async () => {
      const store = await reads(undefined);
      expect(await swap(undefined, both)).to.deep.equal({ kind: 'granted', record: both, store });
      expect(await reads(both, { node: 'beta' })).to.equal(store);
      expect(await reads(both)).to.equal(store);
    });

    it('a pair loses its link: both nodes claim, one is granted, the other sees by whom', async () => {
      await granted(undefined, both);
      const ways = [
        [fixture.reach(), forAlpha],
        [fixture.reach({ node: 'beta' }), forBeta],
      ] as const;
      const [first, second] = await Promise.all(
        ways.map(([arbiter, next]) => swapAt(arbiter, { expected: both, next })),
      );
      const [winner, loser] = first?.kind === 'granted' ? [first, second] : [second, first];
      if (winner?.kind !== 'granted') throw new Error(JSON.stringify([first, second]));
      expect(loser).to.deep.equal({ kind: 'refused', record: winner.record, store: winner.store });
      await reads(winner.record);
    });

    it('many claims arrive at once: exactly one is granted', async () => {
      await granted(undefined, both);
      const claims = Array.from({ length: concurrentClaims }, (_, index) => {
        const node: AskingNode = index % 2 === 0 ? 'alpha' : 'beta';
        return { arbiter: fixture.reach({ node }), next: record(2, node, 100 + index) };
      });
      const outcomes = await Promise.all(
        claims.map(({ arbiter, next }) => swapAt(arbiter, { expected: both, next })),
      );
      const winners = outcomes.filter(({ kind }) => kind === 'granted');
      expect(winners, JSON.stringify(outcomes)).to.have.length(1);
      await reads(winners[0]?.kind === 'granted' ? winners[0].record : undefined);
    });

    it('the same operation is asked again, by this process and by the next one: granted again, unchanged', async () => {
      await granted(undefined, both);
      const arbiter = fixture.reach();
      for (const way of [arbiter, arbiter, fixture.reach()]) {
        const answer = await swapAt(way, { expected: both, next: forAlpha });
        expect(answer).to.deep.include({ kind: 'granted', record: forAlpha });
      }
      await reads(forAlpha);
    });

    it('an operation of an earlier time arrives late: refused, with the record as it is now', async () => {
      await granted(undefined, both);
      await granted(both, forAlpha);
      const paired = record(3, 'both');
      await granted(forAlpha, paired);
      const late = [
        { expected: undefined, next: both },
        { expected: both, next: forAlpha },
        { expected: both, next: forBeta },
      ];
      for (const { expected, next } of late) {
        const node = next.holder === 'beta' ? 'beta' : 'alpha';
        expect(await swap(expected, next, { node })).to.deep.include({ kind: 'refused', record: paired });
      }
      await reads(paired);
    });

    it('a claim on a record that is not there: refused, without a record', async () => {
      expect(await swap(both, forAlpha)).to.deep.include({ kind: 'refused', record: undefined });
      await reads(undefined);
    });

    it('an operation for another store: refused as such, and nothing changes', async () => {
      await granted(undefined, both);
      const store = await reads(both);
      const elsewhere = 'b'.repeat(32);
      for (const operation of [
        { store: elsewhere, expected: both, next: forAlpha },
        { store: elsewhere, expected: undefined, next: both },
      ]) {
        expect(await swapAt(fixture.reach(), operation)).to.deep.equal({ kind: 'other-store', store });
      }
      expect(await reads(both)).to.equal(store);
      const answer = await swapAt(fixture.reach(), { store, expected: both, next: forAlpha });
      expect(answer).to.deep.equal({ kind: 'granted', record: forAlpha, store });
    });

    it('its records are lost: it says that it is another store, and begins anew when it is asked as such', async () => {
      await granted(undefined, both);
      const lost = await reads(both);
      await fixture.loseStore();
      const operation = { store: lost, expected: both, next: forAlpha };
      const answer = await swapAt(fixture.reach(), operation);
      const store = await reads(undefined);
      expect(store).to.not.equal(lost);
      expect(answer).to.deep.equal({ kind: 'other-store', store });
      const anew = await swapAt(fixture.reach(), { store, expected: undefined, next: record(5, 'both') });
      expect(anew).to.deep.equal({ kind: 'granted', record: record(5, 'both'), store });
    });

    it('it is killed after its answer and runs again: the record stands, in the same store', async () => {
      await granted(undefined, both);
      await granted(both, forAlpha);
      const store = await reads(forAlpha);
      await fixture.kill();
      await fixture.restart();
      expect(await reads(forAlpha)).to.equal(store);
      await granted(both, forAlpha);
    });

    it('nobody is there: no answer, nothing was sent, and nothing is left of it', async () => {
      await granted(undefined, both);
      await fixture.kill();
      const answer = await swap(both, forAlpha);
      expect(answer).to.have.property('kind', 'no-answer');
      if (options.knowsUnsent) expect(answer).to.have.property('sent', false);
      expect(await read()).to.have.property('kind', 'no-answer');
      await fixture.restart();
      await reads(both);
    });

    if (options.answersNonsense) {
      it('a generation that goes back, or an operation id that was used: no answer, and nothing changes', async () => {
        await granted(undefined, both);
        const reused = record(2, 'alpha', 1);
        for (const [expected, next] of [
          [record(3, 'both'), record(2, 'alpha', 9)],
          [both, record(1, 'alpha', 9)],
          [both, reused],
        ] as const) {
          expect(await swap(expected, next), JSON.stringify(next)).to.have.property('kind', 'no-answer');
        }
        await reads(both);
      });
    }

    if (options.knowsNodes) {
      it('a node claims for the other one: no answer, and nothing changes', async () => {
        await granted(undefined, both);
        expect(await swap(both, forBeta)).to.have.property('kind', 'no-answer');
        await reads(both);
      });
    }

    for (const what of options.tellsApart) {
      it(`another ${what}: a record of its own`, async () => {
        await granted(undefined, both);
        await reads(undefined, { [what]: 2 });
        await granted(undefined, record(7, 'both'), { [what]: 2 });
        await reads(both);
        await reads(record(7, 'both'), { [what]: 2 });
      });
    }

    for (const { what, sent, open } of options.faulty) {
      it(`${what}: no answer, ${sent ? 'it may have been sent' : 'nothing was sent'}; asked again it is granted`, async () => {
        await granted(undefined, both);
        const operation = { expected: both, next: forAlpha };
        const answer = await swapAt(await open(fixture), operation);
        expect(answer, JSON.stringify(answer)).to.include({ kind: 'no-answer', sent });
        if (!sent) await reads(both);
        await granted(both, forAlpha);
        await reads(forAlpha);
      });
    }
  });
}
