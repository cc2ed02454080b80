/**
 * A command over SSH as a fence, for instance on a switched power strip, or on the hypervisor that runs the servers of a lab. Exit
 * code 0 is the proof; everything else is none. The key of the host must be the one that the configuration names: whoever answers
 * in its place could make a proof of nothing.
 *
 * A connection that ends before the exit code arrived is no proof, also when the node that was switched off is what ended it: a cut
 * cable looks the same.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Client } from 'ssh2';
import type { Fence, FenceAnswer, FenceAttempt, FenceTest } from '../../arbiter/fence.ts';
import type { FenceTarget } from './fence-choice.ts';

export interface SshFenceConfig {
  readonly kind: 'ssh';
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly keyFile: string;
  /** `SHA256:` and base64 of the host's public key, as `ssh-keygen -lf` prints it. */
  readonly hostKey: string;
  readonly off: string;
  /** A command that switches nothing; without it a test logs in and does nothing. */
  readonly test?: string | undefined;
}

/** Of what the command printed, characters that a sentence shows. */
const shownCharactersMax = 300;

interface SshOutcome {
  /** `undefined`: no exit code arrived, or none was asked for. */
  readonly code: number | undefined;
  readonly loggedIn: boolean;
  readonly because: string;
}

export class SshFence implements Fence {
  readonly deadlineMs: number;
  readonly #config: SshFenceConfig;

  constructor(config: SshFenceConfig, { deadlineMs }: FenceTarget) {
    this.#config = config;
    this.deadlineMs = deadlineMs;
  }

  proveOff(answered: (answer: FenceAnswer) => void): FenceAttempt {
    return runOverSsh(this.#config, this.#config.off, this.deadlineMs, ({ code, because }) =>
      answered({ kind: code === 0 ? 'off' : 'no-proof', because }),
    );
  }

  test(answered: (test: FenceTest) => void): void {
    const { test } = this.#config;
    runOverSsh(this.#config, test, this.deadlineMs, ({ code, loggedIn, because }) => {
      const isGood = test === undefined ? loggedIn : code === 0;
      answered({ kind: isGood ? 'answers' : 'no-answer', because });
    });
  }
}

/** Logs in and, if there is one, runs the command. `ended` exactly once, within the deadline, and not from inside the call. */
function runOverSsh(
  config: SshFenceConfig,
  command: string | undefined,
  deadlineMs: number,
  ended: (outcome: SshOutcome) => void,
): FenceAttempt {
  const client = new Client();
  const name = `${config.user}@${config.host}:${config.port}`;
  let settled = false;
  let loggedIn = false;
  let output = '';
  const settle = (code: number | undefined, how: string): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    client.destroy();
    const said = output.trim().replaceAll(/\s+/g, ' ').slice(-shownCharactersMax);
    const because = `${name}: ${how}${said === '' ? '' : `: ${said}`}`;
    setImmediate(() => ended({ code, loggedIn, because }));
  };
  const timer = setTimeout(
    () => settle(undefined, `no end within ${(deadlineMs / 1000).toFixed(1)} s`),
    deadlineMs,
  );
  client.on('error', (error) => settle(undefined, error.message));
  client.on('close', () => settle(undefined, 'the connection ended before the exit code arrived'));
  client.on('ready', () => {
    loggedIn = true;
    if (command === undefined) return settle(undefined, 'logged in');
    client.exec(command, (error, stream) => {
      if (error !== undefined) return settle(undefined, error.message);
      const keep = (chunk: Buffer): void => {
        output = (output + chunk.toString('utf8')).slice(-2 * shownCharactersMax);
      };
      stream.on('data', keep);
      stream.stderr.on('data', keep);
      let code: number | undefined;
      let how = 'no exit code';
      stream.on('exit', (status: number | null, signal?: string) => {
        code = status ?? undefined;
        how = status === null ? `ended by ${signal}` : `exit code ${status}`;
      });
      stream.on('close', () => settle(code, how));
    });
  });
  try {
    client.connect({
      host: config.host,
      port: config.port,
      username: config.user,
      privateKey: readFileSync(config.keyFile),
      readyTimeout: deadlineMs,
      hostVerifier: (key: Buffer) => isKey(key, config.hostKey),
    });
  } catch (error) {
    settle(undefined, error instanceof Error ? error.message : String(error));
  }
  return { abandon: () => settle(undefined, 'given up: the peer answers') };
}

/** Whether the public key has this fingerprint (RFC 4648 base64 without padding, as OpenSSH prints it). */
function isKey(key: Buffer, fingerprint: string): boolean {
  const found = createHash('sha256').update(key).digest();
  const wanted = Buffer.from(fingerprint.replace(/^SHA256:/, ''), 'base64');
  return wanted.length === found.length && timingSafeEqual(wanted, found);
}
