/**
 * A real pair without an arbiter whose nodes switch each other off with a program that kills every process of the other node.
 * Who wins and what waits is in the simulated stories; here the programs, the files and the commands are the real ones.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import type { FenceTest } from '../../src/arbiter/fence.ts';
import { labNodes } from '../../src/lab/lab-layout.ts';
import type { LabCluster } from '../../src/lab/pair.ts';
import { programPath } from '../../src/platform/program-path.ts';
import { until } from '../until.ts';
import { RealPair } from './real-pair.ts';

/** Generous beside the time of the fence: that a takeover comes is tested here, not how fast. */
const takeoverMs = 90_000;
const commandDeadlineMs = 30_000;

/** A fence alone makes a busy machine dangerous: who is silent is switched off. So silence takes long here. */
const patientTimers = { lostAfterMs: 8000, pauseAfterMs: 10_000, claimAfterMs: 12_000, watchdogMs: 9000 };

/** No arbiter; each node is switched off by the lab's own power switch. */
function useFence(lab: LabCluster): void {
  const offOf = (node: string): object => {
    const switchOff = [programPath('src/cli/main'), 'lab', 'kill', node, '--dir', lab.directory];
    return { kind: 'command', off: [process.execPath, ...switchOff], test: ['/bin/true'] };
  };
  for (const node of labNodes) {
    const { moduleFile } = lab.nodes[node];
    const document = parse(readFileSync(moduleFile, 'utf8')) as Record<string, unknown>;
    document['arbiter'] = { kind: 'none' };
    document['timers'] = patientTimers;
    document['fence'] = { nodes: { A: offOf('A'), B: offOf('B') }, check: 'off' };
    writeFileSync(moduleFile, stringify(document));
  }
}

describe('a real pair with a fence and no arbiter', () => {
  let pair: RealPair;
  before(async () => {
    pair = await RealPair.start({ sizeBytes: 64 * 1024 ** 2, prepare: useFence });
  });
  afterEach(() => pair.endLoads());
  after(() => pair?.end());

  const rulesOf = async (node: 'A' | 'B'): Promise<string[]> =>
    (await pair.status(node)).decisions.map(({ rule }) => rule);
  const isPowered = async (node: 'A' | 'B'): Promise<boolean> =>
    (await pair.lab.status()).nodes[node].powered;

  it('tests its fence and switches nothing', async () => {
    const test = (await pair.lab.call('A', 'fence-test', {}, commandDeadlineMs)) as FenceTest;
    expect(test.kind).to.equal('answers');
    const { fence } = await pair.status('A');
    expect(fence?.lastTest?.kind).to.equal('answers');
    expect(await isPowered('B')).to.equal(true);
  });

  it('the link is cut: the primary goes on when the other node is proved off, and takes it back', async () => {
    const guest = await pair.load('A');
    pair.lab.cut();
    await until('A goes on alone', async () => (await rulesOf('A')).includes('peer-proved-off'), takeoverMs);
    expect(await isPowered('B')).to.equal(false);
    await guest.progress(500, takeoverMs);
    pair.lab.heal();
    await pair.lab.startMachine('B');
    await pair.inSync();
    await guest.end();
    await pair.expectBothHold();
  });

  it('the primary loses power: the other node goes on with every write when that is proved', async () => {
    const guest = await pair.load('A');
    await guest.progress(500);
    pair.lab.cut();
    await guest.kill();
    await pair.lab.powerOff('A');
    await pair.waitFor('B', 'ALONE', 'ready', takeoverMs);
    expect(await rulesOf('B')).to.include('peer-proved-off');
    expect(await pair.lostInExport('B')).to.deep.equal([]);
    pair.lab.heal();
    await pair.lab.startMachine('A');
    await pair.inSync();
  });
});
