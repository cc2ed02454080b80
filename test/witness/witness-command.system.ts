/** `vmpair witness` from init to a failover of its certificates and its store, with real processes. Needs systemd-analyze. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { WitnessArbiter } from '../../src/platform/witness-client.ts';
import { clusterOfTwo, loopback } from '../platform/loopback-pair.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { type CommandResult, RunningWitness, witnessCommand } from './running-witness.ts';
import { breakCertificate, readOf, sampleRecord, swapOf, writeWitnessFiles } from './witness-fixture.ts';

const unitFile = fileURLToPath(new URL('../../templates/systemd/vmpair-witness.service', import.meta.url));

describe('vmpair witness', function () {
  this.timeout(300_000);
  let directory: TempDirectory;
  let cluster: Awaited<ReturnType<typeof clusterOfTwo>>;
  let config = '';
  let running: RunningWitness[] = [];

  before(async () => {
    cluster = await clusterOfTwo('c1');
  });
  beforeEach(() => {
    directory = makeTempDirectory();
    config = directory.file('etc/witness.yaml');
    mkdirSync(directory.file('etc/clusters'), { recursive: true });
    running = [];
  });
  afterEach(async () => {
    for (const witness of running) await witness.end('SIGKILL');
    directory.remove();
  });

  function configure(more: object = {}): void {
    RunningWitness.write(config, {
      version: 1,
      listen: { host: loopback, port: 0 },
      clustersDir: 'clusters',
      dataDir: directory.file('data'),
      ...more,
    });
  }
  const addCluster = (name: string, { authority }: typeof cluster) =>
    writeWitnessFiles(directory.file(`etc/clusters/${name}`), authority);
  async function start(): Promise<RunningWitness> {
    const witness = await RunningWitness.started(config);
    running.push(witness);
    return witness;
  }
  async function startRefused(): Promise<CommandResult> {
    const outcome = await RunningWitness.start(config);
    if (!(outcome instanceof RunningWitness)) return outcome;
    running.push(outcome);
    throw new Error('the witness started');
  }
  const clientOf = ({ address }: RunningWitness, moduleId = 'vm1', identity = cluster.alpha) =>
    new WitnessArbiter({ address, identity, moduleId, deadlineMs: 10_000 });
  const command = (name: string, ...args: string[]) => witnessCommand(name, '--config', config, ...args);

  it('init writes a configuration that works once certificates are there, and never overwrites it', async () => {
    const dir = directory.file('fresh');
    const args = ['--dir', dir, '--data-dir', directory.file('data'), '--listen', `${loopback}:7399`];
    const first = await witnessCommand('init', ...args);
    expect(first.code, first.stderr).to.equal(0);
    expect(first.stdout).to.include(`${dir}/clusters/NAME`);
    config = path.join(dir, 'witness.yaml');
    const empty = await command('check');
    expect(empty.code).to.equal(1);
    expect(empty.stdout).to.match(/at least one cluster/);
    await writeWitnessFiles(path.join(dir, 'clusters/mine'), cluster.authority);
    const ready = await command('check');
    expect(ready.stdout).to.match(/^cluster c1: until 20.*\nthe witness can run\n$/);
    expect(ready.code).to.equal(0);
    const again = await witnessCommand('init', ...args);
    expect(again.code).to.equal(1);
    expect(again.stderr).to.match(/never overwritten/);
  });

  it('status tells clusters, records and who changed them; records also when it does not run', async () => {
    configure();
    await addCluster('one', cluster);
    const witness = await start();
    await swapOf(clientOf(witness), undefined, sampleRecord(1, 'both'));
    await swapOf(clientOf(witness, 'vm1', cluster.beta), sampleRecord(1, 'both'), sampleRecord(2, 'beta'));
    const status = await command('status');
    expect(status.stdout).to.match(/^ok: listens on 127\.0\.0\.1:\d+, store [0-9a-f]{32} in /);
    expect(status.stdout).to.match(
      /cluster c1: .* known as w,.*\n {2}vm1 {2}generation 2 {2}holder beta .* by beta\n/,
    );
    await witness.end();
    const silent = await command('status');
    expect(silent.code).to.equal(3);
    expect(silent.stderr).to.contain('"vmpair witness check" and its log');
    const records = await command('records', '--json');
    const { modules, refused } = JSON.parse(records.stdout);
    expect(refused).to.deep.equal([]);
    expect(modules[0]).to.deep.include({ clusterId: 'c1', moduleId: 'vm1', record: sampleRecord(2, 'beta') });
  });

  it('a cluster dropped in is served after reload and after SIGHUP; a wrong one is named and harms nobody', async () => {
    configure();
    const second = await clusterOfTwo('c2');
    const third = await clusterOfTwo('c3');
    await addCluster('one', cluster);
    const witness = await start();
    await addCluster('two', second);
    breakCertificate(await addCluster('wrong', third));
    const reloaded = await command('reload');
    expect(reloaded.code).to.equal(1);
    expect(reloaded.stdout).to.match(/^added: c2\nrefused: .*\/wrong: certificate-rejected: /);
    expect(await readOf(clientOf(witness, 'vm1', second.alpha))).to.have.property('kind', 'record');
    rmSync(directory.file('etc/clusters/wrong'), { recursive: true });
    await addCluster('three', third);
    witness.child.kill('SIGHUP');
    await until(
      'the third cluster is served',
      async () => (await readOf(clientOf(witness, 'vm1', third.alpha))).kind === 'record',
      20_000,
    );
    expect(await readOf(clientOf(witness))).to.have.property('kind', 'record');
    writeFileSync(config, 'listen: nowhere\n');
    witness.child.kill('SIGHUP');
    await until('the refusal is logged', () => witness.log.includes('reload-refused'), 20_000);
    expect(await readOf(clientOf(witness))).to.have.property('kind', 'record');
  });

  it('a store that was put back: exit code 79 and the way out, which the witness then takes', async () => {
    configure();
    await addCluster('one', cluster);
    const witness = await start();
    await swapOf(clientOf(witness), undefined, sampleRecord(1, 'both'));
    const early = await command('accept-restored');
    expect(early.code).to.equal(1);
    expect(early.stderr).to.match(/to be the only process that uses/);
    await witness.end();
    expect((await command('accept-restored')).code).to.equal(4);
    cpSync(directory.file('data'), directory.file('copy'), { recursive: true, preserveTimestamps: true });
    rmSync(directory.file('data'), { recursive: true });
    cpSync(directory.file('copy'), directory.file('data'), { recursive: true, preserveTimestamps: true });
    const refused = await startRefused();
    expect(refused.code).to.equal(79);
    expect(refused.stderr).to.match(
      /^store-restored: wanted .*; found a directory that was restored.*accept-restored/,
    );
    expect((await command('check')).stdout).to.match(/problem: store-restored/);
    expect((await command('records')).code).to.equal(1);
    const accepted = await command('accept-restored');
    expect(accepted.code, accepted.stderr).to.equal(0);
    expect(accepted.stdout).to.match(
      /^dropped: .*vm1-.*\.record\nnew store [0-9a-f]{32}; .*arbiter recreate VM/,
    );
    const second = await start();
    expect(await readOf(clientOf(second))).to.have.property('record', undefined);
  });

  it('metrics and health are served where they are asked for, and nothing else is', async () => {
    configure({ metrics: { host: loopback, port: 0 } });
    await addCluster('one', cluster);
    const witness = await start();
    await swapOf(clientOf(witness), undefined, sampleRecord(1, 'both'));
    const get = (page: string) => fetch(`http://${loopback}:${witness.metrics?.port}${page}`);
    const metrics = await (await get('/metrics')).text();
    expect(metrics).to.match(/vmpair_witness_swaps_total\{cluster="c1",outcome="granted"\} 1\n/);
    expect(metrics).to.match(/vmpair_witness_store_write_seconds_count 1\n/);
    expect(metrics).to.match(/vmpair_witness_records\{state="used"\} 1\n/);
    expect(metrics).to.match(/vmpair_witness_clusters 1\n/);
    expect(metrics).to.match(
      /certificate_expiry_timestamp_seconds\{cluster="c1",certificate="witness"\} \d+\n/,
    );
    const health = await get('/healthz');
    expect(health.status).to.equal(200);
    expect(await health.json()).to.deep.include({ status: 'ok', problems: [] });
    expect((await get('/')).status).to.equal(404);
    const [name] = (await command('records', '--json').then(({ stdout }) => JSON.parse(stdout))).modules;
    expect(name.moduleId).to.equal('vm1');
    expect(metrics).not.to.include('vm1');
  });

  it('a record that was deleted by hand while it runs: no record, and a claim on it is refused', async () => {
    configure();
    await addCluster('one', cluster);
    const witness = await start();
    await swapOf(clientOf(witness), undefined, sampleRecord(1, 'both'));
    const { modules } = JSON.parse((await command('status', '--json')).stdout);
    expect(modules).to.have.length(1);
    const report = spawnSync('find', [directory.file('data'), '-name', '*.record'], { encoding: 'utf8' });
    unlinkSync(report.stdout.trim());
    const claim = await swapOf(clientOf(witness), sampleRecord(1, 'both'), sampleRecord(2, 'alpha'));
    expect(claim).to.deep.include({ kind: 'refused', record: undefined });
  });

  it('the service file is one that systemd understands', () => {
    const unit = readFileSync(unitFile, 'utf8')
      .replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`)
      .replace(/^User=.*$/m, 'User=root');
    const file = directory.file('vmpair-witness.service');
    writeFileSync(file, unit);
    const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
    expect(stdout + stderr).to.equal('');
    expect(status).to.equal(0);
    expect(unit).to.match(/^RestartPreventExitStatus=78 79$/m);
  });
});
