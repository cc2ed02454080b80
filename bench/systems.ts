/**
 * The systems that are compared, each over its own preallocated files with write-back caching: the shipped module pair with
 * its defaults; QEMU's own synchronous mirror at its best (in a network namespace whose loopback route acknowledges at once,
 * because QEMU's NBD server leaves Nagle's algorithm on); and one unreplicated qemu-nbd as the floor.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { connectQmp } from '../hypervisors/qemu/qmp-client.ts';
import { createLabIssuer } from '../src/lab/lab-identities.ts';
import { labMachines, type LabNode, type LabPrograms } from '../src/lab/lab-layout.ts';
import { LabCluster } from '../src/lab/pair.ts';
import { systemClock } from '../src/platform/system-clock.ts';
import { waitUntil } from '../src/platform/wait-until.ts';
import type { Encryption } from './options.ts';
import type { Scratch } from './scratch.ts';

export interface System {
  readonly uri: string;
  /** Its processes that run now. */
  pids(): number[];
  stop(): Promise<void>;
}

/** Roles of the nodes in a pair of the bench that nothing happened to. */
export const roles: Readonly<Record<LabNode, string>> = { A: 'primary', B: 'secondary' };

export interface PairSystem extends System {
  readonly lab: LabCluster;
}

const mirrorPort = 10809;
const startDeadlineMs = 10_000;
const commandDeadlineMs = 30_000;

/** Every block written once, so that no system pays for allocation. */
export function fillFile(path: string, sizeBytes: number): void {
  const piece = Buffer.alloc(4 * 1024 * 1024, 0x5a);
  const fd = openSync(path, existsSync(path) ? 'r+' : 'w');
  for (let at = 0; at < sizeBytes; at += piece.length)
    writeSync(fd, piece, 0, Math.min(piece.length, sizeBytes - at), at);
  fsyncSync(fd);
  closeSync(fd);
}

/** The programs of another checkout that was built. */
export function programsOf(checkout: string): Omit<LabPrograms, 'agent'> {
  const program = (name: string): string => {
    const path = resolve(checkout, 'dist', name);
    if (!existsSync(path))
      throw new Error(`wanted a built checkout, found no ${path}: run "npm run build" there`);
    return path;
  };
  return {
    supervisor: program('src/supervisor/main.js'),
    witness: program('src/witness/main.js'),
    module: program('modules/mirror/main.js'),
  };
}

export interface PairOptions {
  /** Other programs than those of this checkout. */
  readonly programs?: Partial<LabPrograms>;
  /** Of the link; on by default. */
  readonly encryption?: Encryption;
}

/** The files of a pair in `directory`; nothing runs. */
export function createPair(
  directory: string,
  sizeBytes: number,
  options: PairOptions = {},
): Promise<LabCluster> {
  return LabCluster.create({
    directory,
    sizeBytes,
    issuer: createLabIssuer,
    ...options,
  });
}

/** Starts everything and makes A primary; node B is up and stays stopped. */
export async function startPrimary(lab: LabCluster): Promise<void> {
  await lab.startMachine('witness');
  await Promise.all([lab.startMachine('A'), lab.startMachine('B')]);
  await lab.call('A', 'prim', {}, commandDeadlineMs);
}

/** Lets the empty node B start: its copy is on the way then. */
export async function startSecondary(lab: LabCluster): Promise<void> {
  await lab.call('B', 'start', {}, commandDeadlineMs);
}

/** A pair in sync whose copies are allocated in full. */
export async function startPair(
  directory: string,
  sizeBytes: number,
  options: PairOptions = {},
): Promise<PairSystem> {
  const lab = await createPair(directory, sizeBytes, options);
  fillFile(lab.nodes.A.diskFile, sizeBytes);
  await lab.start();
  return pairSystem(lab);
}

export function pairSystem(lab: LabCluster): PairSystem {
  const pids = labMachines.flatMap((machine) => lab.pids(machine));
  return { uri: lab.nodes.A.nbdUri, lab, pids: () => pids, stop: () => lab.stop() };
}

/** The process of a node's module that answers now. Throws when none does. */
export async function modulePid(lab: LabCluster, node: LabNode): Promise<number> {
  return ((await lab.call(node, 'ping')) as { readonly pid: number }).pid;
}

const qemuNbdOptions = ['-f', 'raw', '-e', '8', '-t', '--cache=writeback', '--discard=unmap'];

/** An unreplicated qemu-nbd over an existing file, at the unix socket `socket`. */
export async function serveFile(file: string, socket: string): Promise<System> {
  const server = startServer([], ['qemu-nbd', ...qemuNbdOptions, '-k', socket, '-x', 'a', file]);
  await appears(socket);
  return {
    uri: `nbd+unix:///a?socket=${socket}`,
    pids: () => pidsOf([server]),
    stop: () => end(server),
  };
}

export function startPlain(directory: string, sizeBytes: number): Promise<System> {
  const file = join(directory, 'plain.raw');
  fillFile(file, sizeBytes);
  return serveFile(file, join(directory, 'plain.sock'));
}

/** A network namespace of its own whose loopback acknowledges at once; returns the words that run a command in it. */
export function enterNamespace(scratch: Scratch): string[] {
  const name = scratch.namespace;
  execFileSync('ip', ['netns', 'add', name]);
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  const route =
    'route replace table local local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1 quickack 1';
  execFileSync('ip', ['-n', name, ...route.split(' ')]);
  return ['ip', 'netns', 'exec', name];
}

/** A qemu-nbd over TCP in the namespace. */
export async function serveFileOverTcp(inNamespace: readonly string[], file: string): Promise<System> {
  const address = ['-b', '127.0.0.1', '-p', String(mirrorPort), '-x', 'b'];
  const server = startServer(inNamespace, ['qemu-nbd', ...qemuNbdOptions, ...address, file]);
  await accepts(inNamespace);
  return {
    uri: `nbd://127.0.0.1:${mirrorPort}/b`,
    pids: () => pidsOf([server]),
    stop: () => end(server),
  };
}

/** QEMU's mirror job in write-blocking mode, from a storage daemon to a qemu-nbd over TCP on loopback. */
export async function startMirror(directory: string, sizeBytes: number, scratch: Scratch): Promise<System> {
  const inNamespace = enterNamespace(scratch);
  const files = [join(directory, 'source.raw'), join(directory, 'target.raw')] as const;
  for (const file of files) fillFile(file, sizeBytes);
  const target = await serveFileOverTcp(inNamespace, files[1]);
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
    uri: `nbd+unix:///a?socket=${socket}`,
    pids: () => [...target.pids(), ...pidsOf([daemon])],
    stop: async () => {
      await end(daemon);
      await target.stop();
      leaveNamespace(scratch);
    },
  };
}

export function leaveNamespace(scratch: Scratch): void {
  execFileSync('ip', ['netns', 'delete', scratch.namespace]);
}

function pidsOf(processes: readonly ChildProcess[]): number[] {
  return processes.flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
}

function startServer(prefix: readonly string[], command: readonly string[]): ChildProcess {
  const [program, ...args] = [...prefix, ...command] as [string, ...string[]];
  return spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const gone = new Promise((ended) => server.once('exit', ended));
  server.kill('SIGTERM');
  await gone;
}

/** Resolves when `look` is true; throws after the deadline. */
export async function until(
  what: string,
  deadlineMs: number,
  look: () => Promise<boolean> | boolean,
): Promise<void> {
  const reached = await waitUntil(systemClock, deadlineMs, async () => (await look()) || undefined);
  if (reached !== true) throw new Error(`not within ${deadlineMs} ms: ${what}`);
}

function appears(socket: string): Promise<void> {
  return until(`the socket ${socket}`, startDeadlineMs, () => existsSync(socket));
}

/** The target listens inside the namespace, where only its own tools can look. */
function accepts([command, ...prefix]: readonly string[]): Promise<void> {
  const listening = (): boolean =>
    execFileSync(command ?? 'ip', [...prefix, 'cat', '/proc/net/tcp'], { encoding: 'utf8' }).includes(
      `:${mirrorPort.toString(16).toUpperCase()} 00000000:0000 0A`,
    );
  return until('qemu-nbd listens', startDeadlineMs, listening);
}
