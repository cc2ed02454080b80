/**
 * Every way in which two nodes can change their configuration while messages are lost or late and processes die. One run
 * follows a list of operations and a script of choices: what becomes of each message, and whether the process dies at each write. All
 * scripts with at most so many faults are run, one after the other.
 *
 * The real agreement and store run over files in memory. Messages between two changes that run at once are delivered in every order.
 * What is not explored: a disk that loses what was durable.
 */
import { WorldError } from '../../../src/base/errors.ts';
import {
  type Committed,
  ConfigAgreement,
  reservationMs,
} from '../../../src/agent/config/config-agreement.ts';
import { ConfigStore } from '../../../src/agent/config/config-store.ts';
import type { PeerConfigPort } from '../../../src/agent/config/peer-config-port.ts';
import { documents, note, sha256 } from './digest.ts';
import { Crash, MemoryFiles } from './memory-files.ts';

export type Operation =
  | 'A changes'
  | 'B changes'
  | 'A changes only here'
  | 'B changes only here'
  | 'A, cut off, changes only here'
  | 'B, cut off, changes only here'
  | 'both change at once'
  | 'A compares'
  | 'B compares'
  | 'reservations lapse';

export const operations: readonly Operation[] = [
  'A changes',
  'B changes',
  'A changes only here',
  'B changes only here',
  'A, cut off, changes only here',
  'B, cut off, changes only here',
  'both change at once',
  'A compares',
  'B compares',
  'reservations lapse',
];

type Name = 'A' | 'B';

/** Walks through all scripts, depth first: each run follows the script, then takes the first option everywhere. */
class Choices {
  #script: number[] = [];
  #sizes: number[] = [];
  #position = 0;
  #faults = 0;
  readonly #faultsMax: number;

  constructor(faultsMax: number) {
    this.#faultsMax = faultsMax;
  }

  /** 0 to `count - 1`; everything but 0 is a fault, as long as there may be one. */
  fault(count: number): number {
    const chosen = this.#choose(this.#faults < this.#faultsMax ? count : 1);
    if (chosen > 0) this.#faults += 1;
    return chosen;
  }

  order(count: number): number {
    return this.#choose(count);
  }

  #choose(count: number): number {
    const chosen = this.#script[this.#position] ?? 0;
    this.#sizes[this.#position] = count;
    this.#script[this.#position] = chosen;
    this.#position += 1;
    return chosen;
  }

  get words(): string {
    return this.#script.slice(0, this.#position).join('');
  }

  /** Begins the next script; false: there is none. */
  next(): boolean {
    this.#script = this.#script.slice(0, this.#position);
    while (this.#script.length > 0) {
      const last = this.#script.length - 1;
      const chosen = (this.#script[last] ?? 0) + 1;
      if (chosen < (this.#sizes[last] ?? 0)) {
        this.#script[last] = chosen;
        this.#position = 0;
        this.#faults = 0;
        return true;
      }
      this.#script.pop();
    }
    return false;
  }
}

class Node {
  readonly name: Name;
  readonly files = new MemoryFiles();
  /** `undefined`: the process is dead. */
  agreement: ConfigAgreement | undefined;
  store: ConfigStore | undefined;
  applied: string | undefined;

  constructor(name: Name) {
    this.name = name;
  }
}

interface Outcome {
  readonly text: string;
  /** `committed`: the operator was told so; `refused`: that nothing was changed; `unknown`: neither. */
  readonly said: 'committed' | 'refused' | 'unknown';
}

export class Run {
  readonly nodes = { A: new Node('A'), B: new Node('B') };
  readonly outcomes: Outcome[] = [];
  readonly alone = new Set<Name>();
  readonly #choices: Choices;
  #nowMs = 0;
  #tokens = 0;
  #changes = 0;
  /** Messages that arrive after the operation, and after the one after it. */
  #late: (() => Promise<unknown>)[] = [];
  #later: (() => Promise<unknown>)[] = [];
  #waiting: (() => void)[] = [];
  #faultsAllowed = true;
  #cut = false;

  constructor(choices: Choices) {
    this.#choices = choices;
  }

  async start(): Promise<void> {
    this.#faultsAllowed = false;
    await this.#restart('A');
    await this.#restart('B');
    await this.#change('A', false);
    this.#faultsAllowed = true;
  }

  async operate(operation: Operation): Promise<void> {
    await this.#together(() => this.#perform(operation));
    for (const deliver of this.#late.splice(0, Infinity, ...this.#later.splice(0)))
      await deliver().catch(() => undefined);
    for (const name of ['A', 'B'] as const)
      if (this.nodes[name].agreement === undefined) await this.#restart(name);
  }

  /** No more faults: everything that is under way comes to its end. */
  async heal(): Promise<void> {
    this.#faultsAllowed = false;
    this.#nowMs += reservationMs;
    for (const name of ['A', 'B', 'A', 'B'] as const) await this.agreement(name).reconcile();
    for (const name of ['A', 'B'] as const) await this.agreement(name).applyHead();
  }

  agreement(name: Name): ConfigAgreement {
    return this.nodes[name].agreement as ConfigAgreement;
  }

  #perform(operation: Operation): Promise<unknown> {
    switch (operation) {
      case 'A changes':
        return this.#change('A', false);
      case 'B changes':
        return this.#change('B', false);
      case 'A changes only here':
        return this.#change('A', true);
      case 'B changes only here':
        return this.#change('B', true);
      case 'A, cut off, changes only here':
        return this.#cutOff(() => this.#change('A', true));
      case 'B, cut off, changes only here':
        return this.#cutOff(() => this.#change('B', true));
      case 'both change at once':
        return Promise.all([this.#change('A', false), this.#change('B', false)]);
      case 'A compares':
        return this.agreement('A').reconcile().catch(ignoreWorld);
      case 'B compares':
        return this.agreement('B').reconcile().catch(ignoreWorld);
      case 'reservations lapse':
        this.#nowMs += reservationMs;
        return Promise.resolve();
    }
  }

  async #cutOff(work: () => Promise<void>): Promise<void> {
    this.#cut = true;
    await work();
    this.#cut = false;
  }

  async #change(name: Name, onlyHere: boolean): Promise<void> {
    this.#changes += 1;
    const text = `change ${this.#changes}`;
    if (onlyHere) this.alone.add(name);
    const change = { ...note, documents: documents(text), base: undefined, onlyHere };
    const said = await this.agreement(name)
      .propose(change)
      .then(
        (_committed: Committed) => 'committed' as const,
        (error: unknown) => {
          if (error instanceof WorldError) return error.code === 'config-in-doubt' ? 'unknown' : 'refused';
          if (error instanceof Crash) return 'unknown';
          throw error;
        },
      );
    this.outcomes.push({ text, said });
  }

  async #restart(name: Name): Promise<void> {
    const node = this.nodes[name];
    const files = new MemoryFiles();
    for (const [file, text] of node.files.content) files.content.set(file, text);
    Object.assign(node, { files });
    const store = await ConfigStore.open(files, sha256);
    const agreement: ConfigAgreement = new ConfigAgreement({
      store,
      host: {
        validate: () => Promise.resolve(),
        apply: (revision) => {
          if (node.agreement === agreement) node.applied = revision.id;
          return Promise.resolve();
        },
      },
      peer: this.#port(node, () => agreement),
      clock: { nowMs: () => this.#nowMs },
      digest: sha256,
      token: () => `token ${(this.#tokens += 1)}`,
    });
    files.beforeWrite = () => {
      // What a dead process still had to do is not done.
      if (node.agreement !== agreement) throw new Crash();
      const fate = this.#faultsAllowed ? this.#choices.fault(3) : 0;
      if (fate === 0) return 'go-on';
      node.agreement = undefined;
      if (fate === 1) throw new Crash();
      return 'crash-after';
    };
    node.agreement = agreement;
    node.store = store;
    await agreement.applyHead();
  }

  /** The way to the peer: a message arrives, or it or its answer is lost, or it arrives after the operation. */
  #port(from: Node, self: () => ConfigAgreement): PeerConfigPort {
    const call = async <Result>(ask: (peer: ConfigAgreement) => Promise<Result>): Promise<Result> => {
      await this.#turn();
      if (from.agreement !== self()) throw new Crash();
      if (this.#cut) throw lost('the link is cut');
      const to = this.nodes[from.name === 'A' ? 'B' : 'A'];
      const deliver = async (): Promise<Result> => {
        if (to.agreement === undefined) throw lost('nobody listens');
        return ask(to.agreement).catch((error: unknown) => {
          throw error instanceof WorldError ? error : lost('the peer died');
        });
      };
      const fate = this.#faultsAllowed ? this.#choices.fault(5) : 0;
      if (fate === 1) throw lost('the request was lost');
      if (fate === 2) {
        await deliver().catch(ignoreWorld);
        throw lost('the answer was lost');
      }
      if (fate >= 3) {
        (fate === 3 ? this.#late : this.#later).push(deliver);
        throw lost('the request is late');
      }
      const answer = await deliver();
      if (from.agreement !== self()) throw new Crash();
      return answer;
    };
    return {
      head: () => call((peer) => peer.head()),
      reserve: (request) => call((peer) => peer.reserve(request)),
      commit: (request) => call((peer) => peer.commit(request)),
      release: (request) => call((peer) => peer.release(request)),
      fetch: (request) => call((peer) => peer.fetch(request)),
    };
  }

  /** Resolves when this message is the next one. */
  #turn(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Runs work, and delivers its messages one at a time, whenever nothing else goes on. */
  async #together(work: () => Promise<unknown>): Promise<void> {
    let done = false;
    const ended = work().finally(() => {
      done = true;
    });
    while (!done) {
      await quiet();
      const { length } = this.#waiting;
      if (length === 0) continue;
      const [next] = this.#waiting.splice(length === 1 ? 0 : this.#choices.order(length), 1);
      next?.();
    }
    await ended;
  }

  /** Delivers messages while nothing is chosen any more. */
  async undisturbed(work: () => Promise<unknown>): Promise<void> {
    await this.#together(work);
  }
}

/** Resolves when every promise that could go on has done so. */
function quiet(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function lost(found: string): WorldError {
  return new WorldError('peer-unreachable', { wanted: 'an answer of the peer', found, next: 'wait' });
}

function ignoreWorld(error: unknown): void {
  if (!(error instanceof WorldError) && !(error instanceof Crash)) throw error;
}

/** Runs every script of these operations. `check` throws for what must not be; the message says how to run it again. */
export async function explore(
  operationsOfRun: readonly Operation[],
  faultsMax: number,
  check: (run: Run) => Promise<void>,
): Promise<number> {
  const choices = new Choices(faultsMax);
  let runs = 0;
  do {
    const run = new Run(choices);
    await run.undisturbed(() => run.start());
    for (const operation of operationsOfRun) await run.operate(operation);
    await run.undisturbed(() => run.heal());
    try {
      await check(run);
    } catch (error) {
      throw new Error(`${operationsOfRun.join(', ')}; choices ${choices.words}: ${String(error)}`, {
        cause: error,
      });
    }
    runs += 1;
  } while (choices.next());
  return runs;
}
