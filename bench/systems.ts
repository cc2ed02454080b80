/**
 * The systems that are compared, each over its own preallocated files with write-back caching: the shipped module pair with
 * its defaults; QEMU's own synchronous mirror at its best (in a network namespace whose loopback route acknowledges at once,
 * because QEMU's NBD server leaves Nagle's algorithm on); and one unreplicated qemu-nbd as the floor.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { connectQmp } from '../hypervisors/qemu/qmp-client.ts';
import { createLabIssuer } from '../src/lab/lab-identities.ts';
import { LabCluster } from '../src/lab/pair.ts';
import { systemClock } from '../src/platform/system-clock.ts';

export interface System {
  readonly name: string;
  readonly uri: string;
  stop(): Promise<void>;
}

const namespace = 'vmpair-bench';
const mirrorPort = 10809;
const startDeadlineMs = 10_000;

/** Every block written once, so that no system pays for allocation. */
export function fillFile(path: string, sizeBytes: number): void {
  const piece = Buffer.alloc(4 * 1024 * 1024, 0x5a);
  const fd = openSync(path, existsSync(path) ? 'r+' : 'w');
  for (let at = 0; at < sizeBytes; at += piece.length)
    writeSync(fd, piece, 0, Math.min(piece.length, sizeBytes - at), at);
  fsyncSync(fd);
  closeSync(fd);
}

export async function startPair(
  directory: string,
  sizeBytes: number,
): Promise<System & { readonly lab: LabCluster }> {
  const lab = await LabCluster.create({
    directory: join(directory, 'pair'),
    sizeBytes,
    issuer: createLabIssuer,
  });
  fillFile(lab.nodes.A.diskFile, sizeBytes);
  await lab.start();
  return { name: 'vmpair', uri: lab.nodes.A.nbdUri, lab, stop: () => lab.stop() };
}

export async function startPlain(directory: string, sizeBytes: number): Promise<System> {
  const file = join(directory, 'plain.raw');
  fillFile(file, sizeBytes);
  const socket = join(directory, 'plain.sock');
  const server = startServer([], ['qemu-nbd', ...qemuNbdOptions, '-k', socket, '-x', 'a', file]);
  await appears(socket);
  return { name: 'qemu-nbd', uri: `nbd+unix:///a?socket=${socket}`, stop: () => end(server) };
}

const qemuNbdOptions = ['-f', 'raw', '-e', '8', '-t', '--cache=writeback', '--discard=unmap'];

/** QEMU's mirror job in write-blocking mode, from a storage daemon to a qemu-nbd over TCP on loopback. */
export async function startMirror(directory: string, sizeBytes: number): Promise<System> {
  removeNamespace();
  execFileSync('ip', ['netns', 'add', namespace]);
  execFileSync('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
  const route =
    'route replace table local local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1 quickack 1';
  execFileSync('ip', ['-n', namespace, ...route.split(' ')]);
  const inNamespace = ['ip', 'netns', 'exec', namespace];
  const files = [join(directory, 'source.raw'), join(directory, 'target.raw')] as const;
  for (const file of files) fillFile(file, sizeBytes);
  const target = startServer(inNamespace, [
    'qemu-nbd',
    ...qemuNbdOptions,
    '-b',
    '127.0.0.1',
    '-p',
    String(mirrorPort),
    '-x',
    'b',
    files[1],
  ]);
  await accepts();
  const [monitor, socket] = [join(directory, 'qmp.sock'), join(directory, 'mirror.sock')];
  const daemon = startServer(inNamespace, [
    'qemu-storage-daemon',
    '--chardev',
    `socket,path=${monitor},server=on,wait=off,id=m`,
    '--monitor',
    'chardev=m',
    '--blockdev',
    `driver=file,node-name=src,filename=${files[0]},discard=unmap`,
    '--blockdev',
    `driver=nbd,node-name=dst,server.type=inet,server.host=127.0.0.1,server.port=${mirrorPort},export=b`,
    '--nbd-server',
    `addr.type=unix,addr.path=${socket}`,
    '--export',
    'type=nbd,id=e,node-name=src,name=a,writable=on',
  ]);
  await appears(socket);
  const wait = { timeoutMs: startDeadlineMs };
  const qmp = await connectQmp(monitor, systemClock, wait, { event: () => {}, closed: () => {} });
  const job = { 'job-id': 'j', device: 'src', target: 'dst', sync: 'none', 'copy-mode': 'write-blocking' };
  await qmp.execute('blockdev-mirror', job, wait);
  return {
    name: 'qemu mirror',
    uri: `nbd+unix:///a?socket=${socket}`,
    stop: async () => {
      await end(daemon);
      await end(target);
      removeNamespace();
    },
  };
}

function removeNamespace(): void {
  const names = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' });
  if (names.split('\n').some((line) => line.split(' ')[0] === namespace)) {
    execFileSync('ip', ['netns', 'delete', namespace]);
  }
}

function startServer(prefix: readonly string[], command: readonly string[]): ChildProcess {
  const [program, ...args] = [...prefix, ...command] as [string, ...string[]];
  return spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return;
  const gone = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGTERM');
  await gone;
}

async function until(what: string, look: () => boolean): Promise<void> {
  const endMs = systemClock.nowMs() + startDeadlineMs;
  while (!look()) {
    if (systemClock.nowMs() > endMs) throw new Error(`not within ${startDeadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function appears(socket: string): Promise<void> {
  return until(`the socket ${socket}`, () => existsSync(socket));
}

/** The target listens inside the namespace, where only its own tools can look. */
function accepts(): Promise<void> {
  const listening = (): boolean =>
    execFileSync('ip', ['netns', 'exec', namespace, 'cat', '/proc/net/tcp'], { encoding: 'utf8' }).includes(
      `:${mirrorPort.toString(16).toUpperCase()} 00000000:0000 0A`,
    );
  return until('qemu-nbd listens', listening);
}

export function removeFiles(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}
