/** A status as a module of a pair in sync gives it, for tests. */
import type { ModuleStatus } from '../../src/base/status.ts';

export function sampleStatus(change: Partial<ModuleStatus> = {}): ModuleStatus {
  const node = change.node ?? 'A';
  const state = change.state ?? 'PRIM';
  const isPrimary = state === 'PRIM' || state === 'ALONE';
  return {
    module: 'vm1',
    node,
    peer: node === 'A' ? 'B' : 'A',
    pid: 4711,
    instance: '0123456789abcdef0123456789abcdef',
    state,
    readiness: 'ready',
    because: 'both copies hold every write',
    axes: {
      role: isPrimary ? 'primary' : 'secondary',
      data: 'up-to-date',
      link: state === 'PRIM' || state === 'SECOND' ? 'in-sync' : 'down',
      vm: 'none',
      run: state === 'STOP' ? 'stopped' : 'started',
    },
    generation: 2,
    networks: [
      {
        network: 1,
        own: '127.0.0.1:7301',
        peer: '127.0.0.2:7301',
        state: 'active',
        forMs: 1,
        heardMs: 1,
        because: '',
      },
    ],
    volumes: [
      { name: 'disk0', sizeBytes: 2 ** 31, file: '/disk0.img', nbd: 'nbd+unix:///disk0', dirtyBytes: 0 },
    ],
    resync: undefined,
    lastResync: undefined,
    verify: undefined,
    keptImage: undefined,
    split: undefined,
    fence: undefined,
    counters: { writes: 17, inFlight: 2 },
    decisions: [
      {
        action: 'be primary of a pair',
        rule: 'in-sync',
        because: 'both are equal',
        at: '2026-01-01T00:00:00.000Z',
      },
    ],
    ...change,
  };
}
