/**
 * One host: its disks and metadata file, which survive; its boot; the module process with the shipped `Mirror`; the VM; and
 * the supervisor, with the shipped watch.
 */
import { silentLog } from '../../src/base/log.ts';
import { type DiskFileFacts, worseDoubt } from '../../src/cluster/disk-file-facts.ts';
import { Mirror } from '../../src/cluster/mirror.ts';
import type { MirrorConfig, MirrorPorts, VmState } from '../../src/cluster/mirror-ports.ts';
import { createMetadata, openMetadata } from '../../src/disk/metadata-store.ts';
import type { OpenedMetadata } from '../../src/disk/metadata-store.ts';
import type { DiskDoubt, PersistentState } from '../../src/disk/state.ts';
import type { BlockDevice } from '../../src/base/block-device.ts';
import type { WorldError } from '../../src/base/errors.ts';
import type { LossCount, Request } from './guest-history.ts';
import { type GuestHost, SimulatedGuest } from './simulated-guest.ts';
import { Random } from './random.ts';
import { SimulatedChecks } from './simulated-checks.ts';
import { SimulatedDisk, tagChecksum } from './simulated-disk.ts';
import { SimulatedImages } from './simulated-images.ts';
import type { Side } from './simulated-link.ts';
import { SimulatedSideFiles } from './simulated-side-files.ts';
import { metadataPort, ringBlocks, TimedStorage } from './simulated-metadata.ts';
import { Life } from './simulated-time.ts';
import { SimulatedSupervisor } from './simulated-supervisor.ts';
import { SimulatedVm } from './simulated-vm.ts';
import type { World } from './world.ts';

/** What pausing a VM past its module takes at most, ms. */
const pausedWithinMs = 50;

export type Command = 'start' | 'stop' | 'prim' | 'second' | 'swap' | 'acceptDisk';

interface Running {
  readonly life: Life;
  readonly mirror: Mirror;
}

export class SimulatedHost implements GuestHost, LossCount {
  readonly world: World;
  readonly name: string;
  readonly side: Side;
  readonly disks: readonly SimulatedDisk[];
  readonly storage: TimedStorage;
  readonly images: SimulatedImages;
  readonly sideFiles: SimulatedSideFiles;
  readonly vm: SimulatedVm;
  readonly checks: SimulatedChecks;
  losses = 0;
  /** The process that gave its disk up, counted once. */
  #failedLife: Life | undefined;
  powered = true;
  bootedMs = Number.NEGATIVE_INFINITY;
  /** What the supervisor wants of the module. */
  run: 'started' | 'stopped' = 'started';
  guest: SimulatedGuest | undefined;
  /** What the operator asked for last. */
  lastCommand: Command | undefined;
  /** How fast its clock runs; 1 is true time. */
  clockRate = 1;
  /** Was frozen as a whole since the start of its present guest: until its module is told, two guests may execute. */
  guestWasFrozen = false;
  /** When that was, in the order of all events. */
  frozenAt = Number.NEGATIVE_INFINITY;
  /** What the paths of the disk files name, beside the files that are open. */
  filePath: DiskFileFacts['path'] = 'same';
  /** Everything of the host that is neither process nor guest: the supervisor, the hypervisor. */
  #machine = new Life();
  #supervisor: SimulatedSupervisor | undefined;
  /** The process, from its start on; `running` once its metadata are open. */
  #life: Life | undefined;
  #running: Running | undefined;
  #bootId: string;
  #exporting = false;
  /** The run-time directory, which a boot empties. */
  #doubtMark: DiskDoubt = 'none';
  readonly #random: Random;

  constructor(world: World, name: string, side: Side) {
    this.world = world;
    this.name = name;
    this.side = side;
    const { random, time } = world;
    this.#random = random;
    this.#bootId = random.hexId();
    this.disks = world.volumes.map(({ sizeBytes }) => new SimulatedDisk(sizeBytes, time, random));
    this.images = new SimulatedImages(this.disks, time, random);
    // A generator of its own: what a run without a split draws stays what it is.
    this.sideFiles = new SimulatedSideFiles(this.disks, time, new Random(world.seed * 2 + side));
    this.checks = new SimulatedChecks(this);
    this.storage = new TimedStorage(world.volumes, time, random);
    createMetadata(this.storage, this.#freshState(), () => {}, ringBlocks);
    this.storage.settle();
    this.vm = new SimulatedVm(time, random, () => this.#machine, {
      changed: (state) => {
        world.log(`${name}: vm ${state}`);
        if (state === 'starting' && !this.#machine.frozen) this.guestWasFrozen = false;
        if (state === 'running') world.checkers.vmRuns(this);
        this.#tellModule(state);
      },
      booted: () => {
        if (this.readsAreChecked) world.checkers.guestBoots(this);
        this.#guestBegins();
      },
      ended: () => this.#guestEnds(),
      mayStart: (again) => this.checks.module?.vmMayStart(again),
    });
  }

  /** A module that is frozen learns of it when it goes on; one that knows brings a VM that was paused past it where it wants it. */
  #tellModule(state: VmState): void {
    const running = this.#running;
    if (running === undefined) return;
    const tell = (): void => {
      this.checks.module?.vmChanged(state);
      running.mirror.vmChanged(state);
      if (state === this.vm.state) this.vm.moduleKnows();
    };
    if (running.life.frozen) this.world.time.after(0, tell, running.life);
    else tell();
  }

  #guestBegins(): void {
    this.guest = new SimulatedGuest(this.world, this);
    this.guest.start();
  }

  #guestEnds(): void {
    this.guest?.end();
    this.guest = undefined;
  }

  /** A disk error counts as the failure of a node: what only this copy held unflushed may be lost with it. */
  noteDiskFailure(): void {
    if (this.#running?.mirror.disk.isFinal !== true || this.#failedLife === this.#life) return;
    this.#failedLife = this.#life;
    this.losses += 1;
  }

  /** A disk whose device works is not given up, however busy others keep it. */
  #givesDiskUp(): void {
    const { world, disks, storage } = this;
    const { nowMs } = world.time;
    if (![storage, ...disks].some(({ hung, tooLateMs }) => hung || nowMs <= tooLateMs))
      world.violation(`${this.name} gives a disk up that works`);
  }

  /** The module, while its process runs. */
  get mirror(): Mirror | undefined {
    return this.#running?.mirror;
  }
  get processAlive(): boolean {
    return this.#life !== undefined;
  }
  get exporting(): boolean {
    return this.#exporting;
  }
  get processFrozen(): boolean {
    return this.#life?.frozen ?? false;
  }
  get machineFrozen(): boolean {
    return this.#machine.frozen;
  }
  /** A VM, or without one a client of the exports, is at work. */
  get guestExecutes(): boolean {
    return this.world.hasVm ? this.vm.executes : this.guest !== undefined;
  }

  /**
   * The guest of a host that was frozen as a whole, and a client without a VM that would be paused, may read what the other
   * node has overwritten since, until the module learns of it: a read needs no second node. What they write is checked.
   */
  get readsAreChecked(): boolean {
    if (this.world.allowSplitBrain) return false;
    return (this.world.hasVm && !this.guestWasFrozen) || this.world.checkers.isLatest(this);
  }

  servedVolumes(): readonly BlockDevice[] | undefined {
    if (!this.guestExecutes || !this.#exporting || this.processFrozen) return undefined;
    return this.#running?.mirror.volumes;
  }

  acknowledgedNow(request: Request): readonly LossCount[] {
    return this.world.checkers.acknowledged(this, request);
  }

  flushedNow(volume: number, covered: readonly Request[]): void {
    this.world.checkers.flushed(this, volume, covered);
  }

  // ---- the process --------------------------------------------------------------------------------------------------

  startProcess(): void {
    if (!this.powered || this.#life !== undefined) return;
    if (this.#supervisor === undefined) return this.#startSupervisor();
    const life = new Life();
    this.#life = life;
    this.storage.openedBy(life);
    this.world.log(`${this.name}: process starts`);
    openMetadata(this.storage, (outcome) => {
      if (!life.alive) return;
      if (outcome.kind === 'opened') return this.#begin(life, outcome.opened);
      if (!this.storage.failedThisProcess) this.world.violation(`metadata refused: ${outcome.error.message}`);
      this.#exits(life, outcome.error.message);
    });
  }

  #startSupervisor(): void {
    const machine = this.#machine;
    const { time } = this.world;
    const processLife = (): Life | undefined => this.#life;
    const answer = (): (() => number | undefined) | undefined => {
      const mirror = this.#running?.mirror;
      return mirror === undefined ? undefined : () => mirror.pauseWithinMs;
    };
    this.#supervisor = new SimulatedSupervisor(this.world, machine, this.clockRate, {
      get processLife() {
        return processLife();
      },
      get answer() {
        return answer();
      },
      startProcess: () => this.startProcess(),
      killProcess: () => this.kill(),
      pauseVm: (done) => {
        if (this.world.hasVm) this.vm.pauseFromOutside();
        time.after(pausedWithinMs, done, machine);
      },
    });
    this.#supervisor.boot();
  }

  #begin(life: Life, opened: OpenedMetadata): void {
    const { world, name } = this;
    world.checkers.opened(this, opened.state);
    const config: MirrorConfig = {
      timers: world.timers,
      failover: true,
      allowSplitBrain: world.allowSplitBrain,
      preferred: undefined,
      bootId: this.#bootId,
      instance: world.random.hexId(),
      hasVm: world.hasVm,
    };
    const metadata = metadataPort(opened.store);
    const ports: MirrorPorts = {
      clock: world.time.clockOf(life, this.clockRate),
      log: {
        ...silentLog,
        info: (_event, fields) => {
          if (fields?.['rule'] === 'disk-hung') this.#givesDiskUp();
        },
      },
      ids: { operationId: () => world.random.hexId() },
      transports: world.link.transportsOf(this.side, life),
      arbiter: world.hasArbiter ? world.arbiter.reachedBy(name, life) : undefined,
      fence:
        world.fence === undefined
          ? undefined
          : {
              fence: world.fences.of(world.otherThan(this), life),
              kind: 'simulated',
              required: world.fence === 'required',
              checkIntervalMs: undefined,
            },
      metadata: {
        ...metadata,
        // On the device of the first volume.
        work: () => (this.disks[0] as SimulatedDisk).work,
        persist: (state, done) =>
          metadata.persist(state, (ok) => {
            if (!life.alive) return;
            if (ok) world.checkers.persisted(this, state);
            done(ok);
          }),
      },
      keptImages: this.images.openedBy(life),
      sideFiles: this.sideFiles.openedBy(life),
      checksum: tagChecksum,
      vm: {
        want: (wish, because) => {
          if (!life.alive || !world.hasVm) return;
          world.log(`${name}: wants vm ${wish}: ${because}`);
          this.vm.want(wish);
        },
      },
      doubtMark: {
        note: (doubt) => {
          if (!life.alive) return;
          // A node in doubt is overwritten by a peer that is up to date: the doubt is a failure of the node.
          if (this.#doubtMark === 'none') this.losses += 1;
          this.#doubtMark = doubt;
        },
        forget: () => {
          if (life.alive) this.#doubtMark = 'none';
        },
      },
      inspectFiles: (done) => {
        const free = (disk: SimulatedDisk): number =>
          disk.failing === 'no-space' ? 0 : Number.MAX_SAFE_INTEGER;
        done(
          world.volumes.map(({ name: volume, sizeBytes }, index) => ({
            volume,
            file: volume,
            path: this.filePath,
            freeBytes: free(this.disks[index] as SimulatedDisk),
            unallocatedBytes: sizeBytes,
          })),
        );
      },
      exports: { serve: (available, because) => this.#serve(life, available, because) },
      peerChecks: (message) => this.checks.module?.observe(message),
      wallTime: () => world.time.nowMs.toFixed(0),
      fatal: (because) => {
        if (!this.storage.failedThisProcess) world.violation(`${name} ended: ${because}`);
        this.#exits(life, because);
      },
    };
    const volumes = opened.volumes.map((volume, index) => ({
      name: volume.name,
      device: (this.disks[index] as SimulatedDisk).openedBy(life),
      work: () => (this.disks[index] as SimulatedDisk).work,
      bitmap: volume.bitmap,
      hotExtents: volume.hotExtents,
    }));
    const state = { ...opened.state, diskDoubt: worseDoubt(opened.state.diskDoubt, this.#doubtMark) };
    // As the module does: a cache that may lie is not looked at.
    if (state.diskDoubt === 'flush-failed') for (const disk of this.disks) disk.forgetCached();
    const mirror = new Mirror(config, state, volumes, ports);
    this.#running = { life, mirror };
    mirror.vmChanged(world.hasVm ? this.vm.state : 'none');
    const checks = this.checks.begin(life, mirror);
    if (this.run === 'started' && checks?.waits !== true) mirror.start();
    else mirror.stayStopped();
    checks?.look();
  }

  #serve(life: Life, available: boolean, because: string): void {
    if (!life.alive || this.#exporting === available) return;
    this.world.log(`${this.name}: ${available ? 'serves' : 'does not serve'}: ${because}`);
    this.#exporting = available;
    if (this.world.hasVm) {
      if (!available) this.guest?.disconnected();
    } else if (available) {
      this.guestWasFrozen = false;
      this.#guestBegins();
    } else this.#guestEnds();
  }

  /** The process ends by itself, after the event that made it do so; the supervisor starts it again. */
  #exits(life: Life, because: string): void {
    this.world.log(`${this.name}: ends: ${because}`);
    this.world.time.after(0, () => this.kill(), life);
  }

  #endProcess(): Life | undefined {
    const life = this.#life;
    life?.end();
    this.#life = undefined;
    this.#running = undefined;
    this.checks.ended();
    this.vm.moduleGone();
    this.#exporting = false;
    if (!this.world.hasVm) this.#guestEnds();
    return life;
  }

  // ---- faults -----------------------------------------------------------------------------------------------------

  /** SIGKILL; the supervisor starts it again. */
  kill(restartAfterMs?: number): void {
    if (this.#life === undefined) return;
    this.world.log(`${this.name}: PROCESS KILLED`);
    const life = this.#endProcess() as Life;
    for (const disk of this.disks) disk.processKilled(life);
    this.storage.crashProcess();
    this.world.link.processKilled(this.side);
    this.guest?.disconnected();
    this.#supervisor?.processEnded(restartAfterMs ?? this.#random.between(100, 700));
  }

  /** SIGSTOP, and after a while SIGCONT. Its sockets stay open and take what the kernel has room for. */
  freezeProcess(forMs: number): void {
    const life = this.#life;
    if (life === undefined || life.frozen || this.#machine.frozen) return;
    const { time, link } = this.world;
    this.world.log(`${this.name}: PROCESS STOPS for ${forMs.toFixed(0)} ms`);
    time.freeze(life);
    const thaw = (): void => {
      if (!life.alive || !life.frozen) return;
      this.world.log(`${this.name}: PROCESS GOES ON`);
      time.thaw(life);
      link.thawed();
    };
    time.after(forMs, thaw, this.#machine);
  }

  /** The host as a whole stops, with its VM, and goes on later as if nothing had been. Its network stays silent. */
  freezeHost(forMs: number): void {
    if (!this.powered || this.#machine.frozen) return;
    const { time, link } = this.world;
    this.world.log(`${this.name}: HOST FREEZES for ${forMs.toFixed(0)} ms`);
    const machine = this.#machine;
    this.guestWasFrozen = true;
    this.frozenAt = this.world.nextEvent();
    const lives = [machine, this.#life, this.guest?.life].filter((life) => life?.frozen === false) as Life[];
    for (const life of lives) time.freeze(life);
    time.after(forMs, () => {
      if (!machine.alive) return;
      this.world.log(`${this.name}: HOST GOES ON`);
      for (const life of lives) time.thaw(life);
      link.thawed();
    });
  }

  losePower(): void {
    if (!this.powered) return;
    this.world.log(`${this.name}: POWER LOST`);
    this.losses += 1;
    this.powered = false;
    this.#endProcess();
    this.vm.powerLost();
    this.#machine.end();
    this.#machine = new Life();
    this.#supervisor = undefined;
    for (const disk of this.disks) disk.powerLost();
    const share = this.#random.pick([0, 0.5, 1]);
    this.storage.losePower(() => this.#random.chance(share));
    this.world.link.powerLost(this.side);
    this.#bootId = this.#random.hexId();
    this.#doubtMark = 'none';
  }

  /** Its disks and metadata are gone, and there are new ones that hold nothing. Only without power. */
  replaceHardware(): void {
    this.world.log(`${this.name}: NEW HARDWARE`);
    for (const disk of this.disks) disk.fill(0, new Uint32Array(disk.seen.length));
    createMetadata(this.storage, this.#freshState(), () => {}, ringBlocks);
    this.storage.settle();
    this.images.complete = undefined;
    this.world.checkers.hardwareReplaced(this);
  }

  boot(): void {
    if (this.powered) return;
    this.world.log(`${this.name}: boots`);
    this.powered = true;
    this.bootedMs = this.world.time.nowMs;
    this.startProcess();
  }

  // ---- operator ---------------------------------------------------------------------------------------------------

  /** A command of the operator; `done` is called with its outcome, or never when the process dies. */
  command(verb: Command, done: (error?: WorldError) => void = () => {}): void {
    this.lastCommand = verb;
    if (verb === 'start' || verb === 'prim' || verb === 'second') this.run = 'started';
    if (verb === 'stop') this.run = 'stopped';
    const mirror = this.#running?.mirror;
    if (mirror === undefined || this.processFrozen) return;
    this.world.log(`${this.name}: operator: ${verb}`);
    const life = this.#life;
    const answered = (error: WorldError | undefined): void => {
      if (life?.alive !== true) return;
      if (error === undefined) this.checks.commanded(verb);
      this.world.log(`${this.name}: ${verb} ${error === undefined ? 'done' : `refused: ${error.message}`}`);
      done(error);
    };
    if (verb === 'start' || verb === 'stop' || verb === 'swap') mirror[verb](answered);
    else if (verb === 'prim') mirror.operator.prim(answered, mirror.state.peer);
    else mirror.operator[verb](answered);
  }

  /** `arbiter recreate`; answers like `command`. */
  recreateRecord(peerIsOff: string | undefined, done: (error?: WorldError) => void = () => {}): void {
    const life = this.#life;
    this.world.log(
      `${this.name}: operator: arbiter recreate${peerIsOff === undefined ? '' : ` --peer-is-off ${peerIsOff}`}`,
    );
    this.mirror?.newRecord.recreate(peerIsOff, (error) => {
      if (life?.alive === true) done(error);
    });
  }

  /** As the module is created, before it ever held data. */
  #freshState(): PersistentState {
    const { world } = this;
    return {
      clusterId: world.clusterId,
      moduleId: world.moduleId,
      self: this.name,
      peer: world.nodes[this.side === 0 ? 1 : 0],
      volumes: world.volumes,
      path: [],
      generation: 0,
      holder: undefined,
      base: undefined,
      role: 'secondary',
      data: 'fresh',
      diskDoubt: 'none',
      peerData: 'unknown',
      pending: undefined,
      bootId: this.#bootId,
    };
  }
}
