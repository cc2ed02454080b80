/**
 * What must hold in a simulated world, checked from outside the product, by its disks, its promises to guests and its
 * decisions. Each checker says what it looks at; together they do not verify time figures, data that no guest wrote, hosts
 * whose clocks run apart, or more than one module.
 */
import type { PersistentState } from '../../src/disk/state.ts';
import { blockSizeBytes, extentSizeBytes } from '../../src/disk/state.ts';
import type { PairPhase } from '../../src/cluster/pairing.ts';
import type { LossCount, Request } from './guest-history.ts';
import { sectorBytes } from './simulated-disk.ts';
import type { SimulatedHost } from './simulated-host.ts';
import type { World } from './world.ts';

/** Hosts measure time by their own clocks. */
const clockTolerance = 1.03;
/** Compared at once. */
const sectorsPerPiece = 16 * 1024;
const sectorsPerBlock = blockSizeBytes / sectorBytes;

export class Checkers {
  readonly #world: World;
  /** Lineage of the latest acknowledged write, and of the latest resync that was decided. */
  #acknowledgedIn: readonly string[] = [];
  readonly #lastPhase = new Map<SimulatedHost, PairPhase>();
  readonly #generation = new Map<SimulatedHost, number>();
  /** What the flush at the end of the resync under way covers, by volume. */
  #finalFlush: (readonly Request[])[] = [];
  /** Number of resyncs by rule, for the report. */
  readonly resyncs = new Map<string, number>();
  fullCopies = 0;
  /** Unflushed writes that the rules give up: a rebooted host went on without the other one. */
  forfeited = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /**
   * One VM: at no time do two execute. Does not see VMs that are started or paused but not executing, nor that of a host that
   * was frozen as a whole: until its module is told, a hypervisor that stood still goes on with what it had. With a required fence
   * that is no excuse.
   */
  vmRuns(host: SimulatedHost): void {
    const other = this.#world.otherThan(host);
    if (this.#world.allowSplitBrain) return;
    if (!other.vm.executes) return;
    const isExcused = host.guestWasFrozen || other.guestWasFrozen;
    if (isExcused && this.#world.fence !== 'required') return;
    this.#world.violation(`the VM runs on ${host.name} and still on ${other.name}`);
  }

  /**
   * The arbiter's record names one host. A rebooted one may be named only after it has waited for the other one, unless that one's
   * disk has failed: then it is no node to wait for, and what nobody flushed went with two failures.
   */
  recordChanged(holder: string): void {
    const winner = this.#world.hosts.find(({ name }) => name === holder);
    if (winner === undefined) return;
    let given = 0;
    this.#world.histories.forEach((history, volume) => {
      given += history.forfeited(winner, winner.disks[volume]?.seen as Uint32Array);
    });
    this.forfeited += given;
    const waitedMs = this.#world.time.nowMs - winner.bootedMs;
    const isOut = this.#world.otherThan(winner).mirror?.disk.isFinal === true;
    if (given > 0 && !isOut && waitedMs * clockTolerance < 2 * this.#world.timers.claimAfterMs)
      this.#world.violation(
        `${holder} gave up ${given} writes of its peer ${waitedMs.toFixed(0)} ms after its boot`,
      );
  }

  /** No promise broken: what a new guest finds on the disks of its host. Does not look at the other copy. */
  guestBoots(host: SimulatedHost): void {
    if (this.#world.allowSplitBrain) return;
    this.#checkContent(host, 'the guest boots and finds');
  }

  /**
   * One writer: each acknowledged write is in a lineage that goes on from that of the one before. Tells who holds it. What a
   * host had asked its peer for before it was frozen may be answered to its guest after the thaw: both have it then, and
   * what the disks hold is checked as ever.
   */
  acknowledged(host: SimulatedHost, request: Request): readonly LossCount[] {
    const { mirror } = host;
    if (mirror === undefined) throw new Error('only a module acknowledges');
    const { path } = mirror.state;
    const before = this.#acknowledgedIn.at(-1);
    if (before === undefined || path.includes(before)) this.#acknowledgedIn = path;
    else if (this.#world.allowSplitBrain) this.#acknowledgedIn = path;
    else if (request.begun > host.frozenAt)
      this.#world.violation(`${host.name} acknowledges a write in a lineage that diverged from the last one`);
    if (mirror.pairing.phase === 'in-sync' && mirror.primary.soloAllowed) {
      this.#world.violation(`${host.name} is in sync and may acknowledge alone`);
    }
    const holders = this.#holders(host);
    for (const each of holders) this.#holdsNow(each, request, host);
    return holders;
  }

  /** Whose copy an answer of this host stands for. */
  #holders(host: SimulatedHost): readonly SimulatedHost[] {
    const other = this.#world.otherThan(host);
    const both =
      host.mirror?.primary.soloAllowed === false && this.#durable.get(other)?.data === 'up-to-date';
    return both ? [host, other] : [host];
  }

  /**
   * What is acknowledged has been written. Not asked of a host that was frozen since: the other may have gone on; nor of a
   * copy that held it and has lost power since it was asked for.
   */
  #holdsNow(holder: SimulatedHost, request: Request, by: SimulatedHost): void {
    const before = request.lossesBefore.find(({ host }) => host === holder)?.losses;
    if (request.begun < by.frozenAt || before !== holder.losses) return;
    const seen = holder.disks[request.volume]?.seen;
    const first = request.offsetBytes / sectorBytes;
    for (let sector = first; sector < first + request.lengthBytes / sectorBytes; sector += 1)
      if (seen?.[sector] !== request.tag)
        this.#world.violation(
          `${by.name} acknowledges ${request.tag} while sector ${sector} of ${holder.name} has ${seen?.[sector]}`,
        );
  }

  /** What a flush covers is on stable storage of every copy that it stands for. */
  flushed(host: SimulatedHost, volume: number, covered: readonly Request[]): void {
    if (host.guestWasFrozen || this.#world.allowSplitBrain) return;
    const history = this.#world.histories[volume];
    for (const { name, disks, powered } of this.#holders(host)) {
      if (!powered) continue;
      for (const request of covered) {
        const first = request.offsetBytes / sectorBytes;
        for (let sector = first; sector < first + request.lengthBytes / sectorBytes; sector += 1) {
          const problem = history?.problemOfDurable(sector, disks[volume]?.durableTag(sector) ?? 0);
          if (problem !== undefined)
            this.#world.violation(`${host.name} answers a flush that is not durable on ${name}: ${problem}`);
        }
      }
    }
  }

  /** No write was acknowledged in a lineage that this host does not have, and it may write now. */
  isLatest(host: SimulatedHost): boolean {
    return host.mirror?.primary.gate === 'open' && this.hasLatestLineage(host);
  }

  /** The copy of this host was once part of a pair in sync, or is what the pair began with. */
  hasHeldData(host: SimulatedHost): boolean {
    return this.#durable.get(host)?.base !== undefined;
  }

  /** No write was acknowledged in a lineage that this host does not have. */
  hasLatestLineage({ mirror }: SimulatedHost): boolean {
    const last = this.#acknowledgedIn.at(-1);
    return mirror !== undefined && (last === undefined || mirror.state.path.includes(last));
  }

  /** The operator starts `host` from an earlier image: what was acknowledged before is given up. */
  historyGivenUp(host: SimulatedHost): void {
    this.#acknowledgedIn = [];
    this.#world.histories.forEach((history, volume) =>
      history.beginAnew(host.disks[volume]?.seen as Uint32Array),
    );
  }

  readonly #durable = new Map<SimulatedHost, PersistentState>();

  /** What an earlier process had asked to be durable may have become so without an answer. */
  opened(host: SimulatedHost, state: PersistentState): void {
    if (state.data === 'inconsistent' && this.#hadData(host) && host.images.possible && !host.images.complete)
      this.#world.violation(`${host.name} was found inconsistent without an image of what it was`);
    this.#durable.set(host, state);
  }

  #hadData(host: SimulatedHost): boolean {
    const worth = this.#durable.get(host)?.data;
    return worth === 'up-to-date' || worth === 'outdated';
  }

  /** What this host knew is gone. */
  hardwareReplaced(host: SimulatedHost): void {
    this.#durable.delete(host);
    this.#generation.delete(host);
  }

  /** Generations only grow. */
  persisted(host: SimulatedHost, state: PersistentState): void {
    const earlier = this.#durable.get(host);
    // What was a whole copy a moment ago is kept, byte for byte, before it becomes half of one.
    const becomes = state.data === 'inconsistent' && this.#hadData(host);
    if (becomes && host.images.possible && !host.images.equalsDisks())
      this.#world.violation(`${host.name} became inconsistent without an image of what it was`);
    this.#durable.set(host, state);
    const before = this.#generation.get(host) ?? 0;
    // A copy that was given up holds nothing.
    const wasGivenUp =
      state.data === 'fresh' || (earlier?.splitSince !== undefined && state.splitSince === undefined);
    if (state.generation < before && !wasGivenUp) {
      this.#world.violation(`${host.name} went back from generation ${before} to ${state.generation}`);
    }
    this.#generation.set(host, state.generation);
  }

  /** After each event: what begins must have been set up rightly. */
  afterEvent(): void {
    for (const host of this.#world.hosts) {
      host.noteDiskFailure();
      const phase = host.mirror?.pairing.phase ?? 'down';
      const before = this.#lastPhase.get(host);
      if (phase === before) continue;
      this.#lastPhase.set(host, phase);
      // A resync ends with both copies flushed: everything that was acknowledged before that is safe then.
      if (phase === 'finishing') {
        this.#everythingCopied(host);
        this.#finalFlush = this.#world.histories.map((history) => history.flushCovers());
      }
      if (phase === 'in-sync' && before === 'finishing')
        this.#world.histories.forEach((history, volume) => history.flushed(this.#finalFlush[volume] ?? []));
      const rule = host.mirror?.pairing.verdict?.rule;
      this.#world.log(
        `${host.name}: ${phase}${phase === 'down' || phase === 'handshake' ? '' : ` (${rule})`}`,
      );
      if (phase === 'resync-source' || phase === 'compare-source') this.#resyncBegins(host);
      if (phase === 'in-sync') this.coverage(`${host.name} is in sync`);
    }
  }

  /** Its engine has requests under way whose guest is gone: nobody knows which. */
  #worksForGoneGuest(host: SimulatedHost): boolean {
    const asked = this.#world.histories.reduce(
      (sum, { volume }) => sum + (host.guest?.openRequests(volume).length ?? 0),
      0,
    );
    return (host.mirror?.primary.inFlightCount ?? 0) > asked;
  }

  /** A resync ends when nothing differs but what is under way. Not asked while a guest that is gone has something under way. */
  #everythingCopied(host: SimulatedHost): void {
    if (this.#worksForGoneGuest(host)) return;
    this.#eachDifference((volume, sector) =>
      this.#isOpen(volume, sector)
        ? undefined
        : `${host.name} has copied everything, and volume ${volume} sector ${sector} differs`,
    );
  }

  /** A resync examines every block that differs, and is a full copy only for a copy that never held data, or another file. */
  #resyncBegins(host: SimulatedHost): void {
    const { mirror } = host;
    const verdict = mirror?.pairing.verdict;
    if (mirror === undefined || verdict === undefined) return;
    this.resyncs.set(verdict.rule, (this.resyncs.get(verdict.rule) ?? 0) + 1);
    const theirs = mirror.pairing.peerHello?.facts.data;
    const firstSync = theirs === 'fresh' || !this.hasHeldData(this.#world.otherThan(host));
    if (verdict.scope === 'full') {
      this.fullCopies += 1;
      const replaced = mirror.pairing.peerHello?.facts.diskDoubt === 'file-replaced';
      if (!firstSync && !replaced) this.#world.violation(`${host.name} copies everything: ${verdict.rule}`);
    }
    // What was not answered is sent again, whether its guest still lives or not.
    if (this.#worksForGoneGuest(host)) return;
    const bits = (volume: number, block: number): boolean =>
      mirror.replicas[volume]?.bitmap.has(block) ?? false;
    this.#eachDifference((volume, sector) => {
      if (bits(volume, Math.floor(sector / sectorsPerBlock)) || this.#isOpen(volume, sector))
        return undefined;
      return `${host.name} begins a resync (${verdict.rule}) without volume ${volume} sector ${sector}, which differs`;
    });
  }

  /**
   * Every difference between the copies is known to somebody: in a dirty bitmap, an activity log, or a request without
   * answer. Needs both module processes; differences of a copy that never held data do not count.
   */
  coverage(when: string): void {
    const mirrors = this.#world.hosts.map((host) => host.mirror);
    if (mirrors.some((mirror) => mirror === undefined || mirror.state.base === undefined)) return;
    this.#eachDifference((volume, sector) => {
      const block = Math.floor(sector / sectorsPerBlock);
      const extent = Math.floor((sector * sectorBytes) / extentSizeBytes);
      for (const mirror of mirrors) {
        const replica = mirror?.replicas[volume];
        if (replica === undefined || replica.bitmap.has(block) || replica.log.hotExtents().includes(extent))
          return undefined;
      }
      if (this.#isOpen(volume, sector)) return undefined;
      return `${when}: volume ${volume} sector ${sector} differs and nobody knows`;
    });
  }

  /** At rest and in sync: equal copies that keep every promise. */
  equalCopies(): void {
    this.#eachDifference(
      (volume, sector) => `at rest the copies differ in volume ${volume} sector ${sector}`,
    );
    for (const host of this.#world.hosts) this.#checkContent(host, 'at rest');
    const executing = this.#world.hosts.filter(({ guestExecutes }) => guestExecutes);
    if (executing.length > 1) this.#world.violation('at rest the VM runs on both hosts');
  }

  #checkContent(host: SimulatedHost, when: string): void {
    if (this.#world.allowSplitBrain) return;
    this.#world.histories.forEach((history, volume) => {
      const seen = host.disks[volume]?.seen;
      for (const sector of history.sectors()) {
        const problem = history.problemOf(sector, seen?.[sector] ?? 0);
        if (problem !== undefined) return this.#world.violation(`${host.name}: ${when}: ${problem}`);
      }
    });
  }

  #isOpen(volume: number, sector: number): boolean {
    const at = sector * sectorBytes;
    return this.#world.hosts.some((host) =>
      host.guest
        ?.openRequests(volume)
        .some(({ offsetBytes, lengthBytes }) => at >= offsetBytes && at < offsetBytes + lengthBytes),
    );
  }

  /** Calls `problem` with sectors that differ until it answers a sentence. */
  #eachDifference(problem: (volume: number, sector: number) => string | undefined): void {
    const [left, right] = this.#world.hosts;
    left.disks.forEach((disk, volume) => {
      const mine = disk.seen;
      const theirs = right.disks[volume]?.seen as Uint32Array;
      for (let piece = 0; piece < mine.length; piece += sectorsPerPiece) {
        const end = Math.min(piece + sectorsPerPiece, mine.length);
        if (equalWords(mine, theirs, piece, end)) continue;
        for (let sector = piece; sector < end; sector += 1) {
          if (mine[sector] === theirs[sector]) continue;
          const found = problem(volume, sector);
          if (found !== undefined)
            return this.#world.violation(`${found} (${mine[sector]}, ${theirs[sector]})`);
        }
      }
    });
  }
}

function equalWords(left: Uint32Array, right: Uint32Array, from: number, end: number): boolean {
  const bytes = (words: Uint32Array): Buffer =>
    Buffer.from(words.buffer, words.byteOffset + from * 4, (end - from) * 4);
  return bytes(left).equals(bytes(right));
}
