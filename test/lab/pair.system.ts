/**
 * The lab with stand-ins for module and witness: what is started, killed, found again and cleaned up, and what the command
 * line says. That a real pair gets in sync is not verified here. Needs `npm run build`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { readModuleConfig } from '../../src/config/module-config.ts';
import { readBootId, readNodeConfig } from '../../src/config/node-config.ts';
import { createLabIssuer } from '../../src/lab/lab-identities.ts';
import { LabCluster, type LabFacts } from '../../src/lab/pair.ts';
import { programPath } from '../../src/platform/program-path.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

const standInModule = fileURLToPath(new URL('../supervisor/stand-in-module.js', import.meta.url));
const standInWitness = fileURLToPath(new URL('stand-in-witness.js', import.meta.url));
const programs = { module: standInModule, witness: standInWitness };
const sizeBytes = 64 * 1024 ** 2;

interface CommandResult {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the command line to its end. */
async function vmpair(...args: string[]): Promise<CommandResult> {
  const child = spawn(process.execPath, [programPath('src/cli/main'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (part) => (out += String(part)));
  child.stderr.on('data', (part) => (err += String(part)));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err };
}

async function refusal(promise: Promise<unknown>): Promise<WorldError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof WorldError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

describe('lab in-process', () => {
  let temp: TempDirectory;
  let lab: LabCluster;

  before(async () => {
    temp = makeTempDirectory();
    lab = await LabCluster.create({
      directory: temp.file('lab'),
      sizeBytes,
      issuer: createLabIssuer,
      programs,
    });
    await lab.start();
  });
  after(async () => {
    await lab.stop();
    temp.remove();
  });

  it('has two nodes with readable configurations, sparse disks and certificates of their own', () => {
    for (const node of ['A', 'B'] as const) {
      const { nodeFile, moduleFile, diskFile } = lab.nodes[node];
      const config = readNodeConfig(nodeFile);
      expect(config.node).to.equal(node);
      for (const file of Object.values(config.tls)) expect(statSync(file).mode & 0o777).to.equal(0o600);
      expect(readModuleConfig(moduleFile).volumes[0]?.sizeBytes).to.equal(sizeBytes);
      expect(statSync(diskFile)).to.include({ size: sizeBytes, blocks: 0 });
      expect(readBootId(config.bootIdFile)).to.match(/^[0-9a-f]{32}$/);
    }
    const [fileA, fileB] = [lab.nodes.A.moduleFile, lab.nodes.B.moduleFile].map((file) =>
      readFileSync(file, 'utf8'),
    );
    expect(fileA).to.equal(fileB);
  });

  it('describes each node with its processes', async () => {
    const { nodes } = lab.describe();
    expect(nodes.A.nbd).to.equal(`nbd+unix:///disk0?socket=${temp.file('lab/A/run/vm1.disk0.nbd.sock')}`);
    const module = await lab.moduleStatus('A');
    expect(nodes.A.pids).to.have.length(2).and.to.include(module?.pid);
    expect(module?.axes.role).to.equal('primary');
  });

  it('power-off ends every process of one node, leaves the other, and changes the boot id', async () => {
    const bootId = readBootId(lab.nodes.B.bootIdFile);
    await lab.powerOff('B');
    expect(lab.pids('B')).to.deep.equal([]);
    expect(lab.pids('A')).to.have.length(2);
    expect(readBootId(lab.nodes.B.bootIdFile)).to.not.equal(bootId);
    expect((await lab.status()).nodes.B).to.deep.equal({
      powered: false,
      cut: false,
      networksCut: [],
      module: undefined,
    });
    await lab.startMachine('B');
    expect((await lab.status()).nodes.B.powered).to.equal(true);
    expect(lab.pids('B')).to.have.length(2);
  });

  it('a killed module comes back by its supervisor, with the boot id it had', async () => {
    const bootId = readBootId(lab.nodes.A.bootIdFile);
    const killed = lab.killModule('A');
    const after = await until('a new module', async () => {
      const status = await lab.moduleStatus('A');
      return status !== undefined && status.pid !== killed && status;
    });
    expect(lab.pids('A')).to.include(after.pid);
    expect(readBootId(lab.nodes.A.bootIdFile)).to.equal(bootId);
  });

  it('the witness can be powered off and on', async () => {
    await lab.powerOff('witness');
    expect((await lab.status()).witness.powered).to.equal(false);
    await lab.startMachine('witness');
    expect((await lab.status()).witness.powered).to.equal(true);
  });

  it('cut and heal make and remove the markers, at both nodes or at one', async () => {
    lab.cut();
    expect((await lab.status()).nodes.A.cut && (await lab.status()).nodes.B.cut).to.equal(true);
    lab.heal(['B']);
    expect(existsSync(lab.nodes.A.cutMarkerFile)).to.equal(true);
    expect(existsSync(lab.nodes.B.cutMarkerFile)).to.equal(false);
    lab.heal();
    expect(existsSync(lab.nodes.A.cutMarkerFile)).to.equal(false);
  });

  it('a machine that runs is not started again', async () => {
    expect((await refusal(lab.startMachine('A'))).code).to.equal('lab-unusable');
  });

  it('a directory with files in it, and a path too long for sockets, are refused before anything is made', async () => {
    const options = { sizeBytes, issuer: createLabIssuer, programs };
    expect((await refusal(LabCluster.create({ ...options, directory: temp.path }))).code).to.equal(
      'lab-unusable',
    );
    const directory = temp.file(`long/${'x'.repeat(90)}`);
    expect((await refusal(LabCluster.create({ ...options, directory }))).code).to.equal(
      'socket-path-too-long',
    );
    expect(existsSync(temp.file('long'))).to.equal(false);
  });

  it('a module that cannot start fails the start of its node with the reason', async () => {
    await lab.powerOff('B');
    writeFileSync(join(lab.nodes.B.runtimeDir, 'vm1.unusable'), '');
    const error = await refusal(lab.startMachine('B'));
    expect(error.found).to.contain('told to be unusable');
    await lab.powerOff('B');
  });
});

describe('lab on the command line', () => {
  let temp: TempDirectory;
  let directory: string;
  let pair: ChildProcess;
  let facts: LabFacts;

  before(async () => {
    temp = makeTempDirectory();
    directory = temp.file('lab');
    mkdirSync(directory);
    const args = ['lab', 'pair', '--dir', directory, '--size', '8MiB', '--json', '--timers', 'fast'];
    args.push('--networks', '2');
    const stand = ['--module-program', standInModule, '--witness-program', standInWitness];
    pair = spawn(process.execPath, [programPath('src/cli/main'), ...args, ...stand], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    pair.stdout?.on('data', (part) => (out += String(part)));
    facts = await until('one JSON line', () => out.endsWith('\n') && (JSON.parse(out) as LabFacts), 30_000);
  });
  after(() => {
    pair.kill('SIGTERM');
    temp.remove();
  });

  it('other invocations find the lab: status, kill, start, cut, heal', async () => {
    const on = await vmpair('lab', 'status', '--dir', directory, '--json');
    expect(on.code).to.equal(0);
    expect(JSON.parse(on.out)).to.have.nested.property('nodes.A.powered', true);
    expect((await vmpair('lab', 'kill', 'A', '--dir', directory)).out).to.equal('A is off\n');
    expect((await vmpair('lab', 'cut', '--dir', directory)).out).to.equal('cut: A and B\n');
    const off = await vmpair('lab', 'status', '--dir', directory);
    expect(off.out).to.match(/^node A: off, link cut\nnode B: on, link cut\nvm1 on B: SECOND/);
    expect((await vmpair('lab', 'heal', '--from', 'A', '--dir', directory)).code).to.equal(0);
    const network = (command: string, number: string) =>
      vmpair('lab', command, '--network', number, '--from', 'B', '--dir', directory);
    expect((await network('cut', '2')).out).to.equal('cut: B, network 2\n');
    const status = await vmpair('lab', 'status', '--dir', directory);
    expect(status.out).to.match(/^node A: off\nnode B: on, link cut, network 2 cut\n/);
    expect((await network('heal', '2')).out).to.equal('heal: B, network 2\n');
    expect((await network('cut', '3')).err).to.contain('wanted: network 3');
    expect((await vmpair('lab', 'start', 'A', '--dir', directory)).out).to.equal('A is on\n');
    expect((await vmpair('lab', 'kill', 'A', '--module', '--dir', directory, '--json')).code).to.equal(0);
  });

  it('module and supervisor commands answer over their control sockets', async () => {
    const { control, supervisor } = facts.nodes.B;
    expect((await vmpair('status', '--control', control)).out).to.match(
      /^vm1 on B: SECOND ready: it is a stand-in/,
    );
    expect((await vmpair('prim', '--control', control)).out).to.equal(
      'prim: noted; `vmpair status VM` says what comes of it\n',
    );
    const list = await vmpair('supervisor', 'list', '--control', supervisor);
    expect(list.out).to.match(/^vm1: running, pid \d+, 0 restarts: it answers\n$/);
  });

  it('exit codes tell a wrong command line, a silent process and a refusal apart', async () => {
    const { supervisor } = facts.nodes.B;
    const wrong = await vmpair('lab', 'kill', 'C', '--dir', directory);
    expect(wrong).to.include({ code: 2, out: '' });
    expect(wrong.err).to.match(/^wanted: .*\nfound: {2}.*A, B, witness\nnext: {3}.*\n$/);
    const silent = await vmpair('status', '--json', '--control', temp.file('none.sock'));
    expect(silent.code).to.equal(3);
    expect(JSON.parse(silent.err)).to.have.nested.property('error.code', 'control-unreachable');
    expect((await vmpair('swap', '--control', supervisor)).code).to.equal(4);
    expect((await vmpair('supervisor', 'start', 'vm9', '--control', supervisor)).code).to.equal(1);
  });

  it('ending the foreground command ends every process and forgets the lab', async () => {
    const lab = LabCluster.open(directory);
    expect(lab.pids('A').length + lab.pids('B').length + lab.pids('witness').length).to.be.at.least(5);
    pair.kill('SIGTERM');
    const [code] = (await once(pair, 'exit')) as [number | null];
    expect(code).to.equal(0);
    expect([...lab.pids('A'), ...lab.pids('B'), ...lab.pids('witness')]).to.deep.equal([]);
    expect((await vmpair('lab', 'status', '--dir', directory)).code).to.equal(1);
  });
});
