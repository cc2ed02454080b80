/**
 * One module on one node: its role, its lineage, what it may write, and what its VM should do. Pure: everything outside is a
 * port, so that the simulator runs this code. Events come in one at a time; slow things answer by callback; every decision
 * carries its rule and one sentence.
 *
 * It does not know sockets, files or hypervisors, and no clock but its port.
 */
import type { Timer } from '../base/clock.ts';
import type { PersistentState } from '../disk/state.ts';
import { BlockRepair } from '../engine/block-repair.ts';
import { MirroredVolume } from '../engine/mirrored-volume.ts';
import { PacedDevice } from '../engine/paced-device.ts';
import type { PeerChannel } from '../engine/peer-channel.ts';
import { PrimaryEngine } from '../engine/primary-engine.ts';
import { forEachReplica, Replica } from '../engine/replica.ts';
import { RequestWatch, WatchedDevice } from '../engine/request-watch.ts';
import { SecondaryEngine } from '../engine/secondary-engine.ts';
import { type ControlMessage, type CopyFacts, type Hello } from '../link/control-messages.ts';
import { commonProtocol, type FrameHeader, linkProtocolVersions } from '../link/frames.ts';
import { dials } from '../link/transport.ts';
import { Claims } from './claims.ts';
import { type AloneSituation, decideAlone, type PeerSight } from './decide-alone.ts';
import { dated } from './dated-state.ts';
import { DecisionLog } from './decision-log.ts';
import { type CommandDone, Departure, refusal } from './departure.ts';
import { DiskTrouble } from './disk-trouble.ts';
import { Fencing } from './fencing.ts';
import { Isolation } from './isolation.ts';
import { KeptImage } from './kept-image.ts';
import { LinkSession } from './link-session.ts';
import {
  type MirrorConfig,
  type MirrorMetadata,
  type MirrorPorts,
  type MirrorVolume,
  type VmState,
  type VmWish,
  watchedMetadata,
} from './mirror-ports.ts';
import { noNotes } from './module-notes.ts';
import { NewRecord } from './new-record.ts';
import { OperatorCommands } from './operator-commands.ts';
import { Pairing } from './pairing.ts';
import { PeerFacts } from './peer-facts.ts';
import { ForcedStart } from './forced-start.ts';
import { decideRunLimitMs } from './run-limit.ts';
import { Resolve } from './resolve.ts';
import { frozenBecause, SplitBrain } from './split-brain.ts';
import { Verify } from './verify.ts';
import { VmReports } from './vm-reports.ts';

/** How often the situation is looked at when nothing happens. */
export const evaluateIntervalMs = 100;
export class Mirror {
  readonly config: MirrorConfig;
  readonly replicas: readonly Replica[];
  readonly volumes: readonly MirroredVolume[];
  readonly primary: PrimaryEngine;
  readonly secondary: SecondaryEngine;
  readonly repair: BlockRepair;
  readonly decisions: DecisionLog;
  readonly pairing: Pairing;
  readonly departure: Departure;
  readonly session: LinkSession;
  readonly disk: DiskTrouble;
  readonly peerFacts: PeerFacts;
  readonly verify: Verify;
  readonly keptImage: KeptImage;
  readonly newRecord: NewRecord;
  readonly operator: OperatorCommands;
  readonly splitBrain: SplitBrain;
  readonly resolve: Resolve;
  readonly forcedStart: ForcedStart;
  readonly vmReports = new VmReports(() => this.session.channel);
  state: PersistentState;
  run: 'started' | 'stopped' = 'stopped';
  /** Serves the guest now, or did until its process was restarted and has not been told otherwise. */
  serving = false;
  vm: VmState = 'stopped';
  /** What was decided outside of these rules and people must know. */
  notes = noNotes;
  /** The sentence of the rule that decided last while the peer is away. */
  aloneBecause = '';
  linkProblem = '';
  readonly #ports: MirrorPorts;
  readonly #metadata: MirrorMetadata;
  readonly claims: Claims;
  readonly fencing: Fencing;
  readonly #isolation: Isolation;
  #paused = false;
  #wish: VmWish = 'as-is';
  #tick: Timer | undefined;
  /** When this copy was last seen to be in sync or alone, in this process; time of day. */
  #upToDateAt: string | undefined;
  #vmStopped: (() => void)[] = [];
  /** Who waits for the activity log to be folded; until then nothing is decided. */
  #starting: CommandDone[] | undefined;
  /** The module has left the pair and waits for its VM and disks to come to rest. */
  #ending = false;

  constructor(
    config: MirrorConfig,
    state: PersistentState,
    volumes: readonly MirrorVolume[],
    ports: MirrorPorts,
  ) {
    this.config = config;
    this.state = state;
    this.#ports = ports;
    const { clock } = ports;
    const events = {
      diskFailed: (volume: string, during: string) => {
        const said = volumes.find(({ name }) => name === volume)?.lastError?.();
        this.disk.failed(volume, during, said);
      },
    };
    const metadataWatch = new RequestWatch(clock, () => ports.metadata.work?.()?.changes);
    this.#metadata = watchedMetadata(ports.metadata, metadataWatch, () => this.#metadataFailed());
    const flushFailed = (): void => this.disk.flushFailed();
    const devices = volumes.map(
      ({ device, work }) => new WatchedDevice(device, clock, { flushFailed }, work),
    );
    this.replicas = devices.map((watched, index) => {
      const own = volumes[index] as MirrorVolume;
      const device = new PacedDevice(watched, clock, () => events.diskFailed(own.name, 'fdatasync'));
      const volume = { ...own, device };
      return new Replica(index, volume, this.#metadata, (replica) => this.primary.settle(replica));
    });
    this.primary = new PrimaryEngine(this.replicas, clock, events);
    this.secondary = new SecondaryEngine(this.replicas, ports.checksum, events);
    this.repair = new BlockRepair(this.primary, clock, events);
    this.volumes = this.replicas.map((replica) => new MirroredVolume(this.primary, replica));
    this.decisions = new DecisionLog(ports.log, ports.wallTime, config.vmName ?? 'VM');
    const link = { ...config, chooses: dials(state.self, state.peer) };
    this.session = new LinkSession(ports.transports, clock, link, {
      opened: (channel) => {
        this.linkProblem = '';
        this.vmReports.forget();
        this.pairing.opened(channel);
        this.disk.linkOpened();
        this.claims.peerIsBack();
        this.fencing.peerIsBack();
      },
      control: (message) => this.#control(message),
      request: (header, payload) => this.#request(header, payload),
      dirtyBits: (header, bits) => this.pairing.dirtyBits(header, bits),
      lost: (because) => {
        this.linkProblem = because;
        ports.log.warn('link-lost', { because });
        this.vmReports.forget();
        this.repair.stop();
        this.claims.peerIsLost();
        this.pairing.lost();
        this.departure.linkLost('the link was lost');
        this.newRecord.linkLost();
        this.resolve.linkLost();
        this.evaluate();
      },
      failed: (because) => {
        this.linkProblem = because;
      },
    });
    this.peerFacts = new PeerFacts(this, clock);
    const { counters } = this.primary;
    this.verify = new Verify(
      {
        mirror: this,
        channelOfPair: () => this.#channelOfPair(),
        guestActivity: () => counters.writes + counters.flushes,
        flushBoth: (done) => this.primary.flushAll(done),
        diskFailed: events.diskFailed,
        wallTime: () => ports.wallTime(),
      },
      { clock, replicas: this.replicas, checksum: ports.checksum },
      ports.verifyReports,
    );
    this.keptImage = new KeptImage(ports.keptImages, this.decisions);
    this.newRecord = new NewRecord(
      {
        mirror: this,
        channelOfPair: () => this.#channelOfPair(),
        channel: () => this.session.channel,
        unheardMs: () => this.session.watch.unheardMs,
        operationOpen: () => this.forcedStart.underWay || this.claims.underWay,
        operationId: () => ports.ids.operationId(),
        begin: (operation) => this.claims.begin(operation),
      },
      ports.arbiter,
      clock,
    );
    this.forcedStart = new ForcedStart(
      {
        mirror: this,
        image: this.keptImage,
        betterPeer: () => this.#betterPeer(),
        connected: () => this.session.channel !== undefined,
        unheardMs: () => this.session.watch.unheardMs,
        operationOpen: () => this.claims.underWay,
        operationId: () => ports.ids.operationId(),
        begin: (operation, durable) => this.claims.begin(operation, durable),
        changed: () => {
          this.pairing.sayHello();
          this.evaluate();
        },
      },
      ports.arbiter,
      this.replicas,
      this.secondary,
    );
    this.operator = new OperatorCommands(
      {
        mirror: this,
        connected: () => this.session.channel !== undefined,
        unheardMs: () => this.session.watch.unheardMs,
        alone: () => this.serving && this.primary.soloAllowed,
      },
      ports.arbiter,
      this.replicas,
    );
    this.splitBrain = new SplitBrain({ mirror: this, wallTime: () => ports.wallTime() }, clock);
    this.resolve = new Resolve(
      {
        mirror: this,
        operationId: () => ports.ids.operationId(),
        standDown: (because, then) => this.#standDown(because, then),
        alone: () => this.primary.soloAllowed,
        becomeAlone: () => this.claims.becomeAlone(),
        begin: (operation) => this.claims.begin(operation),
        changed: () => this.evaluate(),
      },
      { clock, replicas: this.replicas, arbiter: ports.arbiter, sideFiles: ports.sideFiles },
    );
    this.claims = new Claims(
      {
        mirror: this,
        peerAnswers: () => this.#peerSight() === 'answers',
        handing: () => this.departure.handing,
        arbiterInUse: () => this.operationOpen,
        operationId: () => ports.ids.operationId(),
        standDown: (because, then) => this.#standDown(because, then),
        serve: () => this.#serve(),
        changed: () => this.evaluate(),
      },
      {
        clock,
        replicas: this.replicas,
        primary: this.primary,
        secondary: this.secondary,
        arbiter: ports.arbiter,
      },
    );
    this.fencing = new Fencing(
      {
        mirror: this,
        hasRecordKeeper: () => ports.arbiter !== undefined,
        connected: () => this.session.channel !== undefined,
        peerSight: () => this.#peerSight(),
        unheardMs: () => this.session.watch.unheardMs,
        serve: () => this.#serve(),
        changed: () => this.evaluate(),
        wallTime: () => ports.wallTime(),
      },
      clock,
      ports.fence,
    );
    this.#isolation = new Isolation(ports.surroundings, clock, () => this.evaluate());
    this.pairing = new Pairing(
      {
        mirror: this,
        beginOperation: (operation) => this.claims.begin(operation),
        operationOpen: () => this.operationOpen || this.claims.becomingAlone,
        operationId: () => ports.ids.operationId(),
        standDown: (because, then) => this.#standDown(because, then),
        serve: () => this.#serve(),
        keepImage: (neededBytes, then) =>
          this.keptImage.keepBefore(this.state.data, this.state, neededBytes, then),
        pairIsInSync: () => {
          this.keptImage.discard();
          this.claims.pairIsInSync();
        },
        changed: () => this.evaluate(),
        diskFailed: events.diskFailed,
      },
      {
        clock,
        replicas: this.replicas,
        primary: this.primary,
        secondary: this.secondary,
        checksum: ports.checksum,
      },
    );
    this.departure = new Departure(
      {
        mirror: this,
        channel: () => this.session.channel,
        dropLink: (because) => this.session.drop(because),
        busy: () => this.operationOpen || this.disk.present || this.disk.staysByPromise,
        shutVmDown: (because, then) => {
          this.#want('stopped-gracefully', because);
          this.#whenVmStopped(then);
        },
        stopExports: (because) => {
          ports.exports.serve(false, because);
          // What it would send now is after the last flush.
          this.repair.stop();
          this.verify.look();
        },
        serve: () => this.#serve(),
        becomeAlone: () => this.claims.becomeAlone(),
        end: (done) => this.#end(done),
        changed: () => this.evaluate(),
      },
      { clock, replicas: this.replicas, primary: this.primary, secondary: this.secondary },
    );
    this.disk = new DiskTrouble(
      {
        mirror: this,
        channel: () => this.session.channel,
        dropLink: (because) => this.session.drop(because),
        bound: () => this.operationOpen || this.departure.handing || this.departure.promisedToStay,
        promisedToStay: () => this.departure.promisedToStay,
        endService: (because, then) => this.#endService(because, then),
        pauseVm: (because) => this.#want('paused', because),
        serve: () => this.#serve(),
        inspectFiles: (done) => ports.inspectFiles(done),
        changed: () => this.evaluate(),
      },
      {
        clock,
        replicas: this.replicas,
        primary: this.primary,
        secondary: this.secondary,
        disks: [
          ...devices.map((device, index) => ({
            name: `volume ${volumes[index]?.name}`,
            look: () => device.look(),
          })),
          { name: 'the metadata file', look: () => metadataWatch.look() },
        ],
        mark: ports.doubtMark,
        hungAfterMs: config.timers.diskHungAfterMs,
        wallTime: () => ports.wallTime(),
      },
    );
  }

  // ---- facts ----------------------------------------------------------------------------------------------------------

  get rebooted(): boolean {
    return this.state.bootId !== this.config.bootId || this.disk.cacheLost;
  }
  get operationOpen(): boolean {
    // While the module starts, what an earlier process asked is open and not yet asked again.
    const toBeContinued = this.#starting !== undefined && this.state.pending !== undefined;
    return this.claims.isOpen || this.forcedStart.underWay || this.resolve.underWay || toBeContinued;
  }
  get channel(): PeerChannel | undefined {
    return this.session.channel;
  }
  /** How long the VM may run on without a further word of this module, ms; `undefined`: as long as it likes. */
  get pauseWithinMs(): number | undefined {
    const { gate, soloAllowed } = this.primary;
    const { doubtMs, connectedMs } = this.session.watch;
    const may = { alone: soloAllowed, mayWrite: gate === 'open' };
    return decideRunLimitMs(
      { vm: this.vm, wish: this.#wish, ...may, doubtMs, connectedMs },
      this.config.timers,
    );
  }
  get leaving(): boolean {
    return this.departure.underWay;
  }
  get preferSelf(): boolean {
    const { self, peer } = this.state;
    return this.config.preferred === undefined ? self < peer : this.config.preferred === self;
  }

  /** Why a forced start is not the way: the peer is connected, and its copy is worth more, or nobody has heard yet what it is worth. */
  #betterPeer(): boolean {
    if (this.session.channel === undefined) return false;
    const worth = this.pairing.phase === 'handshake' ? this.pairing.peerHello?.facts.data : undefined;
    return worth === undefined || worth === 'up-to-date';
  }

  #peerSight(): PeerSight {
    if (this.disk.peerOut) return 'out';
    if (this.session.channel === undefined) return 'silent';
    if (this.pairing.isSplit) return 'split';
    return this.pairing.peerIsNew && this.state.data !== 'fresh' ? 'new' : 'answers';
  }

  get #vmIsOff(): boolean {
    return !this.serving && (this.vm === 'stopped' || this.vm === 'none');
  }

  get #arbiterKind(): AloneSituation['arbiter'] {
    if (this.#ports.arbiter !== undefined || this.fencing.standsAlone) return 'record';
    return this.config.allowSplitBrain === true ? 'split-brain-allowed' : 'none';
  }

  /** What this side says of its copy; `afterBlip`: as if the link had been lost a moment ago. */
  #facts(afterBlip: boolean): CopyFacts {
    const { state } = this;
    const guestRuns = this.serving && (!this.config.hasVm || this.vm === 'running' || this.vm === 'paused');
    const clean = this.replicas.every((replica) => replica.bitmap.count === 0);
    const holds = this.primary.gate === 'held' || (afterBlip && this.primary.gate === 'open');
    const canResume = this.serving && holds && !this.primary.soloAllowed && clean;
    const { resumeWithBoot } = this.pairing;
    return {
      data: state.data,
      path: [...state.path],
      generation: state.generation,
      ...(state.holder === undefined ? {} : { holder: state.holder }),
      ...(state.base === undefined ? {} : { base: state.base }),
      claimOpen: this.operationOpen || this.claims.becomingAlone,
      guestRuns,
      rebooted: this.rebooted,
      lastRole: state.role,
      ...(this.primary.soloAllowed ? { alone: true } : {}),
      ...(this.disk.doubt === 'none' ? {} : { diskDoubt: this.disk.doubt }),
      ...(canResume && resumeWithBoot !== undefined ? { resumeWithBoot } : {}),
      bootId: this.config.bootId,
    };
  }

  /** For display: what this side would say if the link were lost and came back now. */
  factsAfterBlip(): CopyFacts {
    return this.#facts(true);
  }

  /** The channel of a pair that is in sync and works; otherwise why there is none, for people. */
  #channelOfPair(): PeerChannel | string {
    const { channel } = this.session;
    if (this.disk.present) return this.disk.failure ?? 'a disk of this node does not work';
    if (channel === undefined || this.pairing.phase !== 'in-sync')
      return `the pair is not in sync (${this.pairing.phase})`;
    return this.primary.gate === 'open' ? channel : 'writes are held for a moment';
  }

  hello(round: number): Hello {
    const { state } = this;
    return {
      type: 'hello',
      protocols: [...linkProtocolVersions],
      clusterId: state.clusterId,
      moduleId: state.moduleId,
      self: state.self,
      volumes: state.volumes.map(({ name, sizeBytes }) => ({ name, sizeBytes })),
      instance: this.config.instance,
      round,
      started: this.run === 'started' && !this.disk.present && !this.departure.handing,
      ...(this.disk.failure === undefined ? {} : { failure: this.disk.failure, vmIsOff: this.#vmIsOff }),
      facts: this.#facts(false),
    };
  }

  /** Writes are durable in the order of the calls; `then` runs when this one is. */
  persist(patch: Partial<PersistentState>, then: () => void): void {
    const dates = {
      now: this.#ports.wallTime(),
      upToDateAt: this.#upToDateAt,
      writtenBefore: this.config.diskWrittenAt,
    };
    this.state = { ...this.state, ...dated(this.state, patch, dates) };
    this.#metadata.persist(this.state, (ok) => {
      if (ok) then();
    });
  }

  /** Whatever was to become durable: this process ends, and the next one does not trust what the page cache shows of it. */
  #metadataFailed(): void {
    this.disk.metadataFailed();
    this.#ports.fatal('the metadata file cannot be written');
  }

  // ---- start ------------------------------------------------------------------------------------------------------------

  /** The module begins to run: as the operator asked, or because its process was restarted. */
  start(done: CommandDone = () => {}): void {
    if (this.leaving || this.#ending)
      return done(refusal('no other action under way', 'a stop or swap is', 'wait until it has ended'));
    if (this.run === 'started' && this.#starting === undefined) return done(undefined);
    // After whatever was asked for before: that may be a stop.
    if (this.#starting !== undefined) return void this.#starting.push(() => this.start(done));
    this.run = 'started';
    this.#starting = [done];
    // How long the peer has not heard this node is unknown: it may be about to start the VM. Before any disk is waited for.
    if (this.config.hasVm && this.vm === 'running')
      this.#want('paused', 'the module process was restarted while its VM ran');
    this.claims.began();
    // Before the volume is served after a crash, the activity log becomes part of the dirty bitmap.
    forEachReplica(
      this.replicas,
      (replica, folded) => replica.fold(folded),
      (ok) => {
        // Otherwise this process is about to end.
        if (!ok) return;
        const { state } = this;
        if (state.data === 'up-to-date') this.keptImage.discard();
        const guestMayRun = !this.config.hasVm || this.vm === 'running' || this.vm === 'paused';
        if (state.role === 'primary' && state.data === 'up-to-date' && !this.rebooted && guestMayRun) {
          this.serving = true;
          this.primary.hold();
          this.#paused = true;
          this.#ports.exports.serve(
            true,
            'the module process was restarted; requests wait for the peer or the arbiter',
          );
          this.decisions.add(
            'module-restarted',
            'hold writes',
            'the module process was restarted while its VM ran',
          );
        } else {
          this.#want('destroyed', 'this node has not been allowed to run the VM since it started');
        }
        if (state.pending !== undefined) this.claims.continue(state.pending);
        const waiting = this.#starting ?? [];
        this.#starting = undefined;
        this.session.start();
        this.evaluate();
        for (const started of waiting) started(undefined);
      },
    );
  }

  /** The process was started and the operator wants the module to stay stopped: a VM that an earlier process left must end. */
  stayStopped(): void {
    if (this.run === 'stopped') this.#want('destroyed', 'the operator stopped this module');
  }

  // ---- the situation, again and again -------------------------------------------------------------------------------------

  evaluate(): void {
    const { phase } = this.pairing;
    if (phase !== 'down' && phase !== 'handshake') this.peerFacts.forget();
    this.verify.look();
    this.splitBrain.look();
    this.#tick?.cancel();
    if (this.run === 'stopped' || this.#starting !== undefined) return;
    this.#tick = this.#ports.clock.after(evaluateIntervalMs, () => this.evaluate());
    this.disk.observe();
    this.fencing.observe();
    if (phase === 'in-sync' || this.primary.soloAllowed) this.#upToDateAt = this.#ports.wallTime();
    const { timers } = this.config;
    const { channel, watch } = this.session;
    const silent = watch.silenceMs > timers.lostAfterMs;
    const doubtful = watch.connectedMs > timers.lostAfterMs && watch.doubtMs > timers.pauseAfterMs;
    if (channel !== undefined && (silent || doubtful)) {
      this.session.drop(`the peer has been silent for more than ${timers.lostAfterMs} ms`);
      return;
    }
    const mayWrite = this.primary.gate === 'open';
    if (channel !== undefined && mayWrite && this.pairing.phase === 'in-sync') this.repair.consider(channel);
    if (
      this.serving &&
      !mayWrite &&
      !this.departure.handing &&
      !this.#paused &&
      watch.doubtMs > timers.pauseAfterMs
    ) {
      this.#paused = true;
      // A VM that is to stop anyway cannot end in order while its writes are held.
      const wish = this.departure.shutsVmDown ? 'destroyed' : 'paused';
      this.#want(wish, 'writes are held and this node does not know whether the VM may run here');
      this.decisions.add(
        'pause-held-vm',
        'pause the VM',
        'writes are held longer than a guest should wait in doubt',
      );
    }
    if (this.departure.handing || this.disk.present || this.claims.becomingAlone) return;
    const situation: AloneSituation = {
      started: true,
      peer: this.#peerSight(),
      primary: this.serving,
      alone: this.serving && this.primary.soloAllowed,
      namedHolder: this.state.holder === this.state.self,
      data: this.state.data,
      doubt: this.disk.doubt,
      silenceMs: this.serving ? watch.silenceMs : watch.unheardMs,
      operationOpen: this.operationOpen || this.claims.isFlushing,
      rebooted: this.rebooted,
      preferred: this.preferSelf,
      arbiter: this.#arbiterKind,
      failover: this.config.failover,
      forced: this.claims.forced,
      mayNotClaim: this.splitBrain.isFrozen && !this.serving ? frozenBecause : this.claims.obstacle,
    };
    const asked = this.#isolation.review(decideAlone(situation, timers), situation, timers);
    const decision = this.fencing.review(asked, situation, timers);
    this.aloneBecause = decision.because;
    if (decision.action === 'claim' || decision.action === 'go-on-without-arbiter') {
      this.claims.claim(decision.rule, decision.because);
    }
  }

  // ---- serving ---------------------------------------------------------------------------------------------------------------

  #serve(): void {
    const goesOn = this.serving && this.fencing.waits === undefined;
    this.serving = true;
    this.#paused = false;
    if (!goesOn && !this.fencing.mayStartVm()) return this.evaluate();
    this.#ports.exports.serve(true, 'this node is primary');
    this.#want('running', 'this node is primary');
    this.evaluate();
  }

  /** Ends everything this node serves; `then` when its VM provably does not run and none of its disk requests is left. */
  #standDown(because: string, then: () => void): void {
    this.#endService(because, () => this.primary.whenIdle(then));
  }

  /** The same, without waiting for the disk. */
  #endService(because: string, then: () => void): void {
    this.claims.standsDown();
    this.fencing.standsDown();
    this.pairing.resumeWithBoot = undefined;
    this.#ports.exports.serve(false, because);
    this.repair.stop();
    this.primary.abandon();
    this.pairing.abandonResync();
    this.serving = false;
    this.#paused = false;
    this.verify.look();
    this.#want('destroyed', because);
    this.#whenVmStopped(then);
  }

  #want(wanted: VmWish, because: string): void {
    const wish = wanted === 'running' && this.departure.shutsVmDown ? 'stopped-gracefully' : wanted;
    if (this.#wish === wish) return;
    this.#wish = wish;
    this.#ports.vm.want(wish, because);
  }

  vmChanged(vm: VmState): void {
    const wasOff = this.#vmIsOff;
    this.vm = vm;
    if (vm === 'stopped' || vm === 'none') for (const waiter of this.#vmStopped.splice(0)) waiter();
    // A peer that was told of the disk before may go on only now.
    if (this.#vmIsOff && !wasOff && this.disk.present) this.pairing.sayHello();
    this.evaluate();
  }

  #whenVmStopped(then: () => void): void {
    if (!this.config.hasVm || this.vm === 'stopped' || this.vm === 'none') then();
    else this.#vmStopped.push(then);
  }

  // ---- link ---------------------------------------------------------------------------------------------------------------------

  #request(header: FrameHeader, payload: readonly Uint8Array[]): string | undefined {
    const { channel } = this.session;
    if (channel === undefined) return undefined;
    const { phase } = this.pairing;
    // In sync, blocks are compared and repaired by a verify.
    const takesPart = phase === 'resync-target' || phase === 'compare-target' || phase === 'in-sync';
    if (this.serving || !takesPart) return 'a request that this side did not agree to';
    return this.secondary.request(header, payload, channel);
  }

  #control(message: ControlMessage): void {
    const problem = this.#dispatch(message);
    if (problem !== undefined) this.session.drop(`the peer sent ${problem}`);
  }

  #dispatch(message: ControlMessage): string | undefined {
    switch (message.type) {
      case 'hello': {
        const mismatch = this.#mismatch(message);
        if (mismatch === undefined) {
          this.peerFacts.observe(message.facts);
          this.vmReports.peerSpeaks(message.protocols);
          return this.pairing.control(message);
        }
        // The peer closes when it has read why; closing here could lose the sentence.
        this.session.channel?.control({ type: 'refuse', because: mismatch });
        this.linkProblem = mismatch;
        return undefined;
      }
      case 'refuse':
        this.linkProblem = message.because;
        return `a refusal: ${message.because}`;
      case 'vm-report':
        this.vmReports.observe(message);
        return undefined;
      case 'checks':
        this.#ports.peerChecks?.(message);
        return undefined;
      case 'facts':
      case 'facts-request':
        this.peerFacts.control(message);
        return undefined;
      case 'handover':
      case 'handover-accepted':
      case 'leave-request':
      case 'leave-granted':
      case 'leave-refused':
      case 'outdated':
        return this.departure.control(message);
      case 'store-change':
      case 'store-changed':
      case 'store-change-refused':
        return this.newRecord.control(message);
      case 'split-report':
        this.splitBrain.observe(message);
        return undefined;
      case 'resolve':
      case 'resolve-begin':
      case 'resolve-ready':
      case 'resolve-refused':
      case 'given-up':
        return this.resolve.control(message);
      case 'give-up':
      case 'give-up-granted':
      case 'give-up-refused':
        return this.disk.control(message);
      default:
        return this.pairing.control(message);
    }
  }

  #mismatch(hello: Hello): string | undefined {
    const { state } = this;
    if (commonProtocol(hello.protocols) === undefined)
      return `wanted link protocol ${linkProtocolVersions.join(' or ')}; found ${hello.protocols.join(', ')}`;
    if (hello.clusterId !== state.clusterId)
      return `wanted a module of cluster ${state.clusterId}; found one of ${hello.clusterId}`;
    if (hello.moduleId !== state.moduleId) return `wanted module ${state.moduleId}; found ${hello.moduleId}`;
    if (hello.self !== state.peer) return `wanted node ${state.peer}; found ${hello.self}`;
    const volumes = (list: readonly { name: string; sizeBytes: number }[]): string =>
      list.map(({ name, sizeBytes }) => `${name} ${sizeBytes}`).join(', ');
    const mine = volumes(state.volumes);
    const theirs = volumes(hello.volumes);
    return mine === theirs ? undefined : `wanted volumes (${mine}); found (${theirs})`;
  }

  // ---- departures ------------------------------------------------------------------------------------------------------------

  swap(done: CommandDone, because?: string): void {
    this.departure.swap(done, because);
  }

  /** Stops the module on this node; a primary's VM is shut down and the peer takes over at once. */
  stop(done: CommandDone, because?: string): void {
    if (this.run === 'stopped') return done(undefined);
    if (this.forcedStart.underWay)
      return done(refusal('no other action under way', 'a forced start is', 'wait until it has ended'));
    if (this.#starting !== undefined) return void this.#starting.push(() => this.stop(done, because));
    this.departure.stop(done, because);
  }

  #end(done: CommandDone): void {
    this.#tick?.cancel();
    this.run = 'stopped';
    this.claims.stop();
    this.fencing.stop();
    this.session.stop('the operator stopped this module');
    this.#ending = true;
    this.#standDown('the operator stopped this module', () => {
      this.#ending = false;
      done(undefined);
    });
  }
}
