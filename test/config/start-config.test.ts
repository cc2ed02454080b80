/** `start` of module.yaml and `starts` of node.yaml. */
import { expect } from 'chai';
import { z } from 'zod';
import { WorldError } from '../../src/base/errors.ts';
import { resolveStart, startSchema, startsSchema } from '../../src/config/start-config.ts';
import { parseYaml } from '../../src/config/yaml-document.ts';

const start = startSchema(z.string().regex(/^[a-z0-9]+$/, 'a name')).transform((value, context) =>
  resolveStart(value, 'vm1', (path, message) =>
    context.issues.push({ code: 'custom', message, path, input: value }),
  ),
);
const readStart = (text: string) => parseYaml('module.yaml', text, start);
const readStarts = (text: string) => parseYaml('node.yaml', text, startsSchema);

describe('the start of a module', () => {
  it('nothing said: the middle priority, after nobody', () => {
    expect(readStart('{}')).to.deep.equal({
      priority: 50,
      after: [],
      restartWith: false,
      delayMs: 0,
      deadlineMs: 120_000,
    });
  });

  it('those that it starts after are names, or names that are required', () => {
    const { after } = readStart('after: [db, { module: cache, required: true }, { module: dns }]');
    expect(after).to.deep.equal([
      { module: 'db', required: false },
      { module: 'cache', required: true },
      { module: 'dns', required: false },
    ]);
  });

  for (const [text, said] of [
    ['priority: 101', 'priority'],
    ['priority: 1.5', 'priority'],
    ['priority: high', 'priority'],
    ['after: db', 'after'],
    ['after: [db, db]', 'each module once'],
    ['after: [{ name: db }]', 'after[0]'],
    ['after: [vm1]', 'another module than this one'],
    ['restartWith: true', 'a module in start.after'],
    ['delayMs: 5', 'a module in start.after'],
    ['{ after: [db], delayMs: -1 }', 'delayMs'],
    ['deadlineMs: 3600001', 'deadlineMs'],
    ['order: 1', 'order'],
  ] as const) {
    it(`is refused, with the place and what is wanted: ${text}`, () => {
      expect(() => readStart(text)).to.throw(WorldError, said);
    });
  }
});

describe('the starts of a node', () => {
  it('nothing said: four at a time, four virtual CPUs for each, half a GiB for the host', () => {
    expect(readStarts('{}')).to.deep.equal({
      concurrent: 4,
      cpuOvercommit: 4,
      memoryReserveBytes: 512 * 1024 ** 2,
    });
  });

  it('sizes are as everywhere', () => {
    expect(readStarts('memoryReserve: 1.5GiB').memoryReserveBytes).to.equal(1.5 * 1024 ** 3);
    expect(readStarts('memoryReserve: 0').memoryReserveBytes).to.equal(0);
  });

  for (const text of [
    'concurrent: 0',
    'concurrent: 65',
    'cpuOvercommit: 0.5',
    'memoryReserve: lots',
    'slots: 4',
  ]) {
    it(`is refused: ${text}`, () => {
      expect(() => readStarts(text)).to.throw(WorldError, text.split(':')[0] as string);
    });
  }
});
