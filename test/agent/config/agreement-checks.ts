/** What must hold after every run of two nodes: nothing that was told is wrong, and the histories are one unless both went on alone. */
import { expect } from 'chai';
import { compareHeads } from '../../../src/agent/config/compare-heads.ts';
import type { Run } from './agreement-explorer.ts';

async function textsOf(run: Run, name: 'A' | 'B'): Promise<string[]> {
  const revisions = (await run.nodes[name].store?.revisionsAfter(undefined, 100)) ?? [];
  return revisions.map(({ documents }) => documents['cluster.yaml'] as string);
}

/** Counts runs by how they ended. */
export class Endings {
  same = 0;
  diverged = 0;

  readonly check = async (run: Run): Promise<void> => {
    const { A, B } = run.nodes;
    const { verdict } = compareHeads(A.store?.facts ?? none, B.store?.facts ?? none);
    const texts = [await textsOf(run, 'A'), await textsOf(run, 'B')];
    for (const { text, said } of run.outcomes) {
      const there = texts.map((each) => each.includes(text));
      if (said === 'committed') expect(there, `${text} was confirmed`).to.include(true);
      if (said === 'refused') expect(there, `${text} was refused`).to.deep.equal([false, false]);
    }
    for (const { name, store, applied } of [A, B]) {
      expect(store?.pending, `pending of ${name}`).to.equal(undefined);
      expect(applied, `applied by ${name}`).to.equal(store?.head?.id);
    }
    if (verdict === 'same') {
      this.same += 1;
      expect(texts[0]).to.deep.equal(texts[1]);
      return;
    }
    expect(verdict).to.equal('diverged');
    expect([...run.alone].sort(), 'went on alone').to.deep.equal(['A', 'B']);
    this.diverged += 1;
    const kept = B.store?.head?.id;
    await run.undisturbed(() => run.agreement('A').keepPeers());
    expect([A.store?.head?.id, B.store?.head?.id, A.applied]).to.deep.equal([kept, kept, kept]);
  };
}

const none = { ids: [], number: 0 };
