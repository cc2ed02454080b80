/**
 * A guest: from the start of its VM to its end. It reads, writes, zeroes, trims and flushes at random, overlapping, with
 * content that no other request has, and checks what it reads. What was not answered when the module went away is asked
 * again when the volumes are served again, as a hypervisor does that stops its VM on errors.
 */
import type { BlockDevice, BlockError } from '../../src/base/block-device.ts';
import { extentSizeBytes } from '../../src/disk/state.ts';
import type { GuestHistory, LossCount, Request } from './guest-history.ts';
import type { Random } from './random.ts';
import { bytesOf, sectorBytes, tagsOf } from './simulated-disk.ts';
import { Life, type SimulatedTime } from './simulated-time.ts';

export interface GuestWorld {
  readonly time: SimulatedTime;
  readonly random: Random;
  readonly histories: readonly GuestHistory[];
  readonly volumeSizeBytes: readonly number[];
  readonly hosts: readonly LossCount[];
  /** A point in the order of all events. */
  nextEvent(): number;
  nextTag(): number;
  /** The guest does not begin anything new. */
  readonly guestsRest: boolean;
  readonly guestThinkMs: number;
  /** It writes everywhere in turn instead of here and there. */
  readonly guestSweeps: boolean;
  acknowledgedCount: number;
  violation(text: string): void;
}

export interface GuestHost {
  readonly name: string;
  /** The volumes, when they are served to a VM that runs. */
  servedVolumes(): readonly BlockDevice[] | undefined;
  /** A request is acknowledged by this host now: who holds it. */
  acknowledgedNow(request: Request): readonly LossCount[];
  /** A flush that covers these requests is answered by this host now. */
  flushedNow(volume: number, covered: readonly Request[]): void;
  /** False: a guest may read what is older than it should be, see SimulatedHost. */
  readonly readsAreChecked: boolean;
}

type Work = Request | { readonly kind: 'flush'; readonly volume: number };

const outstandingMax = 6;
/** Sectors of 4 KiB, and of the area where half of the requests fall, so that they overlap. */
const pageSectors = 8;
const hotSpanSectors = 1024;
const retryMs = 30;

export class SimulatedGuest {
  readonly life = new Life();
  readonly #world: GuestWorld;
  readonly #host: GuestHost;
  /** What was asked for and not answered, with the number of times it was asked. */
  readonly outstanding = new Map<Work, number>();
  #again: Work[] = [];
  #retrying = false;
  #sweptBytes = 0;
  acknowledgedCount = 0;
  flushedCount = 0;

  constructor(world: GuestWorld, host: GuestHost) {
    this.#world = world;
    this.#host = host;
  }

  start(): void {
    this.#think();
  }

  /** The VM is gone: nothing is answered any more, and what was open is open for ever. */
  end(): void {
    this.life.end();
    const over = this.#world.nextEvent();
    for (const work of this.outstanding.keys()) if (work.kind !== 'flush') work.ended = over;
    this.outstanding.clear();
  }

  /** Requests that this host has not answered. */
  openRequests(volume: number): readonly Request[] {
    const open: Request[] = [];
    for (const work of this.outstanding.keys())
      if (work.kind !== 'flush' && work.volume === volume) open.push(work);
    return open;
  }

  /** Its module was restarted: what it had not answered is asked again. */
  disconnected(): void {
    this.#again = [...this.outstanding.keys()];
    this.#retrySoon();
  }

  /** One write, now: for scenarios. */
  write(volume: number, offsetBytes: number, lengthBytes: number, fua = false): Request {
    return this.#change('write', volume, offsetBytes, lengthBytes, fua);
  }

  flush(volume: number): void {
    this.#begin({ kind: 'flush', volume });
  }

  #think(): void {
    const { time, random, guestThinkMs } = this.#world;
    time.after(
      random.between(0, guestThinkMs * 2),
      () => {
        this.#act();
        this.#think();
      },
      this.life,
    );
  }

  #act(): void {
    const { random, guestsRest, volumeSizeBytes } = this.#world;
    if (guestsRest || this.outstanding.size >= outstandingMax || this.#host.servedVolumes() === undefined)
      return;
    const volume = random.below(volumeSizeBytes.length);
    if (this.#world.guestSweeps) return this.#sweep(volume);
    const verb = random.below(100);
    if (verb < 10) return this.flush(volume);
    const { offsetBytes, lengthBytes } = this.#place(volumeSizeBytes[volume] as number);
    if (verb < 20) this.#read(volume, offsetBytes, lengthBytes);
    else if (verb < 24) this.#change('zero', volume, offsetBytes, lengthBytes, random.chance(0.2));
    else if (verb < 28) this.#change('trim', volume, offsetBytes, lengthBytes, random.chance(0.2));
    else this.#change('write', volume, offsetBytes, lengthBytes, random.chance(0.1));
  }

  /** Writes a little everywhere, in turn, and hardly ever flushes: as many extents as the activity log has room for, and more. */
  #sweep(volume: number): void {
    const { random, volumeSizeBytes } = this.#world;
    if (random.chance(0.003)) return this.flush(volume);
    this.#sweptBytes += extentSizeBytes;
    const offset = random.below(16) * sectorBytes;
    this.#change(
      'write',
      volume,
      (this.#sweptBytes % (volumeSizeBytes[volume] as number)) + offset,
      sectorBytes,
      false,
    );
  }

  /** Mostly small and anywhere, also less than a page; some of a page's size; some long. Half of it where others write too. */
  #place(volumeBytes: number): { offsetBytes: number; lengthBytes: number } {
    const { random } = this.#world;
    const sectors = volumeBytes / sectorBytes;
    const span = Math.min(sectors, random.pick([24, hotSpanSectors, sectors, sectors]));
    const pages = random.chance(0.4);
    const length = Math.min(
      pages ? pageSectors * (1 + random.below(random.chance(0.1) ? 24 : 3)) : 1 + random.below(12),
      span,
    );
    const anywhere = random.below(span - length + 1);
    const offset = pages ? anywhere - (anywhere % pageSectors) : anywhere;
    return { offsetBytes: offset * sectorBytes, lengthBytes: length * sectorBytes };
  }

  #change(
    kind: Request['kind'],
    volume: number,
    offsetBytes: number,
    lengthBytes: number,
    fua: boolean,
  ): Request {
    const request: Request = {
      kind,
      volume,
      offsetBytes,
      lengthBytes,
      fua,
      tag: kind === 'write' ? this.#world.nextTag() : 0,
      begun: this.#world.nextEvent(),
      ended: Number.POSITIVE_INFINITY,
      acknowledged: false,
      flushed: false,
      lossesBefore: [],
      holders: [],
    };
    this.#world.histories[volume]?.begun(request);
    this.#begin(request);
    return request;
  }

  #read(volume: number, offsetBytes: number, lengthBytes: number): void {
    const device = this.#host.servedVolumes()?.[volume];
    device?.read(offsetBytes, lengthBytes, {
      done: (error, chunks) => {
        // A VM that is paused sees nothing: what a hung disk answers late may be older than what the peer has taken since.
        const isSeen = this.life.alive && this.#host.servedVolumes() !== undefined;
        if (error !== undefined || !isSeen || !this.#host.readsAreChecked) return;
        tagsOf(chunks, lengthBytes).forEach((tag, index) => {
          const problem = this.#world.histories[volume]?.problemOf(offsetBytes / sectorBytes + index, tag);
          if (problem !== undefined)
            this.#world.violation(`the guest on ${this.#host.name} read: ${problem}`);
        });
      },
    });
  }

  #begin(work: Work): void {
    this.outstanding.set(work, 0);
    this.#ask(work);
  }

  #ask(work: Work): void {
    const device = this.#host.servedVolumes()?.[work.volume];
    if (device === undefined) return this.#askAgain(work);
    const attempt = (this.outstanding.get(work) ?? 0) + 1;
    this.outstanding.set(work, attempt);
    if (work.kind === 'flush') {
      const history = this.#world.histories[work.volume];
      const covered = history?.flushCovers() ?? [];
      device.flush({
        done: (error) => {
          if (this.#answered(work, attempt, error)) {
            history?.flushed(covered);
            this.#host.flushedNow(work.volume, covered);
            this.flushedCount += 1;
          }
        },
      });
      return;
    }
    work.lossesBefore = this.#world.hosts.map((host) => ({ host, losses: host.losses }));
    const { kind, offsetBytes, lengthBytes, fua } = work;
    const completion = { done: (error: BlockError | undefined) => this.#changed(work, attempt, error) };
    if (kind === 'trim') device.trim(offsetBytes, lengthBytes, fua, completion);
    else if (kind === 'zero')
      device.zero(offsetBytes, lengthBytes, { fua, mayPunch: true, fast: false }, completion);
    else {
      const tags = new Uint32Array(lengthBytes / sectorBytes).fill(work.tag);
      device.write(offsetBytes, lengthBytes, [bytesOf(tags)], fua, completion);
    }
  }

  #changed(request: Request, attempt: number, error: BlockError | undefined): void {
    if (!this.#answered(request, attempt, error)) return;
    request.ended = this.#world.nextEvent();
    const holders = this.#host.acknowledgedNow(request);
    request.holders = request.lossesBefore.filter(({ host }) => holders.includes(host));
    this.#world.histories[request.volume]?.acknowledged(request);
    if (request.fua) this.#host.flushedNow(request.volume, [request]);
    this.acknowledgedCount += 1;
    this.#world.acknowledgedCount += 1;
  }

  /** True when the request was done; a closed volume is tried again. */
  #answered(work: Work, attempt: number, error: BlockError | undefined): boolean {
    if (!this.life.alive || this.outstanding.get(work) !== attempt || this.#again.includes(work))
      return false;
    // No room: the hypervisor stops the VM, and asks again when somebody resumes it.
    if (error === 'shutting-down' || error === 'no-space') {
      this.#askAgain(work);
      return false;
    }
    if (error !== undefined) this.#world.violation(`the guest on ${this.#host.name} got ${error}`);
    this.outstanding.delete(work);
    return true;
  }

  #askAgain(work: Work): void {
    if (!this.#again.includes(work)) this.#again.push(work);
    this.#retrySoon();
  }

  #retrySoon(): void {
    if (this.#retrying) return;
    this.#retrying = true;
    this.#world.time.after(
      retryMs,
      () => {
        this.#retrying = false;
        if (this.#again.length === 0) return;
        if (this.#host.servedVolumes() === undefined) return this.#retrySoon();
        for (const work of this.#again.splice(0)) this.#ask(work);
      },
      this.life,
    );
  }
}
