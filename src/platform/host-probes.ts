/**
 * Questions about this host and what it reaches: TCP, ICMP, room on a file system, the carrier of an interface, a program. Each
 * resolves within its deadline, says what it found in one sentence, and never throws.
 */
import type { StatsFs } from 'node:fs';
import { readFile, statfs } from 'node:fs/promises';
import { connect } from 'node:net';
import type { CheckResult } from '../checks/check-watch.ts';
import { sizeText } from '../base/size-text.ts';
import { runBounded } from './fence/bounded-program.ts';

/** A connection is made, and closed. */
export function probeTcp(host: string, port: number, deadlineMs: number): Promise<CheckResult> {
  return new Promise((resolve) => {
    const address = `${host} port ${port}`;
    const socket = connect({ host, port });
    const settle = (ok: boolean, because: string): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', () => {});
      socket.destroy();
      resolve({ ok, because });
    };
    const timer = setTimeout(
      () => settle(false, `${address} does not answer within ${deadlineMs} ms`),
      deadlineMs,
    );
    socket.on('connect', () => settle(true, `${address} accepts connections`));
    socket.on('error', ({ message }) => settle(false, `${address}: ${message}`));
  });
}

/** One echo, with the `ping` program of the system. */
export function probePing(host: string, deadlineMs: number): Promise<CheckResult> {
  const seconds = String(Math.max(1, Math.ceil(deadlineMs / 1000)));
  return probeProgram(['ping', '-n', '-q', '-c', '1', '-W', seconds, host], deadlineMs, {}).then(
    ({ ok }) => ({
      ok,
      because: ok ? `${host} answers` : `${host} does not answer a ping`,
    }),
  );
}

/** Exit code 0 is well; what the program printed last is in the sentence. */
export function probeProgram(
  command: readonly string[],
  deadlineMs: number,
  env: Readonly<Record<string, string>>,
): Promise<CheckResult> {
  const [program = '', ...programArguments] = command;
  return new Promise((resolve) => {
    runBounded(program, programArguments, { deadlineMs, env }, ({ code, because }) =>
      resolve({ ok: code === 0, because }),
    );
  });
}

/** File systems that were asked and have not answered: one that hangs holds one thread of this process, not one for each question. */
const openStats = new Map<string, Promise<StatsFs>>();

function statOf(path: string): Promise<StatsFs> {
  const open = openStats.get(path);
  if (open !== undefined) return open;
  const asked = statfs(path).finally(() => openStats.delete(path));
  openStats.set(path, asked);
  return asked;
}

/** Of what a user without privileges may still use. */
export async function probeDiskSpace(
  path: string,
  minFreeBytes: number,
  deadlineMs: number,
): Promise<CheckResult> {
  const look = async (): Promise<CheckResult> => {
    const { bavail, bsize } = await statOf(path);
    const freeBytes = bavail * bsize;
    const because = `${sizeText(freeBytes)} are free at ${path}, wanted are ${sizeText(minFreeBytes)}`;
    return { ok: freeBytes >= minFreeBytes, because };
  };
  return within(deadlineMs, `the file system of ${path}`, look());
}

/** Linux: the interface is up and has a carrier. */
export async function probeNetworkLink(name: string, deadlineMs: number): Promise<CheckResult> {
  const look = async (): Promise<CheckResult> => {
    // The kernel refuses to read it while the interface is down.
    const carrier = await readFile(`/sys/class/net/${name}/carrier`, 'utf8').catch(
      (error: NodeJS.ErrnoException) => (error.code === 'EINVAL' ? 'down' : 'missing'),
    );
    const found: Readonly<Record<string, string>> = {
      '1': 'has a carrier',
      '0': 'has no carrier',
      down: 'is down',
    };
    return { ok: carrier.trim() === '1', because: `${name} ${found[carrier.trim()] ?? 'does not exist'}` };
  };
  return within(deadlineMs, name, look());
}

/** The answer, or that there was none in time; a rejection is one as well. */
export async function within(
  deadlineMs: number,
  what: string,
  answer: Promise<CheckResult>,
): Promise<CheckResult> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<CheckResult>((resolve) => {
    timer = setTimeout(
      () => resolve({ ok: false, because: `${what} does not answer within ${deadlineMs} ms` }),
      deadlineMs,
    );
  });
  try {
    return await Promise.race([answer, late]);
  } catch (error) {
    return { ok: false, because: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
  }
}
