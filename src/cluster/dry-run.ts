/**
 * What would happen if the two copies met now: the verdict of the resync table without a handshake, for people. It uses the
 * same pure `decideResync` and changes nothing. What is not known of the peer is said, never guessed in silence.
 */
import type { NodeName } from '../base/identity.ts';
import { sizeText } from '../base/size-text.ts';
import type { PersistentState } from '../disk/state.ts';
import type { CopyFacts } from '../link/control-messages.ts';
import { decideResync, type ResyncAction, type ResyncScope } from './decide-resync.ts';

/** Where the facts of the other copy come from; the later, the less they are worth. */
export type FactsOrigin = 'asked-now' | 'last-heard' | 'own-record' | 'metadata-file';

/** What one side holds, as far as it is known. */
export interface KnownCopy {
  readonly node: NodeName;
  readonly facts: CopyFacts;
  readonly origin: FactsOrigin;
  /** Bytes that its bitmaps and activity logs cover; `undefined`: not known. */
  readonly coveredBytes: number | undefined;
}

export interface DryRun {
  readonly self: NodeName;
  readonly peer: NodeName;
  readonly peerFacts: FactsOrigin;
  readonly action: ResyncAction;
  readonly rule: string;
  readonly because: string;
  /** Whose copy would be the source; `undefined`: nobody's. */
  readonly source: NodeName | undefined;
  readonly scope: ResyncScope;
  /** At most so many bytes would be examined; `undefined`: not known. */
  readonly examinedBytesMax: number | undefined;
  readonly targetStaysUpToDate: boolean;
  /** All of it for a person. */
  readonly sentence: string;
}

const originWords: Readonly<Record<FactsOrigin, (node: NodeName) => string>> = {
  'asked-now': (node) => `${node} was asked over the link now`,
  'last-heard': (node) => `${node} is not connected; what it said at the last handshake is used`,
  'own-record': (node) => `${node} was not heard by this process; what this node recorded of it is used`,
  'metadata-file': (node) => `${node} as its metadata file says`,
};

/** `volumeBytes`: the sizes of all volumes together. */
export function dryRun(mine: KnownCopy, theirs: KnownCopy, preferMine: boolean, volumeBytes: number): DryRun {
  const verdict = decideResync(mine.facts, theirs.facts, preferMine);
  const { action, rule, because, scope } = verdict;
  const source = action === 'source' ? mine.node : action === 'target' ? theirs.node : undefined;
  const known =
    mine.coveredBytes === undefined || theirs.coveredBytes === undefined
      ? undefined
      : Math.min(volumeBytes, mine.coveredBytes + theirs.coveredBytes);
  const examined = { none: 0, bits: known, full: volumeBytes }[scope];
  const examinedBytesMax = source === undefined ? undefined : examined;
  return {
    self: mine.node,
    peer: theirs.node,
    peerFacts: theirs.origin,
    action,
    rule,
    because,
    source,
    scope,
    examinedBytesMax,
    targetStaysUpToDate: verdict.targetStaysUpToDate,
    sentence: sentenceOf(mine.node, theirs, source, action, scope, examinedBytesMax, rule, because),
  };
}

function sentenceOf(
  self: NodeName,
  { node: peer, origin }: KnownCopy,
  source: NodeName | undefined,
  action: ResyncAction,
  scope: ResyncScope,
  examinedBytesMax: number | undefined,
  rule: string,
  because: string,
): string {
  const target = source === self ? peer : self;
  const amount =
    examinedBytesMax === undefined ? 'an unknown amount' : `at most ${sizeText(examinedBytesMax)}`;
  const work = {
    none: 'nothing is examined',
    bits: `${amount} in bitmaps and activity logs is examined`,
    full: `every block is examined, ${amount}`,
  }[scope];
  const outcome =
    source === undefined
      ? { wait: 'nobody is the source, both wait', refuse: 'they refuse each other' }[
          action as 'wait' | 'refuse'
        ]
      : `${source} is the source and ${target} the target; ${work}`;
  return `if ${self} and ${peer} met now: ${outcome} (${rule}: ${because}). ${originWords[origin](peer)}.`;
}

/** What this node's own durable state says of its peer's copy, when the peer itself was never heard. */
export function peerAsRecorded(state: PersistentState): CopyFacts {
  const inCommon = state.holder === state.self ? state.path.slice(0, commonLength(state)) : [...state.path];
  const generation = Math.max(0, state.generation - (state.path.length - inCommon.length));
  const worth = state.peerData === 'unknown' ? 'up-to-date' : state.peerData;
  return {
    data: inCommon.length === 0 ? 'fresh' : worth,
    path: inCommon,
    generation,
    ...(inCommon.length === 0 ? {} : { holder: 'both' }),
    claimOpen: false,
    guestRuns: false,
    rebooted: false,
    lastRole: state.role === 'primary' ? 'secondary' : 'primary',
    bootId: unknownBoot,
  };
}

/** Operations of the path that the peer has for certain: those up to the base. */
function commonLength({ path, base }: PersistentState): number {
  return base === undefined ? 0 : path.indexOf(base) + 1;
}

const unknownBoot = '0'.repeat(32);

/** What a module would say of a copy if its process started now, on a host that was not rebooted, without a running VM. */
export function factsOfState(state: PersistentState): CopyFacts {
  return {
    data: state.data,
    path: [...state.path],
    generation: state.generation,
    ...(state.holder === undefined ? {} : { holder: state.holder }),
    ...(state.base === undefined ? {} : { base: state.base }),
    claimOpen: state.pending !== undefined,
    guestRuns: false,
    rebooted: false,
    lastRole: state.role,
    bootId: state.bootId,
  };
}

const booleans = [false, true] as const;

/**
 * Verdicts that differ from that of `dryRun` when a VM still runs on a side, or a host was rebooted: what two files cannot
 * tell. Each once, in words.
 */
export function otherwise(mine: KnownCopy, theirs: KnownCopy, preferMine: boolean): string[] {
  const usual = decideResync(mine.facts, theirs.facts, preferMine);
  const said = new Set([`${usual.action} ${usual.rule}`]);
  const lines: string[] = [];
  for (const { side, fact, words } of oneSided) {
    for (const value of booleans) {
      const changed = (known: KnownCopy, own: boolean): CopyFacts => ({
        ...known.facts,
        [fact]: own ? value : known.facts[fact],
      });
      const verdict = decideResync(
        changed(mine, side === 'mine'),
        changed(theirs, side === 'theirs'),
        preferMine,
      );
      const key = `${verdict.action} ${verdict.rule}`;
      if (said.has(key)) continue;
      said.add(key);
      const node = side === 'mine' ? mine.node : theirs.node;
      const source = verdict.action === 'source' ? mine.node : theirs.node;
      lines.push(`if ${words(node)}: ${source} is the source (${verdict.rule}: ${verdict.because})`);
    }
  }
  return lines;
}

const oneSided = [
  { side: 'mine', fact: 'guestRuns', words: (node: NodeName) => `the VM still runs on ${node}` },
  { side: 'theirs', fact: 'guestRuns', words: (node: NodeName) => `the VM still runs on ${node}` },
  { side: 'mine', fact: 'rebooted', words: (node: NodeName) => `the host of ${node} was rebooted` },
  { side: 'theirs', fact: 'rebooted', words: (node: NodeName) => `the host of ${node} was rebooted` },
] as const;
