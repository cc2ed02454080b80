/**
 * The witness as a real process: killed under a stream of swaps, started wrongly, stopped, and traced.
 * SIGKILL keeps the page cache, so the kills show that no record is half; that answered records survive a
 * loss of power is shown by the trace. Needs strace.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { stringify } from 'yaml';
import type { Arbiter, ArbiterAnswer, ReadAnswer } from '../../src/arbiter/arbiter.ts';
import type { ArbiterRecord } from '../../src/disk/state.ts';
import {
  type CertificateAndKey,
  createClusterAuthority,
  issueCertificate,
  writeIdentity,
} from '../../src/platform/pki.ts';
import { programPath } from '../../src/platform/program-path.ts';
import type { TlsIdentity } from '../../src/platform/tls.ts';
import type { SocketAddress } from '../../src/platform/tls-sockets.ts';
import { WitnessArbiter } from '../../src/platform/witness-client.ts';
import { identityOf, loopback } from '../platform/loopback-pair.ts';

const startDeadlineMs = 20_000;
const killRounds = 8;
const moduleCount = 4;

const record = (generation: number): ArbiterRecord => ({
  generation,
  holder: generation % 2 === 0 ? 'alpha' : 'both',
  operationId: generation.toString(16).padStart(32, '0'),
});
const swap = (arbiter: Arbiter, expected: ArbiterRecord | undefined, next: ArbiterRecord) =>
  new Promise<ArbiterAnswer>((resolve) => arbiter.swap({ expected, next }, resolve));
const read = (arbiter: Arbiter) => new Promise<ReadAnswer>((resolve) => arbiter.read(resolve));

interface RunningWitness {
  readonly child: ChildProcess;
  readonly address: SocketAddress;
}

describe('witness process', function () {
  this.timeout(120_000);
  let directory = '';
  let configFile = '';
  let authority: CertificateAndKey;
  let alpha: TlsIdentity;
  let children: ChildProcess[] = [];

  beforeEach(async () => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'vmpair-witness-process-'));
    children = [];
    authority = await createClusterAuthority('c1');
    alpha = await identityOf(authority, 'node', 'alpha');
    const witness = await issueCertificate(authority, 'witness', 'w');
    const tls = await writeIdentity(directory, 'w', witness, authority.certificatePem);
    configFile = writeConfig({ listen: { host: loopback, port: 0 }, tls, dataDir: 'data' });
  });
  afterEach(async () => {
    for (const child of children) await kill(child);
    rmSync(directory, { recursive: true });
  });

  function writeConfig(config: object): string {
    const file = path.join(directory, 'witness.yaml');
    writeFileSync(file, stringify(config));
    return file;
  }

  function launch(before: readonly string[] = []): ChildProcess {
    const program = programPath('src/witness/main');
    const command = [...before, process.execPath, program, '--config', configFile];
    const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    return child;
  }

  async function kill(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
    return child.exitCode;
  }

  async function startWitness(before: readonly string[] = []): Promise<RunningWitness> {
    const child = launch(before);
    let errors = '';
    child.stderr?.on('data', (text) => {
      errors += String(text);
    });
    const lines = createInterface({ input: child.stdout ?? process.stdin });
    const signal = AbortSignal.timeout(startDeadlineMs);
    const [line] = await Promise.race([
      once(lines, 'line', { signal }),
      once(child, 'exit', { signal }).then(() => {
        throw new Error(`the witness ended: ${errors}`);
      }),
    ]);
    return { child, address: JSON.parse(String(line)).listening };
  }

  /** Runs a witness that must not start; answers its exit code and standard error. */
  async function startRefused(): Promise<{ code: number | null; errors: string }> {
    const child = launch();
    let errors = '';
    child.stderr?.on('data', (text) => {
      errors += String(text);
    });
    await once(child, 'close', { signal: AbortSignal.timeout(startDeadlineMs) });
    return { code: child.exitCode, errors };
  }

  const clientOf = (address: SocketAddress, moduleId = 'vm1') =>
    new WitnessArbiter({ address, identity: alpha, moduleId });

  it('killed at any instant under a stream of swaps: every answered one is there, none is half', async () => {
    const answered: number[] = Array.from({ length: moduleCount }, () => 0);
    const asked: number[] = Array.from({ length: moduleCount }, () => 0);
    let answeredTotal = 0;
    for (let round = 0; round < killRounds; round += 1) {
      const { child, address } = await startWitness();
      for (let module = 0; module < moduleCount; module += 1) {
        const answer = await read(clientOf(address, `vm${module}`));
        if (answer.kind === 'no-answer') throw new Error(answer.because);
        const found = answer.record?.generation ?? 0;
        expect(found, `module ${module}, round ${round}`).to.be.within(
          answered[module] ?? 0,
          asked[module] ?? 0,
        );
        if (answer.record !== undefined) expect(answer.record).to.deep.equal(record(found));
        answered[module] = found;
        asked[module] = found;
      }
      let running = true;
      const streams = answered.map(async (_, module) => {
        const client = clientOf(address, `vm${module}`);
        while (running) {
          const generation = (answered[module] ?? 0) + 1;
          asked[module] = generation;
          const expected = generation === 1 ? undefined : record(generation - 1);
          const answer = await swap(client, expected, record(generation));
          if (answer.kind !== 'granted') return;
          answered[module] = generation;
          answeredTotal += 1;
        }
      });
      // The instant differs with every round; nothing is waited for that this pause would hide.
      await delay(150 + ((round * 137) % 211));
      await kill(child);
      running = false;
      await Promise.all(streams);
    }
    expect(answeredTotal).to.be.greaterThan(killRounds);
    console.log(`      ${answeredTotal} swaps were answered over ${killRounds} kills`);
  });

  it('a swap is answered only after its file, then its name, were flushed', async () => {
    const trace = path.join(directory, 'trace');
    const calls = 'trace=openat,fsync,fdatasync,rename,write,writev';
    const { child, address } = await startWitness([
      'strace',
      '-f',
      '-yy',
      '-s',
      '0',
      '-e',
      calls,
      '-o',
      trace,
    ]);
    await swap(clientOf(address), undefined, record(1));
    await swap(clientOf(address), record(1), record(2));
    const exited = once(child, 'exit');
    process.kill(onlyChildOf(child.pid ?? 0), 'SIGTERM');
    await exited;
    const steps = traceSteps(readFileSync(trace, 'utf8'), path.join(directory, 'data')).join(' ');
    const order = 'load flush-file rename flush-directory network';
    expect(steps).to.match(new RegExp(`${order}.* ${order}`));
    expect(steps.match(/rename/g)).to.have.length(2);
  });

  it('a second witness on the same directory is refused while the first runs', async () => {
    const first = await startWitness();
    const { code, errors } = await startRefused();
    expect(code).to.equal(78);
    expect(errors).to.match(/^already-running: wanted to be the only process that uses .*data;/);
    await kill(first.child);
    const second = await startWitness();
    expect(await read(clientOf(second.address))).to.deep.include({ kind: 'record', record: undefined });
  });

  it('SIGTERM ends it with 0 and the address is free at once', async () => {
    const first = await startWitness();
    expect(await swap(clientOf(first.address), undefined, record(1))).to.have.property('kind', 'granted');
    expect(await kill(first.child, 'SIGTERM')).to.equal(0);
    const tls = { ca: 'ca.pem', cert: 'w.pem', key: 'w.key.pem' };
    writeConfig({ listen: first.address, tls, dataDir: 'data' });
    const second = await startWitness();
    expect(second.address).to.deep.equal(first.address);
    expect(await read(clientOf(second.address))).to.deep.include({ kind: 'record', record: record(1) });
    expect(await startRefusedWith({ listen: first.address, tls, dataDir: 'other' })).to.match(
      /^port-in-use: /,
    );
  });

  async function startRefusedWith(config: object): Promise<string> {
    writeConfig(config);
    const { code, errors } = await startRefused();
    expect(code).to.equal(78);
    return errors;
  }

  it('a configuration or certificate that cannot be used is refused, in words', async () => {
    const tls = { ca: 'ca.pem', cert: 'w.pem', key: 'w.key.pem' };
    const listen = { host: loopback, port: 0 };
    expect(await startRefusedWith({ listen, tls })).to.match(/^config-invalid: .*dataDir: /);
    const missing = { ...tls, key: 'none.pem' };
    expect(await startRefusedWith({ listen, tls: missing, dataDir: 'data' })).to.match(
      /^file-missing: .*none\.pem/,
    );
    const node = await issueCertificate(authority, 'node', 'alpha');
    await writeIdentity(directory, 'alpha', node, authority.certificatePem);
    const asNode = { ca: 'ca.pem', cert: 'alpha.pem', key: 'alpha.key.pem' };
    expect(await startRefusedWith({ listen, tls: asNode, dataDir: 'data' })).to.match(
      /^certificate-rejected: wanted the certificate of a witness in .*alpha\.pem; found that of node alpha/,
    );
    expect(await startRefusedWith({ listen: { host: '192.0.2.1', port: 0 }, tls, dataDir: 'data' })).to.match(
      /^listen-failed: wanted to listen on 192\.0\.2\.1:0; found EADDRNOTAVAIL/,
    );
  });
});

/** The process that `pid` started. */
function onlyChildOf(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  if (!/^\d+$/.test(children))
    throw new Error(`wanted one child of ${pid}, found ${JSON.stringify(children)}`);
  return Number(children);
}

/**
 * What the trace shows of the record files in `data` and of the network, in order. A flush counts when it has
 * returned, all else when it begins.
 */
function traceSteps(trace: string, data: string): string[] {
  const flushing = new Map<string, string>();
  const steps: string[] = [];
  for (const line of trace.split('\n')) {
    const thread = line.split(' ')[0] ?? '';
    const step = stepOf(line, data);
    if (/ (fsync|fdatasync) resumed>/.test(line)) {
      steps.push(...[flushing.get(thread) ?? []].flat());
      flushing.delete(thread);
    } else if (step?.startsWith('flush') && line.includes('unfinished')) flushing.set(thread, step);
    else if (step !== undefined) steps.push(step);
  }
  return steps;
}

function stepOf(line: string, data: string): string | undefined {
  if (/\s(write|writev)\(\d+<TCP/.test(line)) return 'network';
  if (!line.includes(data)) return undefined;
  if (/openat\(.*\.record", O_RDONLY/.test(line)) return 'load';
  if (/rename\(.*\.record"/.test(line)) return 'rename';
  if (/(fsync|fdatasync)\(\d+<[^>]*\.tmp>/.test(line)) return 'flush-file';
  return /fsync\(\d+<[^>]*\/data>/.test(line) ? 'flush-directory' : undefined;
}
