/** All networks between the two hosts of a simulated world. What befalls the link as a whole befalls each of them. */
import type { LinkTransport } from '../../src/link/transport.ts';
import { Random } from './random.ts';
import { type Side, SimulatedLink } from './simulated-link.ts';
import type { Life, SimulatedTime } from './simulated-time.ts';

export class SimulatedNetworks {
  /** In the order of preference. */
  readonly each: readonly SimulatedLink[];

  /** Every network but the first has randomness of its own, so that a world differs little from one with a single network. */
  constructor(
    count: number,
    nodes: readonly [string, string],
    time: SimulatedTime,
    random: Random,
    seed: number,
  ) {
    this.each = Array.from({ length: count }, (_none, index) => {
      const own = index === 0 ? random : new Random(seed * count + index);
      return new SimulatedLink(nodes, time, own);
    });
  }

  /** Largest delay of a delivery, ms. */
  set delayMs(delayMs: number) {
    for (const network of this.each) network.delayMs = delayMs;
  }

  /** The transports of one process. */
  transportsOf(side: Side, life: Life): readonly LinkTransport[] {
    return this.each.map((network) => network.transportOf(side, life));
  }

  processKilled(side: Side): void {
    for (const network of this.each) network.processKilled(side);
  }

  powerLost(side: Side): void {
    for (const network of this.each) network.powerLost(side);
  }

  blip(): void {
    for (const network of this.each) network.blip();
  }

  thawed(): void {
    for (const network of this.each) network.thawed();
  }

  /** Cuts or heals every network. */
  setCut(fromFirst: boolean, fromSecond: boolean): void {
    for (const network of this.each) network.setCut(fromFirst, fromSecond);
  }
}
