import { expect } from 'chai';
import {
  giveMemoryBackWhenQuiet,
  grownBytesMin,
  lookIntervalMs,
  type MemoryPort,
  ownMemory,
  quietProcessorPart,
  sweepMs,
} from '../../src/platform/idle-memory.ts';
import { VirtualClock } from '../base/virtual-clock.ts';

const baseBytes = 80_000_000;

class FakeMemory implements MemoryPort {
  usedMs = 0;
  bytes = baseBytes;
  readonly calls: string[] = [];

  processorMs(): number {
    return this.usedMs;
  }
  residentBytes(): number {
    return this.bytes;
  }
  collect(): void {
    this.calls.push('collect');
  }
  trim(): void {
    this.calls.push('trim');
    this.bytes = baseBytes;
  }
}

describe('memory of an idle process', () => {
  const busyMs = quietProcessorPart * lookIntervalMs;
  let clock: VirtualClock;
  let memory: FakeMemory;

  beforeEach(() => {
    clock = new VirtualClock();
    memory = new FakeMemory();
  });

  /** Lets time pass, as many looks as wanted, with this processor time in each. */
  function pass(looks: number, usedMs: number): void {
    for (let look = 0; look < looks; look += 1) {
      memory.usedMs += usedMs;
      clock.advance(lookIntervalMs);
    }
  }

  it('is collected once after start, and the heap trimmed when the buffers are freed', () => {
    const timer = giveMemoryBackWhenQuiet(clock, memory);
    pass(1, 0);
    expect(memory.calls).to.deep.equal(['collect']);
    clock.advance(sweepMs);
    expect(memory.calls).to.deep.equal(['collect', 'trim']);
    pass(20, busyMs / 2);
    expect(memory.calls).to.deep.equal(['collect', 'trim']);
    timer.cancel();
    expect(clock.pendingCount).to.equal(0);
  });

  it('is left alone while a load lasts, and given back after it', () => {
    giveMemoryBackWhenQuiet(clock, memory);
    memory.bytes += 10 * grownBytesMin;
    pass(10, busyMs);
    expect(memory.calls).to.deep.equal([]);
    pass(2, 0);
    expect(memory.calls).to.deep.equal(['collect', 'trim']);
  });

  it('grows a little under a guest that does little: nothing, until there is enough to give back', () => {
    giveMemoryBackWhenQuiet(clock, memory);
    pass(2, 0);
    memory.bytes += grownBytesMin - 1;
    pass(5, busyMs / 2);
    expect(memory.calls).to.have.lengthOf(2);
    memory.bytes += 1;
    pass(5, busyMs / 2);
    expect(memory.calls).to.have.lengthOf(4);
  });

  it('is measured, collected and trimmed in this process without complaint', () => {
    expect(ownMemory.residentBytes()).to.be.greaterThan(10_000_000);
    expect(ownMemory.processorMs()).to.be.greaterThan(0);
    ownMemory.collect();
    ownMemory.trim();
  });
});
