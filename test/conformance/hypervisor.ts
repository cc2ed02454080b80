/**
 * What every hypervisor adapter must do, as one suite that runs against each of them.
 *
 * Not verified here: that a stopped VM cannot write (the lab does that), and hypervisors whose own service fails.
 */
import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import type { Hypervisor, HypervisorEvent, Wait } from '../../hypervisors/port.ts';
import { until } from '../until.ts';

/** One VM in its surroundings. Faults last until the VM is started again. */
export interface HypervisorFixture {
  /** A new adapter object for the same VM, as a new module process would make it. */
  adapter(): Hypervisor;
  /** Grows as long as the guest runs, and only then. Counts from the first start. */
  progress(): number;
  /** The VM ends without a word. */
  crash(): Promise<void>;
  /** Nothing but `destroy` works on the VM any more. */
  hang(): Promise<void>;
  /** The next start fails; the result makes starts work again. */
  breakStart(): Promise<() => Promise<void>>;
  /** Somebody else pauses the VM. */
  pauseElsewhere(): Promise<void>;
  /** The guest that starts next does not feel the power button during its first instants. */
  readonly deaf?: () => void;
  /** The disk server dies under load and comes back. */
  readonly interruptDisk?: () => Promise<void>;
  /** I/O errors that the guest saw. */
  ioErrors(): number;
  /** Nothing of the VM is left. */
  dispose(): Promise<void>;
}

export interface ConformanceOptions {
  readonly name: string;
  /** From start to the first progress, and the deadline of calls, ms. */
  readonly callMs: number;
  /** Within this time a guest that runs makes progress, ms. */
  readonly progressMs: number;
  /** The fixture has `deaf`. */
  readonly deafness: boolean;
  /** The fixture has `interruptDisk`. */
  readonly diskServer: boolean;
}

/** For calls that cannot succeed, ms. */
const hopelessMs = 300;

function watch(hypervisor: Hypervisor): HypervisorEvent[] {
  const events: HypervisorEvent[] = [];
  hypervisor.subscribe((event) => events.push(event));
  return events;
}

async function refusal(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => 'no refusal',
    (error: WorldError) => error.code,
  );
}

export function hypervisorConformance(
  options: ConformanceOptions,
  make: () => Promise<HypervisorFixture>,
): void {
  describe(`hypervisor adapter ${options.name}`, () => {
    const wait: Wait = { timeoutMs: options.callMs };
    let fixture: HypervisorFixture;
    let hypervisor: Hypervisor;
    let events: HypervisorEvent[];

    beforeEach(async () => {
      fixture = await make();
      hypervisor = fixture.adapter();
      events = watch(hypervisor);
      await hypervisor.adopt(wait);
    });

    afterEach(async () => {
      hypervisor.close();
      await fixture.dispose();
    });

    const moves = async () => {
      const before = fixture.progress();
      await until('the guest goes on', () => fixture.progress() > before, options.callMs);
    };

    const standsStill = async () => {
      // What was in flight may still end.
      await new Promise((resolve) => setTimeout(resolve, options.progressMs));
      const before = fixture.progress();
      await new Promise((resolve) => setTimeout(resolve, options.progressMs));
      expect(fixture.progress()).to.equal(before);
    };

    const eventOf = (type: HypervisorEvent['type']) =>
      until(`the event ${type}`, () => events.find((event) => event.type === type), options.callMs);

    it('a VM that was never started is stopped', async () => {
      expect(hypervisor.state()).to.equal('stopped');
      expect(await hypervisor.inspect(wait)).to.include({ exists: true, state: 'stopped' });
      expect((await hypervisor.health(wait)).usable).to.equal(true);
      expect(await hypervisor.shutdown(wait)).to.equal('stopped');
      await hypervisor.destroy(wait);
      expect(events).to.deep.equal([]);
    });

    it('a start runs the guest and says so once', async () => {
      await hypervisor.start(wait);
      expect(hypervisor.state()).to.equal('running');
      await moves();
      expect(events).to.deep.equal([{ type: 'started' }]);
      expect(await hypervisor.inspect(wait)).to.include({ exists: true, state: 'running' });
    });

    it('a guest that runs is alive, as far as the hypervisor can tell; whoever asks has an answer in time', async () => {
      await hypervisor.start(wait);
      const { guestPulse } = hypervisor.capabilities;
      if (guestPulse !== undefined) expect((await guestPulse(wait)).alive).to.equal(true);
      await fixture.hang();
      if (guestPulse !== undefined)
        expect(await guestPulse({ timeoutMs: hopelessMs })).to.have.property('alive');
    });

    it('a second start is refused, also by an adapter that has not seen the first', async () => {
      const first = hypervisor.start(wait);
      expect(await refusal(hypervisor.start(wait))).to.equal('vm-already-running');
      await first;
      expect(await refusal(hypervisor.start(wait))).to.equal('vm-already-running');
      const stranger = fixture.adapter();
      expect(await refusal(stranger.start(wait))).to.equal('vm-already-running');
      stranger.close();
      expect(hypervisor.state()).to.equal('running');
    });

    it('a start that fails leaves nothing running and can be repeated', async () => {
      const repair = await fixture.breakStart();
      expect(await refusal(hypervisor.start(wait))).to.equal('vm-start-failed');
      expect(hypervisor.state()).to.equal('stopped');
      await repair();
      await hypervisor.start(wait);
      expect(hypervisor.state()).to.equal('running');
    });

    it('a start that is given up leaves nothing running', async () => {
      const aborting = new AbortController();
      const attempt = hypervisor.start({ ...wait, signal: aborting.signal });
      aborting.abort();
      expect(await refusal(attempt)).to.be.oneOf(['vm-start-failed', 'vm-action-failed']);
      expect(hypervisor.state()).to.equal('stopped');
      expect(await hypervisor.inspect(wait)).to.include({ state: 'stopped' });
    });

    it('the VM outlives the adapter object, and the next one adopts it', async () => {
      await hypervisor.start(wait);
      hypervisor.close();
      const next = fixture.adapter();
      expect(next.state()).to.equal('unknown');
      const nextEvents = watch(next);
      expect(await next.adopt(wait)).to.include({ exists: true, state: 'running' });
      await moves();
      await next.suspend(wait);
      await next.destroy(wait);
      expect(next.state()).to.equal('stopped');
      expect(nextEvents).to.deep.equal([
        { type: 'paused', reason: 'operator' },
        { type: 'stopped', reason: 'destroyed' },
      ]);
      expect(events).to.deep.equal([{ type: 'started' }]);
      next.close();
    });

    it('a VM that died while nobody looked is adopted as stopped', async () => {
      await hypervisor.start(wait);
      hypervisor.close();
      await fixture.crash();
      const next = fixture.adapter();
      expect(await next.adopt(wait)).to.include({ state: 'stopped', pid: undefined });
      next.close();
    });

    it('a suspended guest stands still until it is resumed', async () => {
      await hypervisor.start(wait);
      await moves();
      await hypervisor.suspend(wait);
      await hypervisor.suspend(wait);
      expect(hypervisor.state()).to.equal('paused');
      await standsStill();
      await hypervisor.resume(wait);
      await hypervisor.resume(wait);
      await moves();
      expect(events).to.deep.equal([
        { type: 'started' },
        { type: 'paused', reason: 'operator' },
        { type: 'resumed' },
      ]);
    });

    it('a pause by somebody else is noticed, and found again after an adoption', async () => {
      await hypervisor.start(wait);
      await fixture.pauseElsewhere();
      expect(await eventOf('paused')).to.deep.equal({ type: 'paused', reason: 'elsewhere' });
      await standsStill();
      hypervisor.close();
      hypervisor = fixture.adapter();
      expect(await hypervisor.adopt(wait)).to.include({ state: 'paused', pauseReason: 'elsewhere' });
      await hypervisor.resume(wait);
      await moves();
    });

    it('a graceful shutdown ends the guest', async () => {
      await hypervisor.start(wait);
      await moves();
      expect(await hypervisor.shutdown(wait)).to.equal('stopped');
      expect(hypervisor.state()).to.equal('stopped');
      expect(events.at(-1)).to.deep.equal({ type: 'stopped', reason: 'guest-shutdown' });
      expect(await hypervisor.inspect(wait)).to.include({ state: 'stopped' });
    });

    it('a paused VM is destroyed', async () => {
      await hypervisor.start(wait);
      await hypervisor.suspend(wait);
      expect(await refusal(hypervisor.shutdown(wait))).to.equal('vm-action-failed');
      await hypervisor.destroy(wait);
      expect(hypervisor.state()).to.equal('stopped');
      expect(events.at(-1)).to.deep.equal({ type: 'stopped', reason: 'destroyed' });
      await hypervisor.destroy(wait);
      expect(await refusal(hypervisor.resume(wait))).to.equal('vm-action-failed');
      expect(events.filter(({ type }) => type === 'stopped')).to.have.length(1);
    });

    it('a hung VM answers nothing by the deadline, and is destroyed all the same', async () => {
      await hypervisor.start(wait);
      await fixture.hang();
      const short = { timeoutMs: hopelessMs };
      expect(await refusal(hypervisor.suspend(short))).to.equal('vm-action-failed');
      expect(await hypervisor.inspect(short)).to.include({ state: 'unknown' });
      await hypervisor.destroy(wait);
      expect(hypervisor.state()).to.equal('stopped');
      expect(events.at(-1)).to.deep.equal({ type: 'stopped', reason: 'destroyed' });
    });

    it('a VM that is killed from outside is reported, and can be started again', async () => {
      await hypervisor.start(wait);
      await fixture.crash();
      expect(await eventOf('stopped')).to.deep.equal({ type: 'stopped', reason: 'crashed' });
      expect(hypervisor.state()).to.equal('stopped');
      await hypervisor.start(wait);
      await moves();
    });

    if (options.deafness) {
      it('a guest that does not shut down is left running', async () => {
        fixture.deaf?.();
        await hypervisor.start(wait);
        expect(await hypervisor.shutdown({ timeoutMs: hopelessMs })).to.equal('still-running');
        expect(hypervisor.state()).to.equal('running');
        await moves();
      });
    }

    if (options.diskServer) {
      it('a disk server that dies under load and comes back is no error for the guest', async () => {
        await hypervisor.start(wait);
        await moves();
        await fixture.interruptDisk?.();
        await moves();
        await moves();
        expect(fixture.ioErrors()).to.equal(0);
        expect(events).to.deep.equal([{ type: 'started' }]);
      });
    }
  });
}
