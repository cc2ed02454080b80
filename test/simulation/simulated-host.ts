/**
 * One host: its disks and metadata file, which survive; its boot; the module process with the shipped `Mirror`; the VM; and
 * what the supervisor does: start the process again after it died, and pause the VM when that takes too long.
 */
import { silentLog } from '../../src/base/log.ts';
import { Mirror } from '../../src/cluster/mirror.ts';
import type { MirrorConfig, MirrorPorts } from '../../src/cluster/mirror-ports.ts';
import { createMetadata, metadataSizeBytes, openMetadata } from '../../src/disk/metadata-store.ts';
import type { OpenedMetadata } from '../../src/disk/metadata-store.ts';
import type { DiskDoubt, PersistentState } from '../../src/disk/state.ts';
import type { BlockDevice } from '../../src/base/block-device.ts';
import type { WorldError } from '../../src/base/errors.ts';
import type { PowerCount } from './guest-history.ts';
import { type GuestHost, SimulatedGuest } from './simulated-guest.ts';
import type { Random } from './random.ts';
import { SimulatedDisk, tagChecksum } from './simulated-disk.ts';
import { SimulatedImages } from './simulated-images.ts';
import type { Side } from './simulated-link.ts';
import { metadataPort, ringBlocks, TimedStorage } from './simulated-metadata.ts';
import { Life } from './simulated-time.ts';
import { SimulatedVm } from './simulated-vm.ts';
import type { World } from './world.ts';

/** The supervisor pauses the VM of a module that has not come back, with its metadata open, after this. */
const supervisorPatienceMs = 900;

interface Running {
  readonly life: Life;
  readonly mirror: Mirror;
}

export class SimulatedHost implements GuestHost, PowerCount {
  readonly world: World;
  readonly name: string;
  readonly side: Side;
  readonly disks: readonly SimulatedDisk[];
  readonly storage: TimedStorage;
  readonly images: SimulatedImages;
  readonly vm: SimulatedVm;
  powerLosses = 0;
  powered = true;
  bootedMs = Number.NEGATIVE_INFINITY;
  /** What the supervisor wants of the module. */
  run: 'started' | 'stopped' = 'started';
  guest: SimulatedGuest | undefined;
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
    this.storage = new TimedStorage(metadataSizeBytes(world.volumes, ringBlocks), time, random);
    createMetadata(this.storage, this.#freshState(), () => {}, ringBlocks);
    this.storage.settle();
    this.vm = new SimulatedVm(time, random, {
      changed: (state) => {
        world.log(`${name}: vm ${state}`);
        if (state === 'running') world.checkers.vmRuns(this);
        this.#running?.mirror.vmChanged(state);
      },
      booted: () => {
        world.checkers.guestBoots(this);
        this.guest = new SimulatedGuest(world, this);
        this.guest.start();
      },
      ended: () => {
        this.guest?.end();
        this.guest = undefined;
      },
    });
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

  servedVolumes(): readonly BlockDevice[] | undefined {
    if (!this.vm.executes || !this.#exporting) return undefined;
    return this.#running?.mirror.volumes;
  }

  acknowledgedNow(): readonly PowerCount[] {
    return this.world.checkers.acknowledged(this);
  }

  // ---- the process --------------------------------------------------------------------------------------------------

  startProcess(): void {
    if (!this.powered || this.#life !== undefined) return;
    const life = new Life();
    this.#life = life;
    this.world.log(`${this.name}: process starts`);
    openMetadata(this.storage, (outcome) => {
      if (!life.alive) return;
      if (outcome.kind === 'refused')
        return this.world.violation(`metadata refused: ${outcome.error.message}`);
      this.#begin(life, outcome.opened);
    });
  }

  #begin(life: Life, opened: OpenedMetadata): void {
    const { world, name } = this;
    const config: MirrorConfig = {
      timers: world.timers,
      failover: true,
      preferred: undefined,
      bootId: this.#bootId,
      instance: world.random.hexId(),
      hasVm: true,
    };
    const metadata = metadataPort(opened.store);
    const ports: MirrorPorts = {
      clock: world.time.clockOf(life),
      log: silentLog,
      ids: { operationId: () => world.random.hexId() },
      transport: world.link.transportOf(this.side, life),
      arbiter: world.arbiter.reachedBy(name, life),
      metadata: {
        ...metadata,
        persist: (state, done) =>
          metadata.persist(state, (ok) => {
            if (!life.alive) return;
            world.checkers.persisted(this, state);
            done(ok);
          }),
      },
      keptImages: this.images.openedBy(life),
      checksum: tagChecksum,
      vm: {
        want: (wish, because) => {
          if (!life.alive) return;
          world.log(`${name}: wants vm ${wish}: ${because}`);
          this.vm.want(wish);
        },
      },
      doubtMark: {
        note: (doubt) => {
          if (life.alive) this.#doubtMark = doubt;
        },
        forget: () => {
          if (life.alive) this.#doubtMark = 'none';
        },
      },
      inspectFiles: (done) => done([]),
      exports: { serve: (available, because) => this.#serve(life, available, because) },
      wallTime: () => world.time.nowMs.toFixed(0),
      fatal: (because) => world.violation(`${name} ended: ${because}`),
    };
    const volumes = opened.volumes.map((volume, index) => ({
      name: volume.name,
      device: (this.disks[index] as SimulatedDisk).openedBy(life),
      bitmap: volume.bitmap,
      hotExtents: volume.hotExtents,
    }));
    const { diskDoubt } = opened.state;
    const state = { ...opened.state, diskDoubt: diskDoubt === 'none' ? this.#doubtMark : diskDoubt };
    const mirror = new Mirror(config, state, volumes, ports);
    this.#running = { life, mirror };
    mirror.vmChanged(this.vm.state);
    if (this.run === 'started') mirror.start();
    else mirror.stayStopped();
  }

  #serve(life: Life, available: boolean, because: string): void {
    if (!life.alive || this.#exporting === available) return;
    this.world.log(`${this.name}: ${available ? 'serves' : 'does not serve'}: ${because}`);
    this.#exporting = available;
    if (!available) this.guest?.disconnected();
  }

  #endProcess(): Life | undefined {
    const life = this.#life;
    life?.end();
    this.#life = undefined;
    this.#running = undefined;
    this.#exporting = false;
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
    const boot = this.#bootId;
    const { time } = this.world;
    time.after(restartAfterMs ?? this.#random.between(100, 700), () => {
      if (this.#bootId === boot) this.startProcess();
    });
    time.after(supervisorPatienceMs, () => {
      if (this.#bootId === boot && this.#running === undefined) this.vm.want('paused');
    });
  }

  losePower(): void {
    if (!this.powered) return;
    this.world.log(`${this.name}: POWER LOST`);
    this.powerLosses += 1;
    this.powered = false;
    this.#endProcess();
    this.vm.powerLost();
    for (const disk of this.disks) disk.powerLost();
    const share = this.#random.pick([0, 0.5, 1]);
    this.storage.losePower(() => this.#random.chance(share));
    this.world.link.powerLost(this.side);
    this.#bootId = this.#random.hexId();
    this.#doubtMark = 'none';
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
  command(
    verb: 'start' | 'stop' | 'prim' | 'second' | 'swap' | 'acceptDisk',
    done: (error?: WorldError) => void = () => {},
  ): void {
    if (verb === 'start' || verb === 'prim' || verb === 'second') this.run = 'started';
    if (verb === 'stop') this.run = 'stopped';
    const mirror = this.#running?.mirror;
    if (mirror === undefined) return;
    this.world.log(`${this.name}: operator: ${verb}`);
    const life = this.#life;
    mirror[verb]((error) => {
      if (life?.alive !== true) return;
      this.world.log(`${this.name}: ${verb} ${error === undefined ? 'done' : `refused: ${error.message}`}`);
      done(error);
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
