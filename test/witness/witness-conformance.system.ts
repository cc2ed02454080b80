/** The witness as the keeper of records, as a real process. What is special of it: witness.test.ts, witness-process.system.ts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import type { Arbiter } from '../../src/arbiter/arbiter.ts';
import { encodeLine } from '../../src/arbiter/witness-protocol.ts';
import { findFreePort } from '../../src/platform/free-port.ts';
import { issueCertificate, writeIdentity } from '../../src/platform/pki.ts';
import { listenerOptions, type TlsIdentity } from '../../src/platform/tls.ts';
import { WitnessArbiter } from '../../src/platform/witness-client.ts';
import { type ArbiterFixture, arbiterConformance } from '../conformance/arbiter.ts';
import { clusterOfTwo, identityOf, loopback } from '../platform/loopback-pair.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

const program = fileURLToPath(new URL('../../src/witness/main.ts', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));
const deadlineMs = 5000;
/** Of a way on which no answer comes, ms. */
const faultyDeadlineMs = 1500;
const startDeadlineMs = 30_000;

interface Fixture extends ArbiterFixture {
  /** Node alpha's way to a server that shows the certificate of a witness and does `act` with each connection. */
  imitated(act: (socket: tls.TLSSocket) => void): Promise<Arbiter>;
}

describe('witness process as the keeper of records', () => {
  let temp: TempDirectory;
  let cluster: Awaited<ReturnType<typeof clusterOfTwo>>;
  let witness: TlsIdentity;
  let port = 0;
  let child: ChildProcess | undefined;
  let tests = 0;

  before(async () => {
    temp = makeTempDirectory();
    cluster = await clusterOfTwo();
    witness = await identityOf(cluster.authority, 'witness', 'imitation');
    const issued = await issueCertificate(cluster.authority, 'witness', 'w');
    const files = await writeIdentity(temp.path, 'w', issued, cluster.authority.certificatePem);
    port = await findFreePort(loopback);
    const config = { listen: { host: loopback, port }, tls: files, dataDir: temp.file('data') };
    writeFileSync(temp.file('witness.yaml'), stringify(config));
    await start();
  });
  after(async () => {
    await kill();
    temp.remove();
  });

  async function start(): Promise<void> {
    if (child !== undefined) return;
    const args = ['--import', 'tsx', program, '--config', temp.file('witness.yaml')];
    const started = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    child = started;
    let said = '';
    let errors = '';
    started.stdout.on('data', (text) => (said += String(text)));
    started.stderr.on('data', (text) => (errors += String(text)));
    await until(
      'the witness listens',
      () => {
        if (started.exitCode !== null) throw new Error(errors);
        return said.includes('"listening"');
      },
      startDeadlineMs,
    );
  }

  async function kill(): Promise<void> {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null) return;
    const exited = once(running, 'exit');
    running.kill('SIGKILL');
    await exited;
  }

  async function makeFixture(): Promise<Fixture> {
    tests += 1;
    const closing: (() => void)[] = [];
    const moduleOf = (module: number) => `vm-${tests}-${module}`;
    return {
      reach: ({ node = 'alpha', module = 1 } = {}) =>
        new WitnessArbiter({
          address: { host: loopback, port },
          identity: cluster[node],
          moduleId: moduleOf(module),
          deadlineMs,
        }),
      kill,
      restart: start,
      loseStore: async () => {
        await kill();
        rmSync(temp.file('data'), { recursive: true });
        await start();
      },
      imitated: async (act) => {
        const server = tls.createServer(listenerOptions(witness), (socket) => {
          closing.push(() => socket.destroy());
          socket.on('error', () => {});
          act(socket);
        });
        server.listen(0, loopback);
        await once(server, 'listening');
        closing.push(() => server.close());
        const bound = server.address();
        const address = {
          host: loopback,
          port: typeof bound === 'object' && bound !== null ? bound.port : 0,
        };
        const { alpha: identity } = cluster;
        return new WitnessArbiter({ address, identity, moduleId: moduleOf(1), deadlineMs: faultyDeadlineMs });
      },
      dispose: async () => {
        for (const close of closing) close();
        await start();
      },
    };
  }

  const hello = encodeLine({ hello: { protocol: 1, witness: 'imitation', store: 'a'.repeat(32) } });
  /** Says hello, and `act`s when the request is there. */
  const afterHello = (act: (socket: tls.TLSSocket) => void) => (fixture: Fixture) =>
    fixture.imitated((socket) => {
      socket.write(hello);
      socket.once('data', () => act(socket));
    });
  const answering = (what: string, text: string) => ({
    what: `it answers ${what}`,
    sent: true,
    open: afterHello((socket) => void socket.write(text)),
  });
  const foreign = `{"generation":2,"holder":"beta","operationId":"${'f'.repeat(32)}"}`;

  arbiterConformance<Fixture>(
    {
      name: 'the witness, as a process',
      deadlineMs,
      knowsNodes: true,
      answersNonsense: true,
      tellsApart: ['module'],
      knowsUnsent: true,
      faulty: [
        { what: 'it dies at the request', sent: true, open: afterHello((socket) => void socket.destroy()) },
        { what: 'it does not answer', sent: true, open: afterHello(() => {}) },
        { what: 'it says no hello', sent: false, open: (fixture) => fixture.imitated(() => {}) },
        {
          what: 'it says something else than hello',
          sent: false,
          open: (fixture) => fixture.imitated((socket) => void socket.write('HTTP/1.1 400 Bad Request\r\n')),
        },
        answering('what is no JSON', 'garbage\n'),
        answering('more than a line may hold', 'x'.repeat(100_000)),
        answering('another request', '{"id":2,"kind":"refused","record":null}\n'),
        answering('with the grant of another operation', `{"id":1,"kind":"granted","record":${foreign}}\n`),
      ],
    },
    makeFixture,
  );
});
