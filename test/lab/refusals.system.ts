/**
 * A module that cannot use what it was given says so and changes nothing: the process ends with exit code 78 and three lines on
 * standard error, the supervisor repeats the reason and does not restart it, and every file of the node is as it was.
 * Needs root (bind mounts).
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import type { ErrorCode } from '../../src/base/error-catalogue.ts';
import { WorldError } from '../../src/base/errors.ts';
import { createLabIssuer } from '../../src/lab/lab-identities.ts';
import { labHost, type LabNode, type NodeLayout, readLabRecord } from '../../src/lab/lab-layout.ts';
import { callOnce } from '../../src/platform/control-client.ts';
import { createClusterAuthority, issueCertificate, writeIdentity } from '../../src/platform/pki.ts';
import { programPath } from '../../src/platform/program-path.ts';
import type { SupervisedStatus } from '../../src/supervisor/supervised-module.ts';
import { until } from '../until.ts';
import { RealPair } from './real-pair.ts';

const sizeBytes = 64 * 1024 ** 2;
const exitUnusable = 78;

interface Refusal {
  readonly situation: string;
  readonly node: LabNode;
  /** Brings the situation about; what it answers undoes it. */
  readonly prepare: (layout: NodeLayout) => Promise<() => unknown> | (() => unknown);
  readonly code: ErrorCode;
  readonly wanted: RegExp;
  readonly found: RegExp;
}

let pair: RealPair;

/** Replaces text in a file; the answer puts the file back. */
function edit(file: string, from: string | RegExp, to: string): () => void {
  const text = fs.readFileSync(file, 'utf8');
  const changed = text.replace(from, to);
  expect(changed, `${String(from)} is in ${file}`).to.not.equal(text);
  fs.writeFileSync(file, changed);
  return () => fs.writeFileSync(file, text);
}

function hide(file: string): () => void {
  fs.renameSync(file, `${file}.hidden`);
  return () => fs.renameSync(`${file}.hidden`, file);
}

/** Makes one file read-only even for root. */
function makeReadOnly(file: string): () => void {
  execFileSync('mount', ['--bind', file, file]);
  execFileSync('mount', ['-o', 'remount,bind,ro', file]);
  return () => execFileSync('umount', [file]);
}

function overwrite(file: string, offsetBytes: number, bytes: Uint8Array): () => void {
  const kept = fs.readFileSync(file);
  const fd = fs.openSync(file, 'r+');
  fs.writeSync(fd, bytes, 0, bytes.length, offsetBytes);
  fs.closeSync(fd);
  return () => fs.writeFileSync(file, kept);
}

/** A tool of the host that has the image open. */
async function openInTool(file: string): Promise<() => Promise<void>> {
  const tool: ChildProcess = spawn('qemu-io', ['-f', 'raw', file], { stdio: ['pipe', 'pipe', 'ignore'] });
  await once(tool.stdout as NodeJS.ReadableStream, 'data');
  return async () => {
    const ended = once(tool, 'exit');
    tool.stdin?.end('quit\n');
    await ended;
  };
}

async function occupyPort(host: string, port: number): Promise<() => Promise<void>> {
  const server: Server = createServer();
  server.listen(port, host);
  await once(server, 'listening');
  return () => new Promise((resolve) => server.close(() => resolve()));
}

/** Gives the node the files of another identity, consistent in itself. */
async function useIdentity(layout: NodeLayout, clusterId: string, name: string): Promise<() => void> {
  const authority = await createClusterAuthority(clusterId);
  const identity = await issueCertificate(authority, 'node', name);
  const files = await writeIdentity(pair.temp.file('stranger'), name, identity, authority.certificatePem);
  const text = fs.readFileSync(layout.nodeFile, 'utf8');
  let changed = text;
  for (const key of ['ca', 'cert', 'key'] as const) {
    changed = changed.replace(new RegExp(`^( +${key}: ).*$`, 'm'), `$1${files[key]}`);
  }
  fs.writeFileSync(layout.nodeFile, changed);
  return () => {
    fs.writeFileSync(layout.nodeFile, text);
    fs.rmSync(pair.temp.file('stranger'), { recursive: true });
  };
}

const refusals: readonly Refusal[] = [
  {
    situation: 'the disk file is missing',
    node: 'A',
    prepare: ({ diskFile }) => hide(diskFile),
    code: 'file-missing',
    wanted: /to open .*disk0\.img/,
    found: /does not exist/,
  },
  {
    situation: 'the disk file and the metadata are missing: no metadata is made',
    node: 'A',
    prepare: ({ diskFile, metadataFile }) => {
      const undo = [hide(diskFile), hide(metadataFile)];
      return () => undo.forEach((step) => step());
    },
    code: 'file-missing',
    wanted: /to open .*disk0\.img/,
    found: /does not exist/,
  },
  {
    situation: 'the disk file is too small',
    node: 'A',
    prepare: ({ diskFile }) => {
      fs.truncateSync(diskFile, sizeBytes - 4096);
      return () => fs.truncateSync(diskFile, sizeBytes);
    },
    code: 'file-too-small',
    wanted: /disk0\.img to hold a volume of 67108864 bytes/,
    found: /^67104768 bytes$/,
  },
  {
    situation: 'the disk file may not be written',
    node: 'A',
    prepare: ({ diskFile }) => makeReadOnly(diskFile),
    code: 'file-not-writable',
    wanted: /to open .*disk0\.img/,
    found: /read-only/,
  },
  {
    situation: 'the metadata file may not be written',
    node: 'A',
    prepare: ({ metadataFile }) => makeReadOnly(metadataFile),
    code: 'file-not-writable',
    wanted: /to open .*vm1\.meta/,
    found: /read-only/,
  },
  {
    situation: 'the disk file is open in qemu-io',
    node: 'A',
    prepare: ({ diskFile }) => openInTool(diskFile),
    code: 'file-locked',
    wanted: /disk0\.img for this process alone/,
    found: /a lock of process \d+ \(qemu-io\)/,
  },
  {
    situation: 'the metadata file is damaged',
    node: 'A',
    prepare: ({ metadataFile }) => overwrite(metadataFile, 0, new Uint8Array(64 * 1024)),
    code: 'metadata-damaged',
    wanted: /vm1\.meta/,
    found: /./,
  },
  {
    situation: 'the metadata is that of the other node',
    node: 'A',
    prepare: ({ metadataFile }) => {
      const undo = hide(metadataFile);
      fs.copyFileSync(pair.lab.nodes.B.metadataFile, metadataFile);
      return undo;
    },
    code: 'metadata-mismatch',
    wanted: /vm1\.meta of node A/,
    found: /node B/,
  },
  {
    situation: 'the port of the link is taken',
    node: 'B',
    prepare: () => occupyPort(labHost('B'), readLabRecord(pair.lab.directory).ports.B[0] ?? 0),
    code: 'port-in-use',
    wanted: /127\.0\.0\.2/,
    found: /./,
  },
  {
    situation: 'the certificate is that of another cluster',
    node: 'B',
    prepare: (layout) => useIdentity(layout, 'ab'.repeat(16), 'B'),
    code: 'certificate-rejected',
    wanted: /node B of cluster/,
    found: /cluster (ab){16}/,
  },
  {
    situation: 'the certificate is that of another node',
    node: 'A',
    prepare: (layout) => useIdentity(layout, readLabRecord(pair.lab.directory).clusterId, 'C'),
    code: 'certificate-rejected',
    wanted: /A\.pem|C\.pem/,
    found: /node C/,
  },
  {
    situation: 'module.yaml has a typo',
    node: 'A',
    prepare: ({ moduleFile }) => edit(moduleFile, 'arbiter:', 'arbitre:'),
    code: 'config-invalid',
    wanted: /module\.yaml:\d+/,
    found: /"arbitre".*did you mean "arbiter"/,
  },
  {
    situation: 'module.yaml is not there',
    node: 'A',
    prepare: ({ moduleFile }) => hide(moduleFile),
    code: 'file-missing',
    wanted: /module\.yaml/,
    found: /ENOENT/,
  },
  {
    situation: 'node.yaml names a certificate that is not there',
    node: 'A',
    prepare: ({ nodeFile }) => edit(nodeFile, /A\.pem/, 'no.pem'),
    code: 'file-missing',
    wanted: /no\.pem/,
    found: /ENOENT/,
  },
];

/** Every file of a node that must not change, by its content; what runs writes `run/`, its log and the lab the boot id. */
function hashFiles({ directory }: NodeLayout): Record<string, string> {
  const names = fs
    .readdirSync(directory)
    .filter((name) => !['run', 'supervisor.log', 'boot-id'].includes(name))
    .sort();
  return Object.fromEntries(
    names.map((name) => [
      name,
      createHash('sha256')
        .update(fs.readFileSync(join(directory, name)))
        .digest('hex'),
    ]),
  );
}

async function runModule(layout: NodeLayout): Promise<{ code: number | null; errors: string }> {
  const args = ['--config', layout.moduleFile, '--node', layout.nodeFile];
  const child = spawn(process.execPath, [programPath('modules/mirror/main'), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: 20_000,
  });
  let errors = '';
  child.stderr.on('data', (text) => (errors += String(text)));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, errors };
}

function expectThreeLines(text: string, { code, wanted, found }: Refusal): void {
  const match = /^(\S+)\nwanted: (.+)\nfound: {2}(.+)\nnext: {3}(.+)\n$/.exec(text);
  expect(match, text).to.not.equal(null);
  expect(match?.[1], text).to.equal(code);
  expect(match?.[2]).to.match(wanted);
  expect(match?.[3]).to.match(found);
}

async function expectSupervisorSays(node: LabNode, refusal: Refusal): Promise<void> {
  const failure = await pair.lab.startMachine(node).catch((error: unknown) => error);
  expect(failure).to.be.instanceOf(WorldError);
  const [status] = (await callOnce(pair.lab.nodes[node].supervisorSocket, 'list')) as SupervisedStatus[];
  expect(status).to.include({ state: 'failed', restarts: 0 });
  expect(status?.because).to.contain(refusal.code).and.match(refusal.wanted);
  expect((failure as WorldError).found, 'what the lab says').to.contain(refusal.code);
}

describe('a module that cannot use what it was given', () => {
  before(async () => {
    pair = await RealPair.start({ sizeBytes, timerProfile: 'fast' });
    await Promise.all([pair.lab.powerOff('A'), pair.lab.powerOff('B')]);
  });
  after(() => pair?.end());

  for (const refusal of refusals) {
    it(`${refusal.situation}: exit code 78 in three lines, known to the supervisor, nothing changed`, async () => {
      const { node } = refusal;
      const layout = pair.lab.nodes[node];
      const intact = hashFiles(layout);
      const undo = await refusal.prepare(layout);
      try {
        const before = hashFiles(layout);
        const { code, errors } = await runModule(layout);
        expect(code, errors).to.equal(exitUnusable);
        expectThreeLines(errors, refusal);
        await expectSupervisorSays(node, refusal);
        await pair.lab.powerOff(node);
        expect(hashFiles(layout)).to.deep.equal(before);
      } finally {
        await pair.lab.powerOff(node);
        await undo();
      }
      expect(hashFiles(layout)).to.deep.equal(intact);
    });
  }

  it('a node.yaml that cannot be used ends the supervisor with the reason', async () => {
    const layout = pair.lab.nodes.A;
    const undo = edit(layout.nodeFile, /runtimeDir: .*/, 'runtimeDir: run');
    const failure = await pair.lab.startMachine('A').catch((error: unknown) => error);
    undo();
    await pair.lab.powerOff('A');
    expect((failure as WorldError).found).to.match(
      /config-invalid\nwanted: .*node\.yaml:\d+:\d+: runtimeDir: an absolute path/,
    );
  });

  it('a second instance is refused while the first runs, and the first does not notice', async () => {
    await pair.lab.startMachine('A');
    const layout = pair.lab.nodes.A;
    const { pid } = await pair.status('A');
    const { code, errors } = await runModule(layout);
    expect(code).to.equal(exitUnusable);
    expect(errors)
      .to.match(/^file-locked\nwanted: .*disk0\.img/)
      .and.to.contain(`process ${pid} `);
    expect((await pair.status('A')).pid).to.equal(pid);
    await pair.lab.powerOff('A');
  });

  it('a peer that is gone: the module waits and says so, and changes nothing of its copy', async () => {
    await pair.lab.powerOff('witness');
    const layout = pair.lab.nodes.A;
    const disk = hashFiles(layout)['disk0.img'];
    await pair.lab.startMachine('A');
    const status = await until('the address of the peer in the sentence', async () => {
      const seen = await pair.status('A');
      return seen.because.includes('ECONNREFUSED') && seen;
    });
    expect(status).to.include({ state: 'WAIT' });
    expect(status.because).to.match(
      /the peer is not connected \(peer-unreachable: .*node B at 127\.0\.0\.2:\d+/,
    );
    const waiting = await until(
      'the arbiter is missed',
      async () => {
        const seen = await pair.status('A');
        return seen.because.includes('arbiter') && seen.because.includes('127.0.0.3') && seen;
      },
      20_000,
    );
    expect(waiting.state).to.equal('WAIT');
    expect(hashFiles(layout)['disk0.img']).to.equal(disk);
  });

  it('a peer with a certificate of another authority is not let in, and the module says why', async () => {
    await pair.recover();
    await Promise.all([pair.lab.powerOff('A'), pair.lab.powerOff('B')]);
    const layout = pair.lab.nodes.B;
    const text = fs.readFileSync(layout.nodeFile, 'utf8');
    const issuer = await createLabIssuer(readLabRecord(pair.lab.directory).clusterId);
    const files = await issuer.issue('node', 'B', pair.temp.file('impostor'));
    fs.writeFileSync(
      layout.nodeFile,
      text
        .replaceAll(join(layout.directory, 'B'), join(pair.temp.file('impostor'), 'B'))
        .replace(/^( +ca: ).*$/m, `$1${files.ca}`),
    );
    // Without an arbiter nobody goes on alone meanwhile.
    await pair.lab.powerOff('witness');
    await Promise.all([pair.lab.startMachine('A'), pair.lab.startMachine('B')]);
    // A dials, and B is only hung up on.
    for (const [node, text] of [
      ['A', 'no authority of ours signed'],
      ['B', 'the party that dialled us'],
    ] as const) {
      const status = await until(`${node} says why`, async () => {
        const seen = await pair.status(node);
        return seen.because.includes(text) && seen;
      });
      expect(status.state).to.equal('WAIT');
    }
    fs.writeFileSync(layout.nodeFile, text);
    await Promise.all([pair.lab.powerOff('A'), pair.lab.powerOff('B')]);
    await pair.lab.startMachine('witness');
  });

  it('after all that the pair starts and is in sync', async () => {
    await pair.recover();
    await pair.expectEqualFiles();
  });
});
