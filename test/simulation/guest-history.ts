/**
 * What guests asked for and were promised, per volume, and from it which contents a sector may have. Independent of the
 * product. The rule: a version is lost for good, and must never be seen, when a later one must have survived. A write
 * must survive from its acknowledgement on: for ever once it is flushed (or FUA), else as long as one of the nodes that
 * held it has lost neither power nor a disk since. A host that is named holder alone has flushed what it has before it asked:
 * from then on that is for ever too.
 *
 * One more case loses unflushed writes by design, and is counted: a host that lost power could not hear the other one for
 * the time that the rules ask for, and was then named holder while the other one still held more.
 *
 * It does not see content that a guest never wrote here, does not order writes that were in flight together, and does
 * not demand that a write which was never acknowledged stays lost once a guest has read the older content.
 */
import { sectorBytes } from './simulated-disk.ts';

export interface Request {
  readonly kind: 'write' | 'zero' | 'trim';
  readonly volume: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly fua: boolean;
  /** Content of its sectors: each has this tag; 0 for zeroes. */
  readonly tag: number;
  /** Points in the order of all events: asked for, and over (acknowledged, or its guest died). */
  readonly begun: number;
  ended: number;
  acknowledged: boolean;
  flushed: boolean;
  /** Losses of every host when it was asked for (the last time). */
  lossesBefore: readonly Holding[];
  /** Hosts that held it when it was acknowledged. */
  holders: readonly Holding[];
}

/** A host that has a write as long as its number of losses is still this. */
export interface Holding {
  readonly host: LossCount;
  readonly losses: number;
}

/** How often a host lost what only its page cache, or its disk, held: power losses and disks that failed. */
export interface LossCount {
  readonly losses: number;
}

const initial: Request = {
  kind: 'write',
  volume: 0,
  offsetBytes: 0,
  lengthBytes: 0,
  fua: true,
  tag: 0,
  begun: -1,
  ended: -1,
  acknowledged: true,
  flushed: true,
  lossesBefore: [],
  holders: [],
};

export class GuestHistory {
  readonly volume: number;
  readonly #sectors = new Map<number, Request[]>();
  #initialTags: Uint32Array;
  /** Acknowledged and not flushed. */
  readonly #unflushed = new Set<Request>();

  constructor(volume: number, initialTags: Uint32Array) {
    this.volume = volume;
    this.#initialTags = initialTags.slice();
  }

  /** The operator gives up everything so far: from now on, this is what was there at first. */
  beginAnew(tags: Uint32Array): void {
    this.#sectors.clear();
    this.#unflushed.clear();
    this.#initialTags = tags.slice();
  }

  begun(request: Request): void {
    this.#eachSector(request, (sector) => {
      const list = this.#sectors.get(sector);
      if (list !== undefined) list.push(request);
      else this.#sectors.set(sector, [{ ...initial, tag: this.#initialTags[sector] as number }, request]);
    });
  }

  acknowledged(request: Request): void {
    request.acknowledged = true;
    if (request.fua) this.#nowFlushed(request);
    else this.#unflushed.add(request);
  }

  /** What a flush that is asked for now promises, when it is answered. */
  flushCovers(): readonly Request[] {
    return [...this.#unflushed].filter(mustSurvive);
  }

  flushed(covered: readonly Request[]): void {
    for (const request of covered) {
      this.#unflushed.delete(request);
      this.#nowFlushed(request);
    }
  }

  /**
   * `winner`, whose disk is `seen`, goes on alone: what it lost by a power loss, and only the other host holds, is given up.
   * Answers how many writes that are.
   */
  forfeited(winner: LossCount, seen: Uint32Array): number {
    const lost: Request[] = [];
    const kept: Request[] = [];
    for (const request of this.#unflushed) {
      if (!mustSurvive(request)) continue;
      if (holds(request, winner)) {
        kept.push(request);
        continue;
      }
      let missing = false;
      this.#eachSector(request, (sector) => {
        missing ||= this.problemOf(sector, seen[sector] as number) !== undefined;
      });
      if (missing) lost.push(request);
      else kept.push(request);
    }
    for (const request of lost) request.holders = [];
    this.flushed(kept);
    return lost.length;
  }

  /** A sentence when a sector must not have this content on stable storage, whatever a page cache holds. */
  problemOfDurable(sector: number, tag: number): string | undefined {
    return this.problemOf(sector, tag, ({ flushed }) => flushed);
  }

  /** A sentence when a sector must not have this content. */
  problemOf(sector: number, tag: number, survives = mustSurvive): string | undefined {
    const list = this.#sectors.get(sector);
    if (list === undefined) {
      return this.#initialTags[sector] === tag
        ? undefined
        : `sector ${sector} has ${tag} and was never written; wanted ${this.#initialTags[sector]}`;
    }
    let newer: Request | undefined;
    for (const candidate of list) {
      if (candidate.tag !== tag) continue;
      newer = list.find((later) => candidate.ended < later.begun && survives(later));
      if (newer === undefined) return undefined;
    }
    const found = newer === undefined ? 'is no version that may be there' : 'is older than must be';
    const versions = list.map(describe).join(', ');
    return `volume ${this.volume} sector ${sector} has ${tag}, which ${found}; versions ${versions}`;
  }

  /** Sectors that were ever written. */
  sectors(): Iterable<number> {
    return this.#sectors.keys();
  }

  #nowFlushed(request: Request): void {
    request.flushed = true;
    this.#eachSector(request, (sector) => {
      const list = this.#sectors.get(sector);
      // The history it was asked for in was given up.
      if (list === undefined) return;
      this.#sectors.set(
        sector,
        list.filter((each) => each.ended >= request.begun),
      );
    });
  }

  #eachSector(request: Request, visit: (sector: number) => void): void {
    const first = request.offsetBytes / sectorBytes;
    const end = first + request.lengthBytes / sectorBytes;
    for (let sector = first; sector < end; sector += 1) visit(sector);
  }
}

function mustSurvive(request: Request): boolean {
  if (!request.acknowledged) return false;
  return request.flushed || request.holders.some(({ host, losses }) => host.losses === losses);
}

function holds({ holders }: Request, by: LossCount): boolean {
  return holders.some(({ host, losses }) => host === by && host.losses === losses);
}

function describe(request: Request): string {
  const promise = request.flushed ? 'flushed' : request.acknowledged ? 'acknowledged' : 'open';
  return `${request.tag} (${request.kind} ${promise}, ${request.begun}..${request.ended}${mustSurvive(request) ? ', must survive' : ''})`;
}
