/** What a module answers on its control socket. */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import type { ModuleStatus, SplitStatus } from '../../src/base/status.ts';
import { WorldError } from '../../src/base/errors.ts';
import { withVmName } from '../../src/base/hint.ts';
import { maintenanceMaxMs } from '../../src/checks/maintenance.ts';
import { axesOf, deriveState } from '../../src/cluster/derive-state.ts';
import { refusal } from '../../src/cluster/departure.ts';
import type { PathFacts } from '../../src/cluster/link-session.ts';
import type { Endpoint } from '../../src/config/link-config.ts';
import { networksOf } from '../../src/config/module-config.ts';
import { dirtyBytes } from '../../src/engine/resync-source.ts';
import { noArgs, verb, type VerbTable } from '../../src/platform/control-socket.ts';
import { withStart } from '../../src/starts/show-start.ts';
import type { MirrorModule } from './mirror-module.ts';
import type { ShownState } from './state-events.ts';

const named = z.string().max(100).optional();
const primArgs = z.strictObject({
  /** Absent: refuses what loses anything. */
  force: z.enum(['kept-image', 'outdated', 'inconsistent', 'without-arbiter']).optional(),
  loseSince: named,
  peerIsOff: named,
});
const resolveArgs = z.strictObject({ keep: z.string().max(100), loseSince: named });
const secondArgs = z.strictObject({ full: z.boolean().optional(), giveUp: named });

const peerIsOffArgs = z.strictObject({ peerIsOff: z.string().max(100).optional() });

const reconfigureArgs = z.strictObject({
  /** Where the file of the module is from now on; default: where it was. */
  file: z.string().max(4096).refine(isAbsolute, 'an absolute path').optional(),
});

const verifyArgs = z.strictObject({
  volume: z.string().max(100).optional(),
  rateBytesPerSecond: z.number().min(1).optional(),
});

/** One of the three. */
const maintenanceArgs = z.strictObject({
  untilMs: z.number().int().optional(),
  forMs: z.number().int().min(1).optional(),
  off: z.literal(true).optional(),
});

type MaintenanceArgs = z.infer<typeof maintenanceArgs>;

/** How long the maintenance lasts from now on, ms; 0: it ends. Throws `control-refused`. */
export function maintenanceLength(asked: MaintenanceArgs, nowMs: number): number {
  const { untilMs, forMs, off } = asked;
  const named = Object.values(asked).filter((value) => value !== undefined).length;
  if (named !== 1)
    throw refusal('one of `untilMs`, `forMs` and `off`', `${named} of them`, 'name one; nothing was changed');
  if (off === true) return 0;
  const lengthMs = forMs ?? (untilMs ?? 0) - nowMs;
  if (lengthMs > 0 && lengthMs <= maintenanceMaxMs) return lengthMs;
  const days = maintenanceMaxMs / 86_400_000;
  const found = lengthMs > 0 ? `${(lengthMs / 86_400_000).toFixed(1)} days` : 'an end that has passed';
  throw refusal(`a maintenance of at most ${days} days`, found, 'name an earlier end; nothing was changed');
}

type Command = (done: (error: WorldError | undefined) => void) => void;

/** A command of the core as a promise; its refusal reaches the operator with the name of his VM. */
function runOn(vm: string, command: Command): Promise<{ readonly done: true }> {
  return new Promise((resolve, reject) => {
    command((error) => (error === undefined ? resolve({ done: true }) : reject(forVm(vm, error))));
  });
}

function forVm(vm: string, { code, wanted, found, next, cause }: WorldError): WorldError {
  const say = (text: string): string => withVmName(text, vm);
  return new WorldError(code, { wanted: say(wanted), found: say(found), next: say(next) }, cause);
}

export function moduleVerbs(module: MirrorModule): VerbTable {
  const { mirror } = module;
  const vm = module.config.name;
  const run = (command: Command) => runOn(vm, command);
  const checks = (note: (then: () => void) => void) => new Promise<void>((resolve) => note(resolve));
  /** Who gives the command has looked at the VM: its restarts count anew. */
  const looked = async (command: Command) => {
    const answer = await run(command);
    await checks((then) => module.checks.operatorStarts(then));
    return answer;
  };
  /** The wish is durable before it is done; what is refused leaves it as it was. */
  const started = async (command: Command) => {
    const before = module.runWish();
    await module.wish('started');
    try {
      return await looked(command);
    } catch (error) {
      await module.wish(before);
      throw error;
    }
  };
  /** What the operator said of the peer counts for the fence as well, once the command was not refused. */
  const believing =
    (peerIsOff: string | undefined) =>
    (done: Parameters<Command>[0]): Parameters<Command>[0] =>
    (error) => {
      if (error === undefined && peerIsOff !== undefined) mirror.fencing.believe(peerIsOff);
      done(error);
    };
  return {
    ping: verb(noArgs, () => ({
      pid: process.pid,
      instance: module.instance,
      module: module.config.name,
      pauseWithinMs: mirror.pauseWithinMs,
    })),
    status: verb(noArgs, () => moduleStatus(module)),
    explain: verb(noArgs, async () => ({
      dryRun: await new Promise((resolve) =>
        mirror.peerFacts.dryRun((found) =>
          resolve({
            ...found,
            because: withVmName(found.because, vm),
            sentence: withVmName(found.sentence, vm),
          }),
        ),
      ),
      decisions: mirror.decisions.entries,
    })),
    start: verb(noArgs, async () => {
      if (mirror.disk.hangs)
        throw refusal('a disk that answers', mirror.disk.sentence ?? '', 'wait, or end what blocks it');
      // After a disk failure nothing in this process is to be trusted with the disk: the next one opens everything anew.
      if (mirror.disk.isFinal) {
        await module.wish('started');
        await checks((then) => module.checks.operatorStarts(then));
        setImmediate(() => module.beginAnew());
        return { done: true };
      }
      return started((done) => mirror.start(done));
    }),
    prim: verb(primArgs, ({ force, loseSince, peerIsOff }) => {
      const believed = believing(peerIsOff);
      if (force === undefined) return started((done) => mirror.operator.prim(believed(done), peerIsOff));
      return looked((done) =>
        force === 'without-arbiter'
          ? mirror.operator.primWithoutArbiter(peerIsOff, believed(done))
          : mirror.forcedStart.start({ kind: force, loseSince, peerIsOff }, believed(done)),
      );
    }),
    second: verb(secondArgs, ({ full, giveUp }) => {
      if (full !== true) return started((done) => mirror.operator.second(done));
      return run((done) => mirror.operator.secondFull(giveUp, done));
    }),
    resolve: verb(resolveArgs, ({ keep, loseSince }) =>
      run((done) => mirror.resolve.start(keep, loseSince, done)),
    ),
    stop: verb(noArgs, async () => {
      // Not before: a module whose stop is refused, or that dies in it, goes on as it was.
      await run((done) => mirror.stop(done));
      await module.wish('stopped');
      await checks((then) => module.checks.operatorStops(then));
      return { done: true };
    }),
    maintenance: verb(maintenanceArgs, async (asked) => {
      const forMs = maintenanceLength(asked, Date.now());
      await checks((then) => module.checks.maintain(forMs, then));
      return { until: module.checks.status.maintenanceUntil };
    }),
    'fence-test': verb(noArgs, () => new Promise((resolve) => mirror.fencing.test(resolve))),
    'fence-confirm': verb(peerIsOffArgs, ({ peerIsOff }) =>
      run((done) => mirror.fencing.confirmPeerOff(peerIsOff, done)),
    ),
    'accept-disk': verb(noArgs, () => started((done) => mirror.operator.acceptDisk(done))),
    arbiter: verb(
      noArgs,
      () =>
        new Promise((resolve) =>
          mirror.newRecord.status((found) => resolve({ ...found, because: withVmName(found.because, vm) })),
        ),
    ),
    'arbiter-recreate': verb(peerIsOffArgs, ({ peerIsOff }) =>
      run((done) => mirror.newRecord.recreate(peerIsOff, believing(peerIsOff)(done))),
    ),
    verify: verb(verifyArgs, (request) => run((done) => mirror.verify.start(request, done))),
    'verify-stop': verb(noArgs, () => run((done) => mirror.verify.stop(done))),
    'reread-certificates': verb(noArgs, () => module.rereadCertificates()),
    swap: verb(noArgs, () => run((done) => mirror.swap(done))),
    reconfigure: verb(reconfigureArgs, ({ file }) => module.reconfigure(file)),
    exit: verb(noArgs, () => {
      setImmediate(() => void module.exit());
      return { done: true };
    }),
  };
}

function addressText({ host, port }: Endpoint): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function namedSplit(split: SplitStatus | undefined, name: string): SplitStatus | undefined {
  return split && { ...split, because: withVmName(split.because, name) };
}

/** What people read first. */
export function shownState({ mirror, config, starts }: MirrorModule): ShownState {
  const derived = withStart(deriveState(mirror), starts.status);
  return { ...derived, because: withVmName(derived.because, config.name), axes: axesOf(mirror) };
}

function moduleStatus(module: MirrorModule): ModuleStatus {
  const { mirror, config, node } = module;
  const { primary, secondary, pairing, replicas } = mirror;
  return {
    module: config.name,
    node: node.node,
    peer: mirror.state.peer,
    pid: process.pid,
    instance: module.instance,
    ...shownState(module),
    generation: mirror.state.generation,
    networks: networksOf(config, node.node).map(({ own, peer }, index) => ({
      network: index + 1,
      own: addressText(own),
      peer: addressText(peer),
      ...(mirror.session.paths[index] as PathFacts),
    })),
    volumes: config.volumes.map((volume, index) => {
      const replica = replicas[index];
      return {
        name: volume.name,
        sizeBytes: volume.sizeBytes,
        file: volume.file[node.node] as string,
        nbd: module.nbdUri(volume.name),
        dirtyBytes: replica === undefined ? 0 : dirtyBytes(replica),
      };
    }),
    resync: pairing.progress,
    lastResync: pairing.lastResync,
    verify: mirror.verify.report,
    split: namedSplit(mirror.splitBrain.status, config.name),
    sideFiles: module.sideFiles(),
    keptImage: mirror.keptImage.statusFor(mirror.state.data),
    fence: mirror.fencing.status,
    start: module.starts.status,
    checks: module.checks.status,
    counters: {
      ...primary.counters,
      inFlight: primary.inFlightCount,
      appliedWrites: secondary.counters.appliedWrites,
      appliedBytes: secondary.counters.appliedBytes,
      appliedFlushes: secondary.counters.flushes,
      resyncBytesApplied: secondary.counters.resyncBytes,
      heartbeatGapMaxMs: Math.round(mirror.session.watch.heartbeatGapMaxMs),
      activityLogTransactions: replicas.reduce((sum, replica) => sum + replica.log.transactions, 0),
    },
    decisions: mirror.decisions.entries,
  };
}
