/**
 * What a host is in the middle of, as a pure function of the simulated world: the columns of the coverage table, and the
 * instants at which faults are aimed. Several hold at a time: a source of a resync flushes, and writes its activity log.
 */
import { assertNever } from '../../src/base/assert.ts';
import type { Mirror } from '../../src/cluster/mirror.ts';
import type { SimulatedHost } from './simulated-host.ts';

export const phases = [
  /** The host runs and the module process does not. */
  'no-process',
  /** The process opens and recovers its metadata. */
  'starting',
  'handshake',
  'resync-source',
  'resync-target',
  'compare-source',
  'compare-target',
  /** Source: the last flush, the record, the target's word. */
  'finishing',
  /** In sync, and no guest request is under way. */
  'idle',
  /** In sync, and the guest writes. */
  'writing',
  /** A flush of both copies, or of the only one, is under way. */
  'flushing',
  /** A block of the activity log is written and not synced. */
  'al-transaction',
  /** A superblock is written and not synced: generation, role, data flag, or intent. */
  'generation-change',
  'bitmap-write',
  /** The arbiter has been asked and has not answered. */
  'claim',
  /** The VM shuts down for a swap. */
  'swap-vm',
  /** A swap: nothing is served, both copies are flushed, the role moves. */
  'swap-handing',
  /** A stop, from the operator's word to the end. */
  'leaving',
  /** The network in use is gone or silent, and another one lives. */
  'changing-network',
  /** No link, and not allowed to write alone. */
  'lost',
  'alone',
] as const;

export type Phase = (typeof phases)[number];

function changesNetwork({ session, config }: Mirror): boolean {
  const { paths } = session;
  const used = paths.find(({ state }) => state === 'active');
  const isSilent = used === undefined || used.heardMs > 2 * config.timers.heartbeatIntervalMs;
  return isSilent && paths.some(({ state }) => state === 'standby');
}

/** Empty when the host has no power. */
export function phasesOf(host: SimulatedHost): readonly Phase[] {
  const { mirror, world } = host;
  if (!host.powered) return [];
  if (!host.processAlive) return ['no-process'];
  if (mirror === undefined) return ['starting'];
  const found: Phase[] = [];
  const { pairing, primary, departure } = mirror;
  switch (pairing.phase) {
    case 'down':
      found.push(primary.soloAllowed ? 'alone' : 'lost');
      break;
    case 'in-sync': {
      const busy = world.hosts.some((each) => (each.mirror?.primary.inFlightCount ?? 0) > 0);
      found.push(busy ? 'writing' : 'idle');
      break;
    }
    case 'handshake':
    case 'resync-source':
    case 'resync-target':
    case 'compare-source':
    case 'compare-target':
    case 'finishing':
      found.push(pairing.phase);
      break;
    default:
      assertNever(pairing.phase, 'phase of a pair');
  }
  if (mirror.replicas.some(({ flushRunning }) => flushRunning !== undefined)) found.push('flushing');
  const { underWay } = host.storage;
  if (underWay.has('activity-log')) found.push('al-transaction');
  if (underWay.has('superblock')) found.push('generation-change');
  if (underWay.has('bitmap')) found.push('bitmap-write');
  if (mirror.operationOpen) found.push('claim');
  if (world.link.each.length > 1 && changesNetwork(mirror)) found.push('changing-network');
  if (departure.underWay) {
    if (host.lastCommand === 'stop') found.push('leaving');
    else if (departure.handing) found.push('swap-handing');
    else if (departure.shutsVmDown) found.push('swap-vm');
  }
  return found;
}
