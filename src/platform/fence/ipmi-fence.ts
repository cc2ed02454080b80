/**
 * The management controller of a server as a fence, over IPMI 2.0 (`ipmitool`, interface lanplus). A proof is the answer "off" to the
 * question for the power status. An accepted order is none: the controller takes it, and the server may run on. A controller
 * that does not answer is none either: it loses its power with its server, and also when only its own cable is pulled.
 *
 * The password is read by ipmitool from a file; it is never on a command line, where every user of the host could read it.
 */
import type { Fence, FenceAnswer, FenceAttempt, FenceTest } from '../../arbiter/fence.ts';
import { type ProgramOutcome, runBounded, type RunningProgram } from './bounded-program.ts';
import type { FenceTarget } from './fence-choice.ts';

export interface IpmiFenceConfig {
  readonly kind: 'ipmi';
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** First line: the password. */
  readonly passwordFile: string;
  readonly cipherSuite?: number | undefined;
  readonly program: string;
}

/** From one question for the status to the next, ms. */
const pollIntervalMs = 500;
/** Seconds after which ipmitool repeats a packet, and how often it does; both bound one question. */
const packetSeconds = 2;
const packetRetries = 3;

export class IpmiFence implements Fence {
  readonly deadlineMs: number;
  readonly #config: IpmiFenceConfig;

  constructor(config: IpmiFenceConfig, { deadlineMs }: FenceTarget) {
    this.#config = config;
    this.deadlineMs = deadlineMs;
  }

  proveOff(answered: (answer: FenceAnswer) => void): FenceAttempt {
    const attempt = new IpmiAttempt(this.#config, this.deadlineMs, answered);
    attempt.start();
    return attempt;
  }

  test(answered: (test: FenceTest) => void): void {
    ask(this.#config, ['chassis', 'power', 'status'], this.deadlineMs, (outcome) => {
      const power = powerOf(outcome);
      if (power === undefined) answered({ kind: 'no-answer', because: outcome.because });
      else answered({ kind: 'answers', because: `${this.#config.host} says that the power is ${power}` });
    });
  }
}

class IpmiAttempt implements FenceAttempt {
  readonly #config: IpmiFenceConfig;
  readonly #endMs: number;
  readonly #answered: (answer: FenceAnswer) => void;
  #running: RunningProgram | undefined;
  #pause: NodeJS.Timeout | undefined;
  #ordered = false;
  #ended = false;
  #last = '';

  constructor(config: IpmiFenceConfig, deadlineMs: number, answered: (answer: FenceAnswer) => void) {
    this.#config = config;
    this.#endMs = performance.now() + deadlineMs;
    this.#answered = answered;
  }

  /** Status first: a server that is off already needs no order, and some controllers refuse one. */
  start(): void {
    this.#ask(['chassis', 'power', 'status'], (outcome) => {
      const { host } = this.#config;
      const power = powerOf(outcome);
      if (power === 'off') return this.#end('off', `${host} says that the power is off`);
      this.#last = power === undefined ? outcome.because : `${host} says that the power is ${power}`;
      if (power === undefined || this.#ordered) return this.#again();
      this.#ask(['chassis', 'power', 'off'], (ordered) => {
        this.#ordered = ordered.code === 0;
        if (!this.#ordered) this.#last = ordered.because;
        this.#again();
      });
    });
  }

  abandon(): void {
    this.#last = 'given up: the peer answers';
    this.#running?.abandon(this.#last);
    this.#end('no-proof', this.#last);
  }

  #again(): void {
    if (this.#ended) return;
    if (performance.now() + pollIntervalMs >= this.#endMs) return this.#end('no-proof', this.#last);
    this.#pause = setTimeout(() => this.start(), pollIntervalMs);
  }

  #ask(command: readonly string[], answered: (outcome: ProgramOutcome) => void): void {
    const leftMs = this.#endMs - performance.now();
    if (leftMs <= 0) return this.#end('no-proof', this.#last);
    this.#running = ask(this.#config, command, leftMs, (outcome) => {
      if (!this.#ended) answered(outcome);
    });
  }

  #end(kind: FenceAnswer['kind'], because: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#pause);
    const text = `${this.#ordered ? 'ordered to switch off; ' : ''}${because}`;
    setImmediate(() => this.#answered({ kind, because: text }));
  }
}

function ask(
  { program, host, port, user, passwordFile, cipherSuite }: IpmiFenceConfig,
  command: readonly string[],
  deadlineMs: number,
  answered: (outcome: ProgramOutcome) => void,
): RunningProgram {
  const suite = cipherSuite === undefined ? [] : ['-C', String(cipherSuite)];
  const reach = ['-I', 'lanplus', '-H', host, '-p', String(port), '-U', user, '-f', passwordFile, ...suite];
  const patience = ['-N', String(packetSeconds), '-R', String(packetRetries)];
  return runBounded(program, [...reach, ...patience, ...command], { deadlineMs }, answered);
}

/** `chassis power status` prints "Chassis Power is on" or "Chassis Power is off"; everything else is no status. */
function powerOf({ code, output }: ProgramOutcome): 'on' | 'off' | undefined {
  if (code !== 0) return undefined;
  const found = /^Chassis Power is (on|off)$/m.exec(output)?.[1];
  return found === 'on' || found === 'off' ? found : undefined;
}
