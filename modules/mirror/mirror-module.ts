/**
 * One module process: opens and locks everything first (so that what is wrong is said before anything changes), then runs the
 * core over the real world. State is in the metadata file; this process may die at any instant.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import type { Hypervisor } from '../../hypervisors/port.ts';
import { WorldError } from '../../src/base/errors.ts';
import type { Log } from '../../src/base/log.ts';
import { ModuleChecks } from '../../src/checks/module-checks.ts';
import { worseDoubt } from '../../src/cluster/disk-file-facts.ts';
import type { FenceSetup } from '../../src/cluster/fencing.ts';
import { Mirror } from '../../src/cluster/mirror.ts';
import type { MirrorMetadata, VmPort, VmState } from '../../src/cluster/mirror-ports.ts';
import { type ModuleConfig, networksOf } from '../../src/config/module-config.ts';
import { type NodeConfig, readBootId } from '../../src/config/node-config.ts';
import { type ModulePaths, modulePaths, nbdUri } from '../../src/config/runtime-paths.ts';
import { DirtyBitmap } from '../../src/disk/dirty-bitmap.ts';
import type { MetadataStore } from '../../src/disk/metadata-store.ts';
import type { PersistentState } from '../../src/disk/state.ts';
import { ExportTable } from '../../src/nbd/export-table.ts';
import { blockChecksum } from '../../src/platform/block-checksum.ts';
import { ControlServer } from '../../src/platform/control-socket.ts';
import { networkCutMarker } from '../../src/platform/cut-marker.ts';
import { DiskFile } from '../../src/platform/disk-file.ts';
import { DiskFileRecord } from '../../src/platform/disk-file-record.ts';
import { deviceWork } from '../../src/platform/device-work.ts';
import { doubtMarkFile, readDoubtMark } from '../../src/platform/doubt-mark-file.ts';
import { inspectDiskFiles } from '../../src/platform/inspect-disk-files.ts';
import { createFence } from '../../src/platform/fence/fence-choice.ts';
import { giveMemoryBackWhenQuiet, ownMemory } from '../../src/platform/idle-memory.ts';
import { type OpenedLinkTransport, openLinkTransport } from '../../src/platform/link-transport.ts';
import { KeptImageFiles } from '../../src/platform/kept-image-files.ts';
import {
  createMetadataFile,
  type MetadataIdentity,
  openMetadataFile,
} from '../../src/platform/metadata-file.ts';
import { newLoopWrites } from '../../src/platform/loop-writes.ts';
import { NbdListener } from '../../src/platform/nbd-listener.ts';
import { SideFiles } from '../../src/platform/side-files.ts';
import { createSurroundings } from '../../src/platform/ping.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { ThreadShare, volumeThreads } from '../../src/platform/thread-share.ts';
import type { TlsIdentity } from '../../src/platform/tls.ts';
import { type ChosenArbiter, chooseArbiter } from './arbiter-choice.ts';
import { checkProbes } from './check-probes.ts';
import { openKeptFacts } from './kept-facts-file.ts';
import { chooseHypervisor } from './hypervisor-choice.ts';
import { type CertificatesInUse, readOwnIdentity, rereadCertificates } from './own-identity.ts';
import { readModuleSource, type Reconfigured, takeLiveKeys } from './reconfigure.ts';
import { readRunWish, type RunWish, runWishFile, writeRunWish } from './run-wish.ts';
import { tellStateEvents } from './state-events.ts';
import { openVerifyReports } from './verify-reports.ts';
import { VmDriver } from './vm-driver.ts';
import { VmStarts } from './vm-starts.ts';
import { moduleVerbs, shownState } from './verbs.ts';

interface OpenedMetadata {
  readonly store: MetadataStore;
  readonly state: PersistentState;
  readonly volumes: readonly { readonly bitmap: DirtyBitmap; readonly hotExtents: readonly number[] }[];
}

const noVm: VmPort = { want: () => {} };

export class MirrorModule {
  readonly node: NodeConfig;
  readonly paths: ModulePaths;
  readonly instance = randomBytes(16).toString('hex');
  readonly mirror: Mirror;
  /** Puts the certificates to use that the files hold now. Throws `WorldError`; then nothing has been changed. */
  readonly rereadCertificates: () => CertificatesInUse;
  readonly starts: VmStarts;
  readonly checks: ModuleChecks;
  readonly #log: Log;
  readonly #exports = new ExportTable();
  readonly #listeners: NbdListener[] = [];
  readonly #driver: VmDriver | undefined;
  readonly #runFile: string;
  readonly #sideFiles: SideFiles;
  #control: ControlServer | undefined;
  #config: ModuleConfig;
  /** Path of the `module.yaml`. */
  #file: string;
  /** `vm` as the adapter will take it with the next start of the VM. */
  #nextVm: ModuleConfig['vm'];
  /** One at a time. */
  #reconfiguring: Promise<unknown> = Promise.resolve();

  /** Opens and locks what the module needs. Throws `WorldError`; then nothing has been changed. */
  static async open(config: ModuleConfig, node: NodeConfig, log: Log, file: string): Promise<MirrorModule> {
    const peer = config.nodes.find((name) => name !== node.node);
    if (!config.nodes.includes(node.node) || peer === undefined) {
      throw new WorldError('config-invalid', {
        wanted: `node ${node.node} in the module configuration`,
        found: `the nodes ${config.nodes.join(' and ')}`,
        next: 'correct `node` in the node configuration or `nodes` in the module configuration',
      });
    }
    const identity = readOwnIdentity(config, node);
    const bootId = readBootId(node.bootIdFile);
    const threads = new ThreadShare(volumeThreads);
    const files = config.volumes.map((volume) =>
      DiskFile.open(volume.file[node.node] as string, volume.sizeBytes, newLoopWrites(), threads),
    );
    const transports = await openLinkTransports(config, node, peer, identity);
    const metadata = await openMetadata(config, node, peer, bootId);
    const hypervisor = chooseHypervisor(config, node.runtimeDir, log);
    const arbiter = chooseArbiter(config, identity);
    const images = new KeptImageFiles(
      config.volumes.map(({ file }) => file[node.node] as string),
      config.metadata[node.node] as string,
      log,
    );
    const fence = await fenceOf(config, node);
    const parts = { bootId, files, transports, metadata, images, hypervisor, arbiter, fence };
    return new MirrorModule(config, node, log, file, parts);
  }

  private constructor(
    config: ModuleConfig,
    node: NodeConfig,
    log: Log,
    file: string,
    parts: {
      bootId: string;
      files: readonly DiskFile[];
      transports: readonly OpenedLinkTransport[];
      metadata: OpenedMetadata;
      images: KeptImageFiles;
      hypervisor: Hypervisor | undefined;
      arbiter: ChosenArbiter | undefined;
      fence: FenceSetup | undefined;
    },
  ) {
    this.#config = config;
    this.#nextVm = config.vm;
    this.node = node;
    this.#file = file;
    this.#log = log;
    this.paths = modulePaths(node.runtimeDir, config.name);
    this.#runFile = runWishFile(config.metadata[node.node] as string);
    const { metadata, hypervisor, transports, arbiter } = parts;
    this.rereadCertificates = () => rereadCertificates(config, node, transports, arbiter);
    this.#sideFiles = new SideFiles(
      { clusterId: config.clusterId, moduleId: config.moduleId, node: node.node },
      config.volumes.map(({ file, sizeBytes }) => ({ file: file[node.node] as string, sizeBytes })),
    );
    this.starts = new VmStarts({
      config,
      node,
      clock: systemClock,
      log,
      needs: hypervisor?.needs(),
      mirror: () => this.mirror,
      turnCame: () => this.#driver?.turnCame(),
      restartVm: (rule, because) => this.#driver?.startAnew(rule, because),
    });
    const vmEvents = {
      vmChanged: (state: VmState) => {
        // A VM that runs keeps the definition with which it was started.
        if (state === 'stopped' || state === 'starting') this.#takeVm();
        this.checks.vmChanged(state);
        this.mirror.vmChanged(state);
      },
      decided: (rule: string, action: string, because: string) =>
        this.mirror.decisions.add(rule, action, because),
      mayStart: (again: boolean) => this.checks.vmMayStart(again),
    };
    this.#driver = hypervisor && new VmDriver(hypervisor, systemClock, log, vmEvents, this.starts);
    const record = new DiskFileRecord(
      config.metadata[node.node] as string,
      config.volumes.map(({ name, file }, index) => {
        const { identity } = parts.files[index] as DiskFile;
        return { volume: name, file: file[node.node] as string, identity };
      }),
      log,
    );
    // The superblock may lack what an earlier process could only mark, and what was done while none ran.
    const marked = worseDoubt(metadata.state.diskDoubt, readDoubtMark(this.paths.doubtMark));
    const isReplaced = record.replaced.length > 0 && metadata.state.data !== 'fresh';
    const diskDoubt = worseDoubt(marked, isReplaced ? 'file-replaced' : 'none');
    if (diskDoubt !== 'file-replaced') void record.keep();
    if (diskDoubt !== 'none') for (const file of parts.files) file.forgetCached();
    const live = (): ModuleConfig => this.#config;
    this.mirror = new Mirror(
      {
        timers: config.timers,
        vmName: config.name,
        get failover() {
          return live().failover;
        },
        allowSplitBrain: config.arbiter.kind === 'none' && config.arbiter.allowSplitBrain,
        get preferred() {
          return live().preferred;
        },
        bootId: parts.bootId,
        instance: this.instance,
        hasVm: hypervisor !== undefined,
        get resyncBytesPerSecondMax() {
          return live().resyncBytesPerSecondMax;
        },
        diskWrittenAt: writtenAt(config.volumes.map(({ file }) => file[node.node] as string)),
      },
      { ...metadata.state, diskDoubt },
      config.volumes.map((volume, index) => ({
        name: volume.name,
        device: parts.files[index] as DiskFile,
        work: deviceWork((parts.files[index] as DiskFile).identity.dev),
        lastError: () => parts.files[index]?.lastError,
        bitmap: metadata.volumes[index]?.bitmap ?? new DirtyBitmap(volume.sizeBytes),
        hotExtents: metadata.volumes[index]?.hotExtents ?? [],
      })),
      {
        clock: systemClock,
        log,
        ids: { operationId: () => randomBytes(16).toString('hex') },
        transports: parts.transports,
        arbiter: parts.arbiter?.arbiter,
        fence: parts.fence,
        surroundings: config.ping.length === 0 ? undefined : createSurroundings(config.ping),
        metadata: metadataPort(
          metadata.store,
          statSync(config.metadata[node.node] as string).dev,
          // Durably in no doubt: not before, a process that dies in between finds the doubt again.
          (state) => {
            if (state.diskDoubt !== 'file-replaced') void record.keep();
          },
        ),
        checksum: blockChecksum,
        vm: this.#driver ?? noVm,
        doubtMark: doubtMarkFile(this.paths.doubtMark, log),
        inspectFiles: (done) =>
          inspectDiskFiles(
            config.volumes.map(({ name, file, sizeBytes }, index) => ({
              volume: name,
              file: file[node.node] as string,
              sizeBytes,
              open: parts.files[index] as DiskFile,
            })),
            done,
          ),
        exports: { serve: (available, because) => this.#serve(available, because) },
        keptImages: parts.images,
        sideFiles: this.#sideFiles,
        verifyReports: openVerifyReports(config.metadata[node.node] as string, log),
        peerChecks: (message) => this.checks.observe(message),
        wallTime: () => new Date().toISOString(),
        fatal: (because) => {
          log.error('fatal', { because });
          process.exit(1);
        },
      },
    );
    this.checks = new ModuleChecks(config.checks, {
      clock: systemClock,
      log,
      ask: checkProbes(hypervisor, { node: node.node, module: config.name }),
      store: openKeptFacts(config.metadata[node.node] as string, log),
      mirror: this.mirror,
      restartVm: (manner) => this.#driver?.restart(manner),
      stayStopped: (then) => void this.wish('stopped').finally(then),
      wallTime: (afterMs) => new Date(Date.now() + afterMs).toISOString(),
    });
  }

  /** What counts now: as this process was started, with what it took since. */
  get config(): ModuleConfig {
    return this.#config;
  }

  /**
   * Reads the file of the module again, or another one that takes its place; takes what counts without a restart, and answers what does
   * not. Throws `config-invalid` or `file-missing`: then nothing is changed.
   */
  reconfigure(file = this.#file): Promise<Reconfigured> {
    const done = this.#reconfiguring.then(() => this.#reconfigure(file));
    this.#reconfiguring = done.catch(() => undefined);
    return done;
  }

  async #reconfigure(file: string): Promise<Reconfigured> {
    const { config: wanted, vmText } = readModuleSource(file);
    if (wanted.moduleId !== this.#config.moduleId)
      throw new WorldError('config-invalid', {
        wanted: `${file}: module.id: ${this.#config.moduleId}`,
        found: wanted.moduleId,
        next: 'correct the file; a module never becomes another one',
      });
    const sameKind = wanted.vm.kind === this.#config.vm.kind;
    if (sameKind && this.#driver !== undefined) {
      await this.#driver.define(vmText);
      this.#nextVm = wanted.vm;
      if (this.mirror.vm === 'stopped') this.#takeVm();
    }
    const { config, applied, waiting } = takeLiveKeys(this.#config, wanted);
    this.#config = config;
    this.#file = file;
    this.starts.configure(config.start);
    this.checks.configure(config.checks);
    const keys = (changes: Reconfigured['applied']): string[] => changes.map(({ key }) => key);
    this.#log.info('reconfigured', { applied: keys(applied), waiting: keys(waiting) });
    return { applied, waiting };
  }

  #takeVm(): void {
    this.#config = { ...this.#config, vm: this.#nextVm };
  }

  async run(): Promise<void> {
    const vm: VmState = this.#driver === undefined ? 'none' : await this.#driver.adopt();
    this.mirror.vm = vm;
    this.starts.begin();
    this.checks.vmChanged(vm);
    this.#serve(false, 'this node is not primary');
    this.#control = await ControlServer.listen({
      path: this.paths.control,
      verbs: moduleVerbs(this),
      log: this.#log,
    });
    if (this.runWish() === 'started' && !this.checks.waits) await this.#start();
    else this.mirror.stayStopped();
    this.checks.look();
    // Not before: a client of a restarted primary waits in the backlog and is not told that there is none.
    await this.#listen();
    this.#tellStateEvents(this.#control);
    giveMemoryBackWhenQuiet(systemClock, ownMemory);
    this.#log.info('module-ready', { control: this.paths.control, vm });
  }

  #tellStateEvents(control: ControlServer): void {
    tellStateEvents({
      clock: systemClock,
      hasSubscribers: () => control.hasSubscribers,
      publish: (event) => control.publish(event),
      shown: () => shownState(this),
      decisions: () => this.mirror.decisions.entries,
    });
  }

  /** Resolves when the mirror has decided whether it still serves its guest. */
  #start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.mirror.start((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  /** What the operator wanted last. */
  runWish(): RunWish {
    return readRunWish(this.#runFile);
  }

  /** Records what the operator wants before it is done: a process that is started again goes on with it. */
  wish(wish: RunWish): Promise<void> {
    return writeRunWish(this.#runFile, wish);
  }

  /** Ends this process; the VM and the operator's wish stay as they are. */
  async exit(): Promise<void> {
    this.#log.info('module-exits', {});
    await this.#control?.close();
    process.exit(0);
  }

  /** Ends this process as a crash would, so that the supervisor starts another one at once. */
  beginAnew(): void {
    this.#log.info('module-begins-anew', {});
    process.exit(1);
  }

  /** Files with the blocks of copies that were given up. */
  sideFiles(): readonly string[] {
    return this.#sideFiles.list();
  }

  nbdUri(volume: string): string {
    return nbdUri(volume, this.paths.nbd(volume));
  }

  /** Takes the listening sockets that the supervisor holds; without one, the module makes its own. */
  async #listen(): Promise<void> {
    const inherited = new Map(
      (process.env['VMPAIR_LISTEN_FDS'] ?? '')
        .split(',')
        .filter((entry) => entry !== '')
        .map((entry) => entry.split('=') as [string, string]),
    );
    for (const { name } of this.config.volumes) {
      const fd = inherited.get(name);
      const address = fd === undefined ? { path: this.paths.nbd(name) } : { fd: Number(fd) };
      const options = { exports: this.#exports, clock: systemClock, log: this.#log };
      this.#listeners.push(await NbdListener.listen(address, options));
    }
  }

  #serve(available: boolean, because: string): void {
    this.config.volumes.forEach(({ name }, index) => {
      const device = this.mirror.volumes[index];
      if (available && device !== undefined) this.#exports.serve(name, device);
      else this.#exports.withhold(name, because);
    });
    if (!available) for (const listener of this.#listeners) listener.closeConnections(because);
  }
}

/** What switches the other node off. */
async function fenceOf(
  { fence, nodes, name }: ModuleConfig,
  { node }: NodeConfig,
): Promise<FenceSetup | undefined> {
  const peer = nodes.find((each) => each !== node) ?? '';
  const config = fence?.nodes[peer];
  if (fence === undefined || config === undefined) return undefined;
  const { required, deadlineMs, checkIntervalMs } = fence;
  const target = { node: peer, self: node, module: name, deadlineMs };
  return { fence: await createFence(config, target), kind: config.kind, required, checkIntervalMs };
}

/** When one of these files was written last. */
function writtenAt(files: readonly string[]): string {
  return new Date(Math.max(...files.map((file) => statSync(file).mtimeMs))).toISOString();
}

/** One transport per network. */
async function openLinkTransports(
  config: ModuleConfig,
  node: NodeConfig,
  peer: string,
  identity: TlsIdentity,
): Promise<readonly OpenedLinkTransport[]> {
  const { cutMarkerFile } = node.faults;
  const transports: OpenedLinkTransport[] = [];
  for (const [index, { own, peer: peerAddress }] of networksOf(config, node.node).entries()) {
    const options = {
      self: node.node,
      peer,
      listen: own,
      peerAddress,
      identity,
      encrypted: config.encryption,
      cutMarkerFiles:
        cutMarkerFile === undefined ? [] : [cutMarkerFile, networkCutMarker(cutMarkerFile, index + 1)],
    };
    transports.push(await openLinkTransport(options));
  }
  return transports;
}

function metadataPort(
  store: MetadataStore,
  dev: number,
  persisted: (state: PersistentState) => void,
): MirrorMetadata {
  return {
    work: deviceWork(dev),
    persist: (state, done) =>
      store.persist(state, (error) => {
        if (error === undefined) persisted(state);
        done(error === undefined);
      }),
    writeActivityLog: (volume, hot, done) =>
      store.writeActivityLog(volume, hot, (error) => done(error === undefined)),
    writeBitmap: (volume, bitmap, done) =>
      store.writeBitmapPages(volume, bitmap, bitmap.takeChangedPages(), (error) => done(error === undefined)),
  };
}

/** Opens the metadata file, or makes a fresh one where there is none: such a copy counts as holding nothing. */
function openMetadata(
  config: ModuleConfig,
  node: NodeConfig,
  peer: string,
  bootId: string,
): Promise<OpenedMetadata> {
  const file = config.metadata[node.node] as string;
  const identity: MetadataIdentity = {
    clusterId: config.clusterId,
    moduleId: config.moduleId,
    self: node.node,
    peer,
    volumes: config.volumes.map(({ name, sizeBytes }) => ({ name, sizeBytes })),
  };
  return new Promise((resolve, reject) => {
    if (existsSync(file)) {
      openMetadataFile(file, identity, (result) =>
        result instanceof WorldError ? reject(result) : resolve(result),
      );
      return;
    }
    const state: PersistentState = {
      ...identity,
      path: [],
      generation: 0,
      holder: undefined,
      base: undefined,
      role: 'secondary',
      data: 'fresh',
      diskDoubt: 'none',
      peerData: 'unknown',
      pending: undefined,
      bootId,
    };
    createMetadataFile(file, state, (result) => {
      if (result instanceof WorldError) reject(result);
      else resolve({ store: result.store, state, volumes: [] });
    });
  });
}
