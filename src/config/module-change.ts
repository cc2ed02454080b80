/**
 * What a change of a module's configuration takes until it counts. A pure function of two configurations, by key; it does not
 * know whether a VM runs or a volume has data, so it names the class that holds when they do.
 */
import type { ModuleConfig } from './module-config.ts';

/**
 * `live`: counts as soon as it is applied. `module-restart`: from the next start of the module process; the VM runs on.
 * `vm-restart`: from the next start of the VM. `refused`: not while the module has data.
 */
export type ChangeClass = 'live' | 'module-restart' | 'vm-restart' | 'refused';

/** Mildest first. */
export const changeClasses: readonly ChangeClass[] = ['live', 'module-restart', 'vm-restart', 'refused'];

export interface KeyChange {
  /** Key path as `module.yaml` has it. */
  readonly key: string;
  readonly class: ChangeClass;
  /** One sentence for a person, without the full stop. */
  readonly because: string;
}

interface KeyRule {
  /** As `module.yaml` has it. */
  readonly key: string;
  readonly class: ChangeClass;
  readonly because: string;
}

const identity = 'the copies on both nodes and the record of the arbiter carry it';

/** Every key of a module: none can be added without saying what a change of it takes. */
export const moduleKeyRules: { readonly [Key in keyof ModuleConfig]-?: KeyRule } = {
  clusterId: { key: 'cluster', class: 'refused', because: identity },
  moduleId: { key: 'module.id', class: 'refused', because: identity },
  name: {
    key: 'module.name',
    class: 'refused',
    because: 'sockets, logs and the VM are named after it; remove the module and add it under the new name',
  },
  nodes: {
    key: 'nodes',
    class: 'refused',
    because: 'the copies and the record of the arbiter carry their names',
  },
  volumes: {
    key: 'volumes',
    class: 'refused',
    because: 'the data is in these files at these sizes; remove the module and add it again',
  },
  metadata: {
    key: 'metadata',
    class: 'refused',
    because: 'a module that opens another metadata file does not know its data any more',
  },
  links: {
    key: 'nodes.NAME.links',
    class: 'module-restart',
    because: 'the link is opened when the module process starts, on both nodes',
  },
  encryption: {
    key: 'encryption',
    class: 'module-restart',
    because: 'both ends of the link must agree from its first byte on',
  },
  arbiter: {
    key: 'arbiter',
    class: 'module-restart',
    because: 'a module asks the arbiter that it was started with; move the record first',
  },
  fence: {
    key: 'fence',
    class: 'module-restart',
    because: 'the fence is set up when the module process starts',
  },
  ping: {
    key: 'ping',
    class: 'module-restart',
    because: 'what is reached is set up when the module process starts',
  },
  timers: {
    key: 'timers',
    class: 'module-restart',
    because: 'the module and the watchdog of its supervisor must change them together',
  },
  preferred: { key: 'preferred', class: 'live', because: 'it is looked at with every decision' },
  checks: { key: 'checks', class: 'live', because: 'a check that stays as it was keeps what it found' },
  start: { key: 'start', class: 'live', because: 'the next start of the VM is ordered by it' },
  failover: { key: 'failover', class: 'live', because: 'it is looked at with every decision' },
  resyncBytesPerSecondMax: {
    key: 'resync.maxMibPerSecond',
    class: 'live',
    because: 'a resync that runs takes the new limit',
  },
  vm: {
    key: 'vm',
    class: 'vm-restart',
    because: 'a VM that runs keeps the definition that it was started with',
  },
};

const otherKind: KeyRule = {
  key: 'vm.kind',
  class: 'refused',
  because:
    'the adapter of the new kind would not find the VM of the old one; stop and remove the module, and add it again',
};
const firstVm: KeyRule = {
  key: 'vm.kind',
  class: 'module-restart',
  because: 'the adapter of the hypervisor is chosen when the module process starts',
};

/** Text by which two plain values are equal; the order of keys does not count. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([left], [right]) => (left < right ? -1 : 1)))
      : inner,
  );
}

function isSame(key: keyof ModuleConfig, before: ModuleConfig, after: ModuleConfig): boolean {
  const isOtherKind = before.vm.kind !== after.vm.kind;
  const value = (config: ModuleConfig): unknown => {
    // Which node a file names first means nothing.
    if (key === 'nodes') return config.nodes.toSorted();
    // A VM brings its own check with it.
    if (key === 'checks' && isOtherKind)
      return { ...config.checks, checks: config.checks.checks.filter(({ kind }) => kind !== 'vm') };
    return config[key];
  };
  return canonical(value(before) ?? null) === canonical(value(after) ?? null);
}

function ruleOf(key: keyof ModuleConfig, before: ModuleConfig, after: ModuleConfig): KeyRule {
  if (key !== 'vm' || before.vm.kind === after.vm.kind) return moduleKeyRules[key];
  return before.vm.kind === 'none' ? firstVm : otherKind;
}

/** What differs, by key, in the order of the table. Empty: nothing that counts. */
export function moduleChanges(before: ModuleConfig, after: ModuleConfig): readonly KeyChange[] {
  return (Object.keys(moduleKeyRules) as (keyof ModuleConfig)[])
    .filter((key) => !isSame(key, before, after))
    .map((key) => ruleOf(key, before, after));
}

/** The severest class of these changes; `undefined`: there is none. */
export function severestClass(changes: readonly KeyChange[]): ChangeClass | undefined {
  return changeClasses.findLast((each) => changes.some((change) => change.class === each));
}
