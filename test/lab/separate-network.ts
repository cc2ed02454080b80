/**
 * Three machines in network namespaces of their own, A, B and witness, on one or two networks through bridges in a fourth
 * namespace; what fails is the network itself, not the product's own fault injection. Needs root, ip and nft.
 *
 * A machine without power has no cable and no namespace: what its dying sockets would send goes nowhere, and connections of
 * before are unknown after it was powered on again. Names hold the process that made them, so that suites side by side
 * do not meet, and what a killed one left is removed by the next.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { type LabMachine, labHost, labMachines, type LabSeparation } from '../../src/lab/lab-layout.ts';
import { killVerified, readProcessIdentity } from '../../src/platform/process-identity.ts';

const addresses = '10.213';
const prefix = 'vmpair-lab';
const namespaceFiles = '/run/netns';

/** A packet filter that drops on one port of a bridge what goes to the given machines, in the words of nft. */
function portFilter(port: string, to: readonly string[]): string {
  const rules = to.map((address) => `    ip daddr ${address} drop\n`).join('');
  return `  chain ${port} {\n    type filter hook ingress device "${port}" priority 0\n${rules}  }\n`;
}

export class SeparateNetwork {
  readonly separation: LabSeparation;
  readonly #networks: readonly number[];
  readonly #switch: string;
  readonly #connected = new Set<LabMachine>();
  /** `FROM>TO` of what does not pass, by machine. */
  readonly #cuts = new Set<string>();

  /** All machines have power and reach each other. */
  static make(networkCount: 1 | 2 = 1): SeparateNetwork {
    removeLeftovers();
    const self = new SeparateNetwork(networkCount);
    try {
      self.#createSwitch();
      for (const machine of labMachines) self.powerOn(machine);
      return self;
    } catch (error) {
      self.remove();
      throw error;
    }
  }

  private constructor(networkCount: number) {
    this.#networks = Array.from({ length: networkCount }, (_none, index) => index);
    made += 1;
    const name = (machine: string): string => `${prefix}-${process.pid}-${made}-${machine}`;
    this.#switch = name('switch');
    this.separation = {
      addresses,
      namespaces: { A: name('A'), B: name('B'), witness: name('witness') },
    };
  }

  /** The machine's cables and its network stack are there. */
  powerOn(machine: LabMachine): void {
    const namespace = this.separation.namespaces[machine];
    execFileSync('ip', ['netns', 'add', namespace]);
    ip(namespace, 'link set lo up');
    for (const index of this.#networks) {
      const port = portName(machine, index);
      const card = `eth${index}`;
      // The same hardware address again: a new one would be unknown to the others until their tables forget the old one.
      const hardware = `02:76:70:00:0${index}:0${labMachines.indexOf(machine) + 1}`;
      ip(
        this.#switch,
        `link add ${port} type veth peer name ${card} address ${hardware} netns ${namespace}`,
        `link set ${port} master bridge${index} up`,
      );
      ip(
        namespace,
        `address add ${labHost(machine, index, addresses)}/24 dev ${card}`,
        `link set ${card} up`,
      );
    }
    this.#connected.add(machine);
    this.#filter();
  }

  /** The network goes first; the processes of the machine are to be killed next, then `forget` it. */
  losePower(machine: LabMachine): void {
    this.#connected.delete(machine);
    for (const index of this.#networks) ip(this.#switch, `link delete ${portName(machine, index)}`);
  }

  /** What is left of a machine whose processes are gone. */
  forget(machine: LabMachine): void {
    execFileSync('ip', ['netns', 'delete', this.separation.namespaces[machine]]);
  }

  /** The machine's cables are pulled out, or with `up` put in again. */
  plug(machine: LabMachine, up: boolean): void {
    for (const index of this.#networks)
      ip(this.#switch, `link set ${portName(machine, index)} ${up ? 'up' : 'down'}`);
  }

  /** Nothing passes from one machine to the other any more, and nobody is told. */
  cut(from: LabMachine, to: LabMachine): void {
    this.#cuts.add(`${from}>${to}`);
    this.#filter();
  }

  cutBothWays(one: LabMachine, other: LabMachine): void {
    this.#cuts.add(`${one}>${other}`).add(`${other}>${one}`);
    this.#filter();
  }

  /** Everything passes. */
  heal(): void {
    this.#cuts.clear();
    this.#filter();
    for (const machine of this.#connected) this.plug(machine, true);
  }

  /** Both machines answer every TCP segment of the other with a reset, until `heal` of what is returned. */
  resetConnections(one: LabMachine, other: LabMachine): { heal(): void } {
    const pairs = [
      [one, other],
      [other, one],
    ] as const;
    for (const [at, from] of pairs) {
      const sources = this.#networks.map((index) => labHost(from, index, addresses)).join(', ');
      this.#nft(
        this.separation.namespaces[at],
        `table inet resets {\n  chain input {\n    type filter hook input priority 0\n` +
          `    ip saddr { ${sources} } meta l4proto tcp reject with tcp reset\n  }\n}\n`,
      );
    }
    return {
      heal: () => {
        for (const [at] of pairs) this.#nft(this.separation.namespaces[at], 'delete table inet resets\n');
      },
    };
  }

  /** Idempotent. The processes of the machines must be gone. */
  remove(): void {
    const names = new Set(readNamespaces());
    for (const name of [this.#switch, ...Object.values(this.separation.namespaces)])
      if (names.has(name)) execFileSync('ip', ['netns', 'delete', name]);
  }

  #createSwitch(): void {
    execFileSync('ip', ['netns', 'add', this.#switch]);
    for (const index of this.#networks)
      ip(this.#switch, `link add bridge${index} type bridge`, `link set bridge${index} up`);
  }

  /** All filters anew, in one transaction. */
  #filter(): void {
    const chains: string[] = [];
    for (const machine of this.#connected) {
      for (const index of this.#networks) {
        const to = labMachines
          .filter((other) => this.#cuts.has(`${machine}>${other}`))
          .map((other) => labHost(other, index, addresses));
        if (to.length > 0) chains.push(portFilter(portName(machine, index), to));
      }
    }
    const table = `table netdev cuts {\n${chains.join('')}}\n`;
    this.#nft(this.#switch, `table netdev cuts\ndelete table netdev cuts\n${table}`);
  }

  #nft(namespace: string, rules: string): void {
    execFileSync('nsenter', [`--net=${namespaceFiles}/${namespace}`, 'nft', '-f', '-'], { input: rules });
  }
}

/** Networks that this process has made, so that their names differ. */
let made = 0;

function portName(machine: LabMachine, index: number): string {
  return `${machine}${index}`;
}

function ip(namespace: string, ...commands: readonly string[]): void {
  execFileSync('ip', ['-n', namespace, '-batch', '-'], { input: `${commands.join('\n')}\n` });
}

function readNamespaces(): readonly string[] {
  try {
    return readdirSync(namespaceFiles);
  } catch {
    return [];
  }
}

/** Networks of processes that run no more, with everything in them. */
function removeLeftovers(): void {
  for (const name of readNamespaces()) {
    const maker = new RegExp(`^${prefix}-(\\d+)-\\d+-`).exec(name)?.[1];
    if (maker === undefined || readProcessIdentity(Number(maker)) !== undefined) continue;
    const pids = execFileSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).split('\n');
    for (const pid of pids.filter((line) => line !== '')) {
      const identity = readProcessIdentity(Number(pid));
      if (identity !== undefined) killVerified(identity, 'SIGKILL');
    }
    execFileSync('ip', ['netns', 'delete', name]);
  }
}
