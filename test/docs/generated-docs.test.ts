/**
 * The parts of the documents that are made from the code: they stand between `<!-- generated: NAME -->` and
 * `<!-- end of NAME -->`. With `VMPAIR_REWRITE=1` they are written anew, to be reviewed as a diff.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { type Permission, permissions } from '../../src/agent/access/permissions.ts';
import { allRoutes } from '../../src/agent/api/all-routes.ts';
import type { ApiContext } from '../../src/agent/api/context.ts';
import { type ModuleAction, moduleActions } from '../../src/agent/module-actions.ts';
import { headTable, type HeadVerdict } from '../../src/agent/config/compare-heads.ts';
import { errorCatalogue } from '../../src/base/error-catalogue.ts';
import { actionTable, type ModuleAction as CheckAction } from '../../src/checks/decide-action.ts';
import { type AloneAction, aloneTable, decideAlone } from '../../src/cluster/decide-alone.ts';
import { decideResync, resyncTable } from '../../src/cluster/decide-resync.ts';
import { changeClasses, moduleKeyRules } from '../../src/config/module-change.ts';
import { timerProfiles } from '../../src/config/timers.ts';
import { FrameType } from '../../src/link/frames.ts';
import { turnTable } from '../../src/starts/decide-turn.ts';
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

const everybody = { public: 'everybody', peer: 'the other agent' } as const;

/** Routes but those of the actions, which have a table of their own. */
function routeRows(): string {
  const routes = allRoutes({} as ApiContext).filter(({ id }) => id !== 'module-action');
  const rows = routes.map(({ id, method, path: at, summary, role: own }) => {
    const { role: usual, scope }: Permission = permissions[id];
    const role = own ?? usual;
    const who = role === 'public' || role === 'peer' ? everybody[role] : role;
    const whole = scope === 'cluster' && role !== 'peer' ? ', for all VMs' : '';
    return [code(`${method} ${at.replace('/api/v1', '')}`), who + whole, summary.replace(/\.$/, '')];
  });
  return markdownTable(['call, after `/api/v1`', 'who may', 'what'], rows);
}

function actionRows(): string {
  const rows = Object.entries<ModuleAction>(moduleActions).map(
    ([name, { role, asks, quick, args, summary }]) => [
      code(name),
      role,
      asks === 'primary' ? 'the primary' : 'this one',
      quick ? 'no' : 'yes',
      Object.keys(args.shape).map(code).join(', '),
      summary.replace(/\.$/, ''),
    ],
  );
  return markdownTable(['action', 'who may', 'node, if none is named', 'job', 'arguments', 'what'], rows);
}

/** One row per key of a module, severest last, each class in the order of the table. */
function changeClassRows(): string {
  const rules = Object.values(moduleKeyRules);
  const sorted = changeClasses.flatMap((each) => rules.filter((rule) => rule.class === each));
  return markdownTable(
    ['key', 'class', 'because'],
    sorted.map((rule) => [code(rule.key), code(rule.class), rule.because]),
  );
}

const headVerdicts: Readonly<Record<HeadVerdict, string>> = {
  same: 'nothing to do',
  behind: 'this node takes the changes over',
  ahead: 'the other node takes the changes over',
  diverged: 'both refuse changes until one is chosen',
};

function headRows(): string {
  const rows = headTable.map(({ rule, verdict, because }, index) => [
    String(index + 1),
    code(rule),
    headVerdicts[verdict],
    because,
  ]);
  return markdownTable(['#', 'rule', 'verdict', 'in words'], rows);
}

function turnRows(): string {
  const rows = turnTable.map(({ rule, action, means }, index) => [
    String(index + 1),
    code(rule),
    action === 'wait' ? 'wait' : 'start',
    means,
  ]);
  return markdownTable(['#', 'rule', 'the VM is to', 'when, and what ends it'], rows);
}

/** Per row: what it asks for, and when. */
function checkActionRows(): string {
  const rows = actionTable.map(({ row, action, when }, index) => [
    String(index + 1),
    code(row),
    checkActionWords[action],
    when,
  ]);
  return markdownTable(['#', 'row', 'action', 'when'], rows);
}

const checkActionWords: Readonly<Record<CheckAction, string>> = {
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
  ['docs/checks.md', 'action table', checkActionRows],
  ['docs/failover.md', 'resync table', resyncRows],
  ['docs/failover.md', 'alone table', aloneRows],
  ['docs/failover.md', 'start table', startRows],
  ['docs/failover.md', 'timers', timerRows],
  ['docs/configuration.md', 'change classes', changeClassRows],
  ['docs/configuration.md', 'head table', headRows],
  ['docs/failover.md', 'turn table', turnRows],
  [
    'docs/error-catalogue.md',
    'error codes',
    () =>
      markdownTable(
        ['code', 'meaning'],
        Object.entries(errorCatalogue).map(([name, text]) => [code(name), text]),
      ),
  ],
  ['docs/api.md', 'api routes', routeRows],
  ['docs/api.md', 'api actions', actionRows],
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
