/**
 * The state of a pair in one sentence, from what is known of its two nodes: a literal table, the first row that matches
 * decides. Pure. It is for people; nothing acts on it.
 */
import type { ModuleStatus } from '../../base/status.ts';

/** `stopped`: as the operator wants it. `unknown`: nobody tells. */
export type Health = 'ok' | 'warning' | 'critical' | 'stopped' | 'unknown';

/** What is known of the module on one node. */
export interface NodeSide {
  readonly node: string;
  /** The last one, however old. */
  readonly status: ModuleStatus | undefined;
  /** Whether the status is of now. */
  readonly isCurrent: boolean;
  /** Why it is not. */
  readonly problem: string;
}

export interface PairState {
  readonly health: Health;
  /** Name of the row. */
  readonly rule: string;
  readonly sentence: string;
  /** The node that serves the VM, as far as it is known. */
  readonly primary: string | undefined;
}

interface Known {
  readonly node: string;
  readonly status: ModuleStatus;
}

interface Facts {
  readonly sides: readonly NodeSide[];
  /** Sides whose status is of now. */
  readonly known: readonly Known[];
  /** The one that says it is primary, if exactly one does. */
  readonly primary: Known | undefined;
  /** The side that is not `primary`. */
  readonly other: NodeSide | undefined;
  readonly otherStatus: ModuleStatus | undefined;
}

interface Row {
  readonly rule: string;
  readonly when: (facts: Facts) => boolean;
  readonly health: Health;
  readonly say: (facts: Facts) => string;
}

const of = ({ node, status }: Known): string => `${node}: ${status.because}`;
const silent = ({ node, problem }: NodeSide): string => `${node} does not tell (${problem})`;
const sideText = (side: NodeSide): string =>
  side.isCurrent && side.status !== undefined ? `${side.node}: ${side.status.because}` : silent(side);
const all = ({ sides }: Facts): string => sides.map(sideText).join('; ');
const andOther = ({ other }: Facts): string => (other === undefined ? '' : `; ${sideText(other)}`);
const why = ({ primary }: Facts): string => (primary === undefined ? '' : primary.status.because);

const isServing = ({ status }: Known): boolean => status.axes.role === 'primary' && status.state !== 'STOP';

export const pairTable: readonly Row[] = [
  {
    rule: 'nobody-tells',
    when: ({ known }) => known.length === 0,
    health: 'unknown',
    say: all,
  },
  {
    rule: 'split-brain',
    when: ({ known }) => known.some(({ status }) => status.split !== undefined),
    health: 'critical',
    say: ({ known }) => known.find(({ status }) => status.split !== undefined)?.status.because ?? '',
  },
  {
    rule: 'two-primaries',
    when: ({ known }) => known.filter(isServing).length > 1,
    health: 'critical',
    say: ({ known }) => `both nodes serve the VM: ${known.map(of).join('; ')}`,
  },
  {
    rule: 'stopped',
    when: ({ known, sides }) =>
      known.length === sides.length && known.every(({ status }) => status.axes.run === 'stopped'),
    health: 'stopped',
    say: ({ sides }) => `stopped on ${sides.map(({ node }) => node).join(' and ')}`,
  },
  {
    rule: 'primary-does-not-tell',
    when: ({ known, primary }) =>
      primary === undefined && known.length === 1 && known[0]?.status.state === 'SECOND',
    health: 'warning',
    say: all,
  },
  {
    rule: 'no-primary',
    when: ({ primary }) => primary === undefined,
    health: 'critical',
    say: (facts) => `no node is known to serve the VM; ${all(facts)}`,
  },
  {
    rule: 'primary-not-ready',
    when: ({ primary }) => primary?.status.readiness === 'not-ready',
    health: 'critical',
    say: (facts) => `${facts.primary?.node} needs help: ${why(facts)}${andOther(facts)}`,
  },
  {
    rule: 'in-sync',
    when: ({ primary, otherStatus }) =>
      primary?.status.state === 'PRIM' &&
      primary.status.readiness === 'ready' &&
      otherStatus?.state === 'SECOND' &&
      otherStatus.readiness === 'ready',
    health: 'ok',
    say: ({ primary, other }) => `${primary?.node} serves the VM, and ${other?.node} holds every write`,
  },
  {
    rule: 'other-does-not-tell',
    when: ({ primary, otherStatus }) =>
      primary?.status.state === 'PRIM' && primary.status.readiness === 'ready' && otherStatus === undefined,
    health: 'warning',
    say: ({ primary, other }) =>
      `${primary?.node} serves the VM and says that both copies hold every write; ${other === undefined ? '' : silent(other)}`,
  },
  {
    rule: 'resync',
    when: ({ otherStatus }) => otherStatus?.state === 'SECOND' && otherStatus.readiness === 'transient',
    health: 'warning',
    say: ({ primary, other, otherStatus }) =>
      `${primary?.node} serves the VM, and ${other?.node} is not complete yet: ${otherStatus?.because}`,
  },
  {
    rule: 'alone',
    when: ({ primary }) => primary?.status.state === 'ALONE',
    health: 'warning',
    say: (facts) => `${facts.primary?.node} serves the VM alone: ${why(facts)}${andOther(facts)}`,
  },
  {
    rule: 'in-between',
    when: () => true,
    health: 'warning',
    say: (facts) => `${facts.primary?.node} serves the VM: ${why(facts)}${andOther(facts)}`,
  },
];

export function decidePairState(sides: readonly NodeSide[]): PairState {
  const known = sides.flatMap(({ node, status, isCurrent }) =>
    isCurrent && status !== undefined ? [{ node, status }] : [],
  );
  const serving = known.filter(isServing);
  const primary = serving.length === 1 ? serving[0] : undefined;
  const other = sides.find(({ node }) => node !== primary?.node);
  const otherStatus = other?.isCurrent === true ? other.status : undefined;
  const facts: Facts = { sides, known, primary, other, otherStatus };
  const row = pairTable.find(({ when }) => when(facts)) as Row;
  return { health: row.health, rule: row.rule, sentence: row.say(facts), primary: primary?.node };
}
