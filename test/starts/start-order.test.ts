/**
 * The modules of one node start their VMs in order: each decides for itself, on one board, in virtual time. The board with real
 * files, locks and processes is in test/platform/start-board.system.ts.
 */
import { expect } from 'chai';
import { slotGraceMs, slotHeldMaxMs } from '../../src/starts/decide-turn.ts';
import { expectedGraceMs } from '../../src/starts/expected-start.ts';
import { type OrderFacts, StartOrder } from '../../src/starts/start-order.ts';
import { startDefaults, type StartSettings } from '../../src/starts/start-settings.ts';
import { VirtualClock } from '../base/virtual-clock.ts';
import { MemoryNode } from './memory-board.ts';

const startMs = 1000;
const idle: OrderFacts = {
  hasVm: true,
  started: true,
  serving: false,
  upToDate: true,
  failover: true,
  connected: true,
  claimOpen: false,
  unheardMs: 0,
  lostAfterMs: 3000,
  claimAfterMs: 6000,
  vm: 'off',
  peerVmStart: undefined,
};

/** Modules whose VMs take a second to start, unless a test says otherwise. */
class Node {
  readonly clock = new VirtualClock();
  readonly shared = new MemoryNode(this.clock);
  /** VMs in the order in which their starts began, with the time since the test began. */
  readonly started: { readonly module: string; readonly atMs: number }[] = [];
  readonly decisions: string[] = [];
  readonly restarted: string[] = [];
  readonly facts = new Map<string, OrderFacts>();
  readonly orders = new Map<string, StartOrder>();
  readonly #dead = new Set<string>();
  readonly #broken = new Set<string>();
  readonly #beganMs = this.clock.nowMs();
  #starts = 0;

  add(module: string, settings: Partial<StartSettings> = {}, concurrent = 1): void {
    this.facts.set(module, this.facts.get(module) ?? idle);
    this.#dead.delete(module);
    const order: StartOrder = new StartOrder(
      {
        module,
        settings: { ...startDefaults, ...settings },
        concurrent,
        needs: undefined,
        newStartId: () => `start ${(this.#starts += 1)}`,
      },
      this.shared.board(module),
      this.clock,
      {
        facts: () => this.facts.get(module) as OrderFacts,
        turnCame: () => {
          if (this.orders.get(module) === order && !this.#dead.has(module)) this.#start(module);
        },
        decided: (rule) => this.decisions.push(`${module} ${rule}`),
        restartVm: (because) => this.restarted.push(`${module}: ${because}`),
      },
    );
    this.orders.set(module, order);
    this.#tick(module, order);
  }

  /** This node became primary: the VM is to run. */
  want(...modules: readonly string[]): void {
    for (const module of modules) {
      this.set(module, { serving: true, connected: false, vm: 'off' });
      if (this.orders.get(module)?.mayStart() === true) this.#start(module);
    }
  }

  set(module: string, changes: Partial<OrderFacts>): void {
    this.facts.set(module, { ...(this.facts.get(module) as OrderFacts), ...changes });
  }

  /** Its VM does not come up. */
  breakVm(module: string): void {
    this.#broken.add(module);
  }

  kill(module: string): void {
    this.#dead.add(module);
    this.shared.die(module);
  }

  get sequence(): readonly string[] {
    return this.started.map(({ module }) => module);
  }

  #tick(module: string, order: StartOrder): void {
    if (this.#dead.has(module) || this.orders.get(module) !== order) return;
    order.look();
    this.clock.after(200, () => this.#tick(module, order));
  }

  #start(module: string): void {
    this.started.push({ module, atMs: this.clock.nowMs() - this.#beganMs });
    if (this.#broken.has(module)) return;
    this.clock.after(startMs, () => {
      if (this.#dead.has(module)) return;
      this.set(module, { vm: 'here' });
      this.orders.get(module)?.end();
    });
  }
}

describe('the order of starts', () => {
  let node: Node;
  beforeEach(() => {
    node = new Node();
  });

  it('a VM that starts alone waits for nothing, and no decision is worth a word', () => {
    node.add('vm1');
    node.want('vm1');
    expect(node.started).to.deep.equal([{ module: 'vm1', atMs: 0 }]);
    expect(node.decisions).to.deep.equal([]);
  });

  it('many VMs: by priority, and never more at once than the node may start', () => {
    const names = Array.from({ length: 25 }, (_none, index) => `vm${String(index).padStart(2, '0')}`);
    names.forEach((name, index) => node.add(name, { priority: 4 * index }, 4));
    // The one that has the peer silent for long enough claims first; the others have said that they will.
    for (const name of names) node.set(name, { connected: false, unheardMs: 3000 });
    node.clock.advance(200);
    for (const name of names) {
      node.want(name);
      node.clock.advance(20);
    }
    node.clock.advance(60_000);
    expect([...node.sequence].sort()).to.deep.equal(names);
    expect(node.shared.slotsTakenMax).to.equal(4);
    const wanted = names.toReversed();
    node.sequence.forEach((name, index) => {
      const notYetStarted = wanted
        .slice(0, wanted.indexOf(name))
        .filter((each) => !node.sequence.slice(0, index).includes(each));
      expect(notYetStarted.length, `before ${name}`).to.be.below(4);
    });
    const lastMs = node.started.at(-1)?.atMs ?? 0;
    // 25 starts of a second in fours are 7 s; what each change of slots costs is little beside it.
    expect(lastMs).to.be.within(6000, 7500);
  });

  it('C7: a VM starts after the one it names, and a delay later', () => {
    node.add('app', { priority: 90, after: [{ module: 'db', required: false }], delayMs: 3000 }, 4);
    node.add('db', { priority: 10 }, 4);
    node.want('app', 'db');
    expect(node.sequence).to.deep.equal(['db']);
    expect(node.orders.get('app')?.waits).to.equal('the VM starts after db, which does not run');
    node.clock.advance(startMs + 2900);
    expect(node.sequence).to.deep.equal(['db']);
    node.clock.advance(200);
    expect(node.sequence).to.deep.equal(['db', 'app']);
    expect(node.decisions).to.include('app dependency-not-running').and.to.include('app start-turn');
  });

  it('C7: one that it names runs on the other node: that is enough', () => {
    node.add('app', { after: [{ module: 'db', required: true }] });
    node.add('db');
    node.set('db', { vm: 'at-peer' });
    node.orders.get('db')?.look();
    node.want('app');
    expect(node.sequence).to.deep.equal(['app']);
  });

  it('C7: is restarted with the one it names, once, when that was restarted or failed over, and not when it was moved live', () => {
    node.add('app', { after: [{ module: 'db', required: false }], restartWith: true });
    node.add('db');
    node.set('db', { vm: 'at-peer', peerVmStart: 'first' });
    node.orders.get('db')?.look();
    node.want('app');
    node.clock.advance(startMs + 400);
    expect(node.restarted).to.deep.equal([]);
    // The same start of it, after a moment in which nothing was known.
    node.set('db', { vm: 'off', peerVmStart: undefined });
    node.clock.advance(400);
    node.set('db', { vm: 'at-peer', peerVmStart: 'first' });
    node.clock.advance(400);
    expect(node.restarted).to.deep.equal([]);
    node.want('db');
    node.clock.advance(startMs + 1000);
    const once = ['app: db, which it is restarted with, was started anew'];
    expect(node.restarted).to.deep.equal(once);
    // Its process dies before the VM was ended: the next one knows.
    node.kill('app');
    node.add('app', { after: [{ module: 'db', required: false }], restartWith: true });
    node.clock.advance(2000);
    expect(node.restarted).to.deep.equal([...once, ...once]);
    // Started anew, it is with the new one.
    node.set('app', { vm: 'off' });
    node.want('app');
    node.clock.advance(startMs + 2000);
    expect(node.restarted).to.deep.equal([...once, ...once]);
  });

  it('C7: the one it names is moved live from one node to the other and back: it is not restarted', () => {
    node.add('app', { after: [{ module: 'db', required: false }], restartWith: true });
    node.add('db');
    node.want('db', 'app');
    node.clock.advance(3 * startMs);
    const started = node.orders.get('db')?.vmStart;
    expect(started).to.equal('start 1');
    for (const facts of [
      { vm: 'at-peer', serving: false, connected: true, peerVmStart: started },
      { vm: 'here', serving: true, peerVmStart: undefined },
    ] as const) {
      node.set('db', facts);
      node.clock.advance(2000);
      expect(node.orders.get('db')?.vmStart).to.equal(started);
    }
    expect(node.restarted).to.deep.equal([]);
  });

  it('settings that change while a VM waits count at once', () => {
    node.add('app', { after: [{ module: 'db', required: true }] });
    node.want('app');
    expect(node.sequence).to.deep.equal([]);
    node.orders.get('app')?.configure(startDefaults);
    node.clock.advance(100);
    expect(node.sequence).to.deep.equal(['app']);
  });

  it('C7: two that are to be restarted with each other are left alone: there would be no end', () => {
    node.add('vm1', { after: [{ module: 'vm2', required: false }], restartWith: true });
    node.add('vm2', { after: [{ module: 'vm1', required: false }], restartWith: true });
    node.want('vm1', 'vm2');
    node.clock.advance(10_000);
    expect(node.sequence).to.deep.equal(['vm1', 'vm2']);
    expect(node.decisions).to.include('vm1 start-cycle');
    expect(node.restarted).to.deep.equal([]);
  });

  it('a VM that ends and is started again in place waits for no delay when the one it names has run all the time', () => {
    node.add('app', { after: [{ module: 'db', required: false }], delayMs: 3000 });
    node.add('db');
    node.want('db', 'app');
    node.clock.advance(10_000);
    expect(node.sequence).to.deep.equal(['db', 'app']);
    node.set('app', { vm: 'off' });
    node.want('app');
    expect(node.sequence).to.deep.equal(['db', 'app', 'app']);
  });

  it('a VM that was started without the one it names is not restarted when that comes at last', () => {
    node.add('app', { after: [{ module: 'db', required: false }], restartWith: true, deadlineMs: 1000 });
    node.add('db');
    node.want('app');
    node.clock.advance(1000 + startMs + 100);
    expect(node.sequence).to.deep.equal(['app']);
    expect(node.decisions).to.include('app start-deadline');
    node.want('db');
    node.clock.advance(startMs + 1000);
    expect(node.sequence).to.deep.equal(['app', 'db']);
    expect(node.restarted).to.deep.equal([]);
  });

  it('a module dies while it holds a slot: the next one starts', () => {
    node.add('vm1');
    node.add('vm2');
    node.want('vm1', 'vm2');
    node.clock.advance(100);
    node.kill('vm1');
    node.clock.advance(100);
    expect(node.sequence).to.deep.equal(['vm1', 'vm2']);
  });

  it('a module dies while it is queued before another: nobody waits for it', () => {
    node.add('vm1');
    node.add('vm2', { priority: 90 });
    node.add('vm3');
    node.want('vm1', 'vm2', 'vm3');
    node.kill('vm2');
    node.clock.advance(3 * startMs);
    expect(node.sequence).to.deep.equal(['vm1', 'vm3']);
  });

  it('a module is started again while it is queued: it takes its place anew', () => {
    node.add('vm1');
    node.add('vm2');
    node.want('vm1', 'vm2');
    node.kill('vm2');
    node.add('vm2');
    node.want('vm2');
    node.clock.advance(3 * startMs);
    expect(node.sequence).to.deep.equal(['vm1', 'vm2']);
  });

  it('a VM does not come up: its slot goes to the others after its time, and then it is tried again', () => {
    node.breakVm('vm1');
    node.add('vm1', { priority: 90 });
    node.add('vm2', { deadlineMs: 600_000 });
    node.add('vm3', { deadlineMs: 600_000 });
    node.want('vm1', 'vm2', 'vm3');
    node.clock.advance(slotHeldMaxMs + 100);
    expect(node.decisions).to.include('vm1 start-slot-given-back');
    node.clock.advance(3 * startMs);
    // Who gave the slot back asks for it again as long as its VM is to run.
    node.want('vm1');
    node.clock.advance(100);
    expect(node.sequence).to.deep.equal(['vm1', 'vm2', 'vm3', 'vm1']);
  });

  it('a module hangs with a slot that it never gives back: another slot takes its place', () => {
    node.add('vm1');
    node.add('vm2', { deadlineMs: 600_000 });
    node.want('vm1');
    node.shared.hang('vm1');
    node.want('vm2');
    node.clock.advance(slotHeldMaxMs + slotGraceMs);
    expect(node.sequence).to.deep.equal(['vm1']);
    node.clock.advance(100);
    expect(node.sequence).to.deep.equal(['vm1', 'vm2']);
  });

  it('a high priority that is expected and does not come holds a lower one up for its time, and no longer', () => {
    node.add('high', { priority: 90 });
    node.add('low');
    node.set('high', { connected: false, unheardMs: 5000 });
    node.orders.get('high')?.look();
    node.want('low');
    expect(node.sequence).to.deep.equal([]);
    node.clock.advance(1000 + expectedGraceMs + 100);
    expect(node.sequence).to.deep.equal(['low']);
    expect(node.started[0]?.atMs).to.be.within(1000 + expectedGraceMs - 1, 1000 + expectedGraceMs + 100);
  });

  it('a high priority that waits for ever for the arbiter holds nobody up who comes later', () => {
    node.add('high', { priority: 90 });
    node.set('high', { connected: false, unheardMs: 60_000, claimOpen: true });
    node.clock.advance(expectedGraceMs + 400);
    node.add('low');
    node.want('low');
    expect(node.sequence).to.deep.equal(['low']);
  });

  it('what is not to start any more gives slot and place back at once', () => {
    node.add('vm1');
    node.add('vm2');
    node.want('vm1', 'vm2');
    expect(node.shared.notice('vm2')?.phase).to.equal('ready');
    node.orders.get('vm1')?.end();
    expect(node.shared.holders).to.deep.equal([]);
    node.clock.advance(100);
    expect(node.sequence).to.deep.equal(['vm1', 'vm2']);
    node.orders.get('vm2')?.end();
    expect(node.shared.notice('vm2')?.phase).to.equal('idle');
  });
});
