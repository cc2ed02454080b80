/**
 * A real pair with a VM whose configuration changes while it runs: what counts at once, what with the next start of the VM, and what not
 * before the process is restarted. The supervisor is a real one too. How the files come there is the agent's, and not verified here.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import type { Reconfigured } from '../../modules/mirror/reconfigure.ts';
import type { WorldError } from '../../src/base/errors.ts';
import { type LabNode, labModule, labNodes } from '../../src/lab/lab-layout.ts';
import { callOnce } from '../../src/platform/control-client.ts';
import type { ReloadReport } from '../../src/supervisor/reload.ts';
import type { SupervisedStatus } from '../../src/supervisor/supervised-module.ts';
import { until } from '../until.ts';
import { RealPair } from './real-pair.ts';

const commandDeadlineMs = 20_000;

describe('configuration of a running pair', function () {
  this.timeout(180_000);
  let pair: RealPair;

  before(async () => {
    pair = await RealPair.start({
      timerProfile: 'fast',
      sizeBytes: 64 * 1024 ** 2,
      vm: { kind: 'simulated', recordsPerSecond: 20, serial: { file: 'serial.log' } },
    });
    await pair.inSync();
  });
  after(() => pair.end());

  /** Changes the module's file of a node, or of both. */
  function write(change: object, nodes: readonly LabNode[] = labNodes): void {
    for (const node of nodes) {
      const file = pair.lab.nodes[node].moduleFile;
      writeFileSync(file, stringify({ ...(parse(readFileSync(file, 'utf8')) as object), ...change }));
    }
  }
  const reconfigure = async (node: LabNode): Promise<Reconfigured> =>
    (await callOnce(
      pair.lab.nodes[node].paths.control,
      'reconfigure',
      {},
      commandDeadlineMs,
    )) as Reconfigured;
  const ofSupervisor = async <Answer>(node: LabNode, verb: string, args: object = {}): Promise<Answer> =>
    (await callOnce(pair.lab.nodes[node].supervisorSocket, verb, args, commandDeadlineMs)) as Answer;
  const keys = (changes: Reconfigured['applied']): string[] =>
    changes.map((each) => `${each.key} ${each.class}`);

  it('a file that says what counts already changes nothing', async () => {
    expect(await reconfigure('A')).to.deep.equal({ applied: [], waiting: [] });
  });

  it('a file that cannot be used is refused by name, and changes nothing', async () => {
    const file = pair.lab.nodes.A.moduleFile;
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, `${text}failovr: off\n`);
    const error = await reconfigure('A').catch((caught: WorldError) => caught);
    writeFileSync(file, text);
    expect(error).to.have.property('code', 'config-invalid');
    expect(error).to.have.property('found').that.contains('did you mean "failover"');
    expect(await reconfigure('A')).to.deep.equal({ applied: [], waiting: [] });
  });

  it('each key counts when its class says; process and VM run on', async () => {
    const before = await pair.status('A');
    write({
      preferred: 'B',
      resync: { maxMibPerSecond: 50 },
      encryption: 'off',
      vm: { kind: 'simulated', recordsPerSecond: 30, serial: { file: 'serial.log' } },
    });
    const answer = await reconfigure('A');
    expect(keys(answer.applied)).to.have.members(['preferred live', 'resync.maxMibPerSecond live']);
    expect(keys(answer.waiting)).to.have.members(['encryption module-restart', 'vm vm-restart']);
    expect(keys((await reconfigure('A')).waiting), 'asked again').to.have.members([
      'encryption module-restart',
      'vm vm-restart',
    ]);
    const after = await pair.status('A');
    expect([after.pid, after.state, after.axes.vm]).to.deep.equal([before.pid, 'PRIM', 'running']);
  });

  it('the supervisor notes what waits for a restart; after it nothing waits, and the VM ran on', async () => {
    const { changed } = await ofSupervisor<ReloadReport>('A', 'reload');
    expect(changed[0]?.changes.map(({ key }) => key)).to.include('encryption');
    const noted = await ofSupervisor<SupervisedStatus>('A', 'status', { module: labModule });
    expect(noted.note).to.contain('encryption').and.contain('counts from the next restart');
    for (const node of labNodes) await ofSupervisor(node, 'restart', { module: labModule });
    await until(
      'the pair is in sync again',
      async () => {
        const { axes } = await pair.status('A');
        return axes.link === 'in-sync' && axes.vm === 'running';
      },
      commandDeadlineMs,
    );
    const after = await ofSupervisor<SupervisedStatus>('A', 'status', { module: labModule });
    expect(after.note).to.equal(undefined);
    expect(await reconfigure('A')).to.deep.equal({ applied: [], waiting: [] });
  });

  it('failover is switched off and on without a restart: the secondary stays, then takes over', async () => {
    await pair.inSync();
    write({ failover: 'off' });
    const { pid } = await pair.status('B');
    for (const node of labNodes)
      expect(keys((await reconfigure(node)).applied)).to.deep.equal(['failover live']);
    await pair.lab.powerOff('A');
    await until(
      'B says why it waits',
      async () => (await pair.status('B')).because.includes('failover is off'),
      commandDeadlineMs,
    );
    write({ failover: 'on' }, ['B']);
    expect(keys((await reconfigure('B')).applied)).to.deep.equal(['failover live']);
    const alone = await until(
      'B has taken over',
      async () => {
        const status = await pair.status('B');
        return status.state === 'ALONE' && status.axes.vm === 'running' && status;
      },
      commandDeadlineMs,
    );
    expect(alone.pid).to.equal(pid);
  });
});
