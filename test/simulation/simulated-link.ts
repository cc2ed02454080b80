/**
 * One network between two simulated modules. The first node dials. A connection delivers bytes in order, in fragments and
 * with delay, or is lost; a cut is silent, in one direction or both: bytes wait, as they do in TCP, and go on after it, or
 * the connection breaks. The end of a process is seen by the other side; the end of a host is not.
 */
import type { LinkConnection, LinkHandler, LinkTransport } from '../../src/link/transport.ts';
import { joinChunks } from '../../src/link/frames.ts';
import type { Random } from './random.ts';
import type { Life, SimulatedTime } from './simulated-time.ts';

/** Index of a side: 0 dials. */
export type Side = 0 | 1;
const other = (side: Side): Side => (side === 0 ? 1 : 0);

interface Listener {
  readonly handler: LinkHandler;
  readonly life: Life;
}

export class SimulatedLink {
  readonly nodes: readonly [string, string];
  /** Bytes from side 0, and from side 1, do not arrive. */
  readonly cut: [boolean, boolean] = [false, false];
  readonly #time: SimulatedTime;
  readonly #random: Random;
  readonly #listeners: [Listener | undefined, Listener | undefined] = [undefined, undefined];
  readonly connections = new Set<Connection>();
  /** Largest delay of a delivery, ms. */
  delayMs = 1;
  #dialing = false;

  constructor(nodes: readonly [string, string], time: SimulatedTime, random: Random) {
    this.nodes = nodes;
    this.#time = time;
    this.#random = random;
  }

  /** The transport of one process. */
  transportOf(side: Side, life: Life): LinkTransport {
    let mine: Listener | undefined;
    return {
      start: (handler) => {
        mine = { handler, life };
        this.#listeners[side] = mine;
        this.#dialSoon();
      },
      stop: () => {
        if (this.#listeners[side] === mine) this.#listeners[side] = undefined;
      },
    };
  }

  /** The process of this side died on a host that goes on: its sockets are closed by the host. */
  processKilled(side: Side): void {
    this.#listeners[side] = undefined;
    for (const connection of this.connections) connection.endGone(side, true);
  }

  /** The host of this side died: silence. */
  powerLost(side: Side): void {
    this.#listeners[side] = undefined;
    for (const connection of this.connections) connection.endGone(side, false);
  }

  /** Every connection breaks, and both sides see it, not at the same time. */
  blip(): void {
    for (const connection of this.connections) connection.break('connection reset');
  }

  /** A frozen process goes on: what waited in its sockets arrives. */
  thawed(): void {
    for (const connection of this.connections) connection.flow();
  }

  /** Bytes flow, or wait, from now on. After a cut some connections are broken. */
  setCut(fromFirst: boolean, fromSecond: boolean): void {
    this.cut[0] = fromFirst;
    this.cut[1] = fromSecond;
    for (const connection of this.connections) {
      if (!fromFirst && !fromSecond && this.#random.chance(0.3)) connection.break('connection timed out');
      else connection.flow();
    }
  }

  /** Tries again and again: a dialer keeps dialing while it has no connection. */
  #dialSoon(): void {
    if (this.#dialing) return;
    this.#dialing = true;
    this.#time.after(this.#random.between(20, 400), () => {
      this.#dialing = false;
      const [dialer, listener] = this.#listeners;
      if (dialer === undefined) return;
      // A stopped process dials when it goes on.
      if (dialer.life.frozen) return this.#dialSoon();
      const dialerHasOne = [...this.connections].some((each) => each.isOpen(0));
      if (dialerHasOne) return;
      if (listener !== undefined && !this.cut[0] && !this.cut[1]) {
        const connection = new Connection(this, this.#time, this.#random);
        this.connections.add(connection);
        connection.open(0, dialer.handler, dialer.life, 0);
        connection.open(1, listener.handler, listener.life, this.#random.between(0.1, this.delayMs));
      } else {
        dialer.handler.failed('nobody answers');
        this.#dialSoon();
      }
    });
  }

  ended(connection: Connection): void {
    if (!connection.isOpen(0)) this.#dialSoon();
    if (!connection.isOpen(0) && !connection.isOpen(1)) this.connections.delete(connection);
  }
}

class Connection {
  readonly #link: SimulatedLink;
  readonly #time: SimulatedTime;
  readonly #random: Random;
  readonly #ends: [End | undefined, End | undefined] = [undefined, undefined];
  /** Bytes under way from each side. */
  readonly #queues: [Uint8Array[], Uint8Array[]] = [[], []];
  readonly #delivering: [boolean, boolean] = [false, false];
  /** The last thing that a side says: it closed. */
  readonly #closing: [string | undefined, string | undefined] = [undefined, undefined];

  constructor(link: SimulatedLink, time: SimulatedTime, random: Random) {
    this.#link = link;
    this.#time = time;
    this.#random = random;
  }

  open(side: Side, handler: LinkHandler, life: Life, delayMs: number): void {
    const end = new End(this, side, this.#link.nodes[other(side)], handler, life);
    this.#ends[side] = end;
    const tell = (): void => {
      if (!end.open || !life.alive) return;
      end.told = true;
      handler.opened(end);
      this.flow();
    };
    if (delayMs === 0) tell();
    else this.#time.after(delayMs, tell, life);
  }

  isOpen(side: Side): boolean {
    return this.#ends[side]?.open ?? false;
  }

  send(side: Side, bytes: Uint8Array): void {
    if (this.#closing[side] !== undefined) return;
    this.#queues[side].push(bytes);
    this.#deliverSoon(side);
  }

  queuedBytes(side: Side): number {
    let sum = 0;
    for (const bytes of this.#queues[side]) sum += bytes.length;
    return sum;
  }

  flow(): void {
    this.#deliverSoon(0);
    this.#deliverSoon(1);
  }

  /** One side closed by itself, at once: what it had just sent may be lost; then the other sees it, if the network lets it. */
  closedBy(side: Side, because: string): void {
    const queue = this.#queues[side];
    queue.splice(this.#random.below(queue.length + 1));
    this.#closing[side] = because;
    this.#deliverSoon(side);
    this.#link.ended(this);
  }

  /** Process or host of a side is gone. */
  endGone(side: Side, seenByPeer: boolean): void {
    const end = this.#ends[side];
    if (end === undefined || !end.open) return;
    end.open = false;
    if (seenByPeer) this.#closing[side] = 'closed by the peer';
    // What had not left the host is lost.
    const queue = this.#queues[side];
    queue.splice(this.#random.below(queue.length + 1));
    this.#deliverSoon(side);
    this.#link.ended(this);
  }

  break(because: string): void {
    for (const side of [0, 1] as const) {
      const queue = this.#queues[side];
      queue.splice(this.#random.below(queue.length + 1));
      this.#closing[side] = because;
      this.#deliverSoon(side);
    }
  }

  #deliverSoon(from: Side): void {
    if (this.#delivering[from] || this.#link.cut[from]) return;
    const to = this.#ends[other(from)];
    if (to === undefined || !to.told || !to.open || to.life.frozen) return;
    if (this.#queues[from].length === 0 && this.#closing[from] === undefined) return;
    this.#delivering[from] = true;
    this.#time.after(this.#random.between(0.05, this.#link.delayMs), () => {
      this.#delivering[from] = false;
      if (this.#link.cut[from] || to.life.frozen) return;
      this.#deliver(from, to);
      this.#deliverSoon(from);
    });
  }

  #deliver(from: Side, to: End): void {
    const queue = this.#queues[from];
    const taken = queue.splice(0, 1 + this.#random.below(queue.length + 1));
    for (const bytes of this.#fragments(taken)) {
      if (!to.open || !to.life.alive) return;
      to.handler.received(to, bytes);
    }
    const because = this.#closing[from];
    if (queue.length > 0 || because === undefined || !to.open) return;
    to.open = false;
    this.#link.ended(this);
    if (to.life.alive) to.handler.closed(to, because);
  }

  /** Mostly as sent; sometimes cut anywhere. */
  #fragments(chunks: readonly Uint8Array[]): readonly Uint8Array[] {
    if (!this.#random.chance(0.1)) return chunks;
    const bytes = joinChunks(chunks);
    const pieces: Uint8Array[] = [];
    let at = 0;
    while (at < bytes.length) {
      const length = 1 + this.#random.below(this.#random.pick([3, 40, 5000, 100_000]));
      pieces.push(bytes.subarray(at, at + length));
      at += length;
    }
    return pieces;
  }
}

class End implements LinkConnection {
  readonly peer: string;
  readonly handler: LinkHandler;
  readonly life: Life;
  readonly #connection: Connection;
  readonly #side: Side;
  open = true;
  /** The handler knows of it. */
  told = false;

  constructor(connection: Connection, side: Side, peer: string, handler: LinkHandler, life: Life) {
    this.#connection = connection;
    this.#side = side;
    this.peer = peer;
    this.handler = handler;
    this.life = life;
  }

  send(header: Uint8Array, payload: readonly Uint8Array[]): void {
    if (!this.open) return;
    this.#connection.send(this.#side, header);
    for (const chunk of payload) this.#connection.send(this.#side, chunk);
  }

  queuedBytes(): number {
    return this.#connection.queuedBytes(this.#side);
  }

  destroy(because: string): void {
    if (!this.open) return;
    this.open = false;
    this.handler.closed(this, because);
    this.#connection.closedBy(this.#side, because);
  }
}
