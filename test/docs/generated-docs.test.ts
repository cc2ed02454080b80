/**
 * The parts of the documents that are made from the code: they stand between `<!-- generated: NAME -->` and
 * `<!-- end of NAME -->`. With `VMPAIR_REWRITE=1` they are written anew, to be reviewed as a diff.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { errorCatalogue } from '../../src/base/error-catalogue.ts';
import { actionTable, type ModuleAction } from '../../src/checks/decide-action.ts';
import { type AloneAction, aloneTable, decideAlone } from '../../src/cluster/decide-alone.ts';
import { decideResync, resyncTable } from '../../src/cluster/decide-resync.ts';
import { timerProfiles } from '../../src/config/timers.ts';
import { FrameType } from '../../src/link/frames.ts';
import { forEachSituation, timers } from '../cluster/alone-universe.ts';
import { forEachPair } from '../cluster/resync-universe.ts';
import { answers, copies, startOf } from '../cluster/start-universe.ts';
import { markdownTable } from './markdown-table.ts';

const code = (text: string): string => `\`${text}\``;

/** Values of a rule over all combinations, in order of their first appearance. */
class Seen {
  readonly #values = new Map<string, Set<string>>();

  add(rule: string, value: string): void {
    let values = this.#values.get(rule);
    if (values === undefined) this.#values.set(rule, (values = new Set()));
    values.add(value);
  }

  of(rule: string): string[] {
    return [...(this.#values.get(rule) ?? [])].sort();
  }
}

/** Per row: what it can answer over all combinations of facts, and in which words. */
function resyncRows(): string {
  const outcomes = new Seen();
  const scopes = new Seen();
  const sentences = new Seen();
  forEachPair((mine, theirs) => {
    const { action, rule, scope, because, targetStaysUpToDate } = decideResync(mine, theirs, true);
    const pairs = action === 'source' || action === 'target';
    outcomes.add(rule, pairs ? 'one is source' : action);
    if (pairs) scopes.add(rule, scope + (targetStaysUpToDate ? ', target stays up to date' : ''));
    if (action !== 'target')
      sentences.add(rule, because.replaceAll(/ is (?:fresh|outdated|inconsistent)/g, ' is FLAG'));
  });
  const rows = resyncTable.map(({ rule }, index) => [
    String(index + 1),
    code(rule),
    outcomes.of(rule).join(', '),
    scopes.of(rule).join('; ') || '-',
    sentences.of(rule).join(' / '),
  ]);
  return markdownTable(
    ['#', 'rule', 'verdict', 'examined', 'in words, as the source or the first node says it'],
    rows,
  );
}

const actionWords: Readonly<Record<AloneAction, string>> = {
  nothing: 'nothing',
  wait: 'wait',
  claim: 'ask the arbiter',
  'go-on-without-arbiter': 'go on alone',
};

function aloneRows(): string {
  const actions = new Seen();
  const sentences = new Seen();
  forEachSituation((situation) => {
    const { action, rule, because } = decideAlone(situation, timers);
    actions.add(rule, actionWords[action]);
    sentences.add(rule, because.replaceAll(/\d+\.\d s/g, 'T'));
  });
  const rows = aloneTable.map(({ rule }, index) => [
    String(index + 1),
    code(rule),
    actions.of(rule).join(', '),
    sentences.of(rule).join(' / '),
  ]);
  return markdownTable(['#', 'rule', 'action', 'in words'], rows);
}

/** One row per copy, one column per answer of the arbiter. */
function startRows(): string {
  const rows = Object.entries(copies).map(([name, copy]) => [
    name,
    ...Object.values(answers).map((answer) => {
      const { outcome, rule } = startOf(copy, answer);
      return `${outcome} (${code(rule)})`;
    }),
  ]);
  return markdownTable(['copy of this node', ...Object.keys(answers)], rows);
}

function timerRows(): string {
  const names = Object.keys(timerProfiles.default) as (keyof typeof timerProfiles.default)[];
  const rows = names.map((name) => [
    code(name),
    String(timerProfiles.default[name]),
    String(timerProfiles.fast[name]),
  ]);
  return markdownTable(['timer', 'default', 'fast'], rows);
}

/** Per row: what it asks for, and when. */
function actionRows(): string {
  const rows = actionTable.map(({ row, action, when }, index) => [
    String(index + 1),
    code(row),
    moduleActionWords[action],
    when,
  ]);
  return markdownTable(['#', 'row', 'action', 'when'], rows);
}

const moduleActionWords: Readonly<Record<ModuleAction, string>> = {
  nothing: 'nothing',
  stay: 'nothing, and it is said',
  start: 'start again',
  leave: 'leave and wait',
  stop: 'stop',
  'stop-at-limit': 'stop',
  swap: 'hand the VM over',
  restart: 'restart the VM',
  'start-vm': 'start the VM',
};

const generated: readonly [string, string, () => string][] = [
  ['docs/checks.md', 'action table', actionRows],
  ['docs/failover.md', 'resync table', resyncRows],
  ['docs/failover.md', 'alone table', aloneRows],
  ['docs/failover.md', 'start table', startRows],
  ['docs/failover.md', 'timers', timerRows],
  [
    'docs/error-catalogue.md',
    'error codes',
    () =>
      markdownTable(
        ['code', 'meaning'],
        Object.entries(errorCatalogue).map(([name, text]) => [code(name), text]),
      ),
  ],
  [
    'docs/link-protocol.md',
    'frame types',
    () =>
      markdownTable(
        ['number', 'frame'],
        Object.entries(FrameType).map(([name, value]) => [String(value), code(name)]),
      ),
  ],
];

function path(document: string): string {
  return fileURLToPath(new URL(`../../${document}`, import.meta.url));
}

describe('documents made from the code', () => {
  for (const [document, name, render] of generated) {
    it(`${document}: "${name}" is current`, () => {
      const text = readFileSync(path(document), 'utf8');
      const [from, to] = [`<!-- generated: ${name} -->\n\n`, `\n\n<!-- end of ${name} -->`];
      const start = text.indexOf(from) + from.length;
      const end = text.indexOf(to);
      expect(start > from.length && end >= start, `${document} has the markers of ${name}`).to.equal(true);
      const wanted = render();
      if (process.env['VMPAIR_REWRITE'] === '1') {
        writeFileSync(path(document), text.slice(0, start) + wanted + text.slice(end));
      } else {
        expect(text.slice(start, end), 'run `VMPAIR_REWRITE=1 npx mocha` and review the diff').to.equal(
          wanted,
        );
      }
    });
  }

  it('every test that the specification names is there', () => {
    const text = readFileSync(path('docs/specification.md'), 'utf8');
    const named = [...text.matchAll(/`(test\/[^`]+?\.ts)`: "([^"]+)"/g)];
    expect(named.length).to.be.above(20);
    for (const [, file, name] of named) {
      const tests = readFileSync(path(file as string), 'utf8').replaceAll(/\\'/g, "'");
      expect(tests, `${file} has a test with these words`).to.contain(name);
    }
  });

  it('links between the documents lead somewhere', () => {
    const documents = ['README.md', 'CONTRIBUTING.md', ...generated.map(([document]) => document)];
    for (const document of new Set([
      ...documents,
      'docs/specification.md',
      'docs/architecture.md',
      'docs/failure-situations.md',
    ])) {
      const base = new URL(`../../${document}`, import.meta.url);
      for (const [, target] of readFileSync(base, 'utf8').matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
        expect(
          () => readFileSync(new URL(target as string, base)),
          `${document} -> ${target}`,
        ).not.to.throw();
      }
    }
  });
});
