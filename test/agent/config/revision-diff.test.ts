import { expect } from 'chai';
import fc from 'fast-check';
import { vmSchema } from '../../../hypervisors/vm-schema.ts';
import { lineDiff } from '../../../src/agent/config/line-diff.ts';
import { diffDocuments } from '../../../src/agent/config/revision-diff.ts';
import { makeRevision, revisionProblem } from '../../../src/agent/config/revision.ts';
import { documentsOf, moduleText } from '../../config/set-fixture.ts';
import { chainOf, documents, note, sha256 } from './digest.ts';

/** What the diff makes of the old lines. */
function patched(before: string, diff: readonly string[]): string {
  const lines = before === '' ? [] : before.split('\n').slice(0, -1);
  const result: string[] = [];
  let position = 0;
  for (const line of diff) {
    const [, from] = /^@@ -(\d+) /.exec(line) ?? [];
    if (from !== undefined) {
      while (position < Number(from) - 1) result.push(lines[position++] as string);
    } else if (line.startsWith('+')) result.push(line.slice(1));
    else {
      expect(lines[position], 'a line that the old text has').to.equal(line.slice(1));
      if (line.startsWith(' ')) result.push(line.slice(1));
      position += 1;
    }
  }
  const all = [...result, ...lines.slice(position)];
  return all.length === 0 ? '' : `${all.join('\n')}\n`;
}

describe('revisions and what differs between them', () => {
  it('lines that differ, with three around them', () => {
    const before = 'a\nb\nc\nd\ne\nf\ng\nh\n';
    expect(lineDiff(before, before.replace('e\n', 'E\nE2\n'))).to.deep.equal([
      '@@ -2 +2 @@',
      ' b',
      ' c',
      ' d',
      '-e',
      '+E',
      '+E2',
      ' f',
      ' g',
      ' h',
    ]);
    expect(lineDiff(before, before)).to.deep.equal([]);
    expect(lineDiff('', 'a\n')).to.deep.equal(['@@ -1 +1 @@', '+a']);
  });

  it('the lines of any difference make the new text of the old one', () => {
    const text = fc
      .array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 30 })
      .map((lines) => lines.map((line) => `${line}\n`).join(''));
    fc.assert(fc.property(text, text, (before, after) => patched(before, lineDiff(before, after)) === after));
  });

  it('of modules each change by key, with what it takes; of others the lines', () => {
    const before = documentsOf(2);
    const after = {
      'cluster.yaml': `${before['cluster.yaml']}limits: { modules: 30 }\n`,
      'modules/vm1.yaml': moduleText(1, 'failover: off\nencryption: off\n'),
      'modules/vm3.yaml': moduleText(3),
    };
    const diff = diffDocuments(before, after, vmSchema);
    expect(diff.map((each) => `${each.kind} ${each.path} ${each.class}`)).to.deep.equal([
      'changed cluster.yaml undefined',
      'changed modules/vm1.yaml module-restart',
      'removed modules/vm2.yaml undefined',
      'added modules/vm3.yaml undefined',
    ]);
    expect(diff[1]?.changes.map(({ key }) => key)).to.have.members(['failover', 'encryption']);
    expect(diff[0]?.lines.at(-1)).to.equal('+limits: { modules: 30 }');
  });

  it('the identifier depends on history and documents, not on who wrote them and in which order', () => {
    const [first, second] = chainOf('a', 'b');
    const again = makeRevision(first, documents('b'), { ...note, author: 'bob' }, sha256);
    expect(again.id).to.equal(second?.id);
    expect(makeRevision(undefined, documents('b'), note, sha256).id).to.not.equal(second?.id);
    const two = { 'modules/a.yaml': '1', 'modules/b.yaml': '2' };
    const reversed = Object.fromEntries(Object.entries(two).reverse());
    expect(makeRevision(first, two, note, sha256).id).to.equal(
      makeRevision(first, reversed, note, sha256).id,
    );
  });

  it('a revision whose content is not what its identifier says is noticed', () => {
    const [first, second] = chainOf('a', 'b');
    expect(revisionProblem(second, sha256)).to.equal(undefined);
    expect(revisionProblem({ ...second, documents: documents('B') }, sha256)).to.contain('identifier');
    expect(revisionProblem({ ...second, parent: undefined }, sha256)).to.contain('without a parent');
    expect(revisionProblem({ ...first, parent: second?.id }, sha256)).to.contain('with a parent');
    expect(revisionProblem('text', sha256)).to.be.a('string');
  });
});
