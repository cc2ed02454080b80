/** A real pair whose witness loses its records: the pair works on, says it, takes nobody's word, and has the record made anew by command. */
import { rmSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { expect } from 'chai';
import type { RecordStatus } from '../../src/base/status.ts';
import { type LabNode, witnessLayout } from '../../src/lab/lab-layout.ts';
import { programPath } from '../../src/platform/program-path.ts';
import { until } from '../until.ts';
import { RealPair } from './real-pair.ts';

const commandDeadlineMs = 60_000;

describe('a real pair whose witness loses its records', () => {
  let pair: RealPair;
  before(async () => {
    pair = await RealPair.start({ timerProfile: 'fast' });
  });
  beforeEach(() => pair.recover());
  afterEach(() => pair.endLoads());
  after(() => pair?.end());

  /** The witness machine is a new one, without the records. */
  async function loseRecords(): Promise<void> {
    await pair.lab.powerOff('witness');
    rmSync(witnessLayout(pair.lab.directory).dataDir, { recursive: true });
    await pair.lab.startMachine('witness');
  }

  /** The command as an administrator gives it. */
  function arbiter(node: LabNode, ...args: readonly string[]) {
    const control = pair.lab.nodes[node].paths.control;
    const command = [programPath('src/cli/main'), 'arbiter', ...args, '--control', control];
    const { status, stdout, stderr } = spawnSync(process.execPath, command, {
      encoding: 'utf8',
      timeout: commandDeadlineMs,
    });
    return { status, stdout, stderr };
  }

  const recordOf = (node: LabNode): RecordStatus =>
    JSON.parse(arbiter(node, 'status', '--json').stdout) as RecordStatus;

  it('goes on under load, has the record made anew, and fails over as ever', async () => {
    const primary = await pair.primary();
    const secondary = primary === 'A' ? 'B' : 'A';
    const guest = await pair.load(primary);
    expect(recordOf(primary).verdict).to.equal('ok');
    await loseRecords();
    await guest.progress(300);
    expect(recordOf(primary)).to.deep.include({ verdict: 'other-store' });
    expect(recordOf(primary).because).to.contain(
      'run `vmpair arbiter recreate vm1` on the node that is primary',
    );
    const onSecondary = arbiter(secondary, 'recreate');
    expect(onSecondary.status).to.equal(4);
    expect(onSecondary.stderr).to.contain(`run it on ${primary}`);
    const made = arbiter(primary, 'recreate');
    expect(made.stdout + made.stderr).to.match(/^arbiter: ok: /u);
    await until('the secondary knows the new record', () => recordOf(secondary).verdict === 'ok');
    const again = arbiter(primary, 'recreate');
    expect(again.status).to.equal(4);
    expect(again.stderr).to.contain('that it is right');
    await guest.progress(300);
    await pair.lab.powerOff(primary);
    await guest.kill();
    await pair.waitFor(secondary, 'ALONE', 'ready');
    expect(await pair.lostInExport(secondary)).to.deep.equal([]);
  });

  it('and then its primary: the other node says what to do, and starts when it is told that the peer is off', async () => {
    const primary = await pair.primary();
    const secondary = primary === 'A' ? 'B' : 'A';
    const guest = await pair.load(primary);
    await loseRecords();
    await pair.lab.powerOff(primary);
    await guest.kill();
    const waiting = await until('the sentence', async () => {
      const status = await pair.status(secondary);
      return status.because.includes('arbiter recreate') ? status : undefined;
    });
    expect(waiting).to.deep.include({ state: 'WAIT', readiness: 'not-ready' });
    const refused = arbiter(secondary, 'recreate');
    expect(refused.status).to.equal(4);
    expect(refused.stderr).to.contain(`--peer-is-off ${primary}`);
    const made = arbiter(secondary, 'recreate', '--peer-is-off', primary);
    expect(made.stdout + made.stderr).to.match(/^arbiter: ok: /u);
    await pair.waitFor(secondary, 'ALONE', 'ready');
    expect(await pair.lostInExport(secondary)).to.deep.equal([]);
  });
});
