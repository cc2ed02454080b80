/**
 * What the arbiter's record means for a copy that asked to go on alone, or whether it still may. A pure function: the rows are
 * tried top-down and the first that matches decides. A claim that was granted needs no table: its record is the one asked for.
 *
 * Only a record that this copy's last operation made, in the store that it knows, lets it go on; only one that names the peer
 * makes it outdated. Everything else is for the peer or the operator to settle.
 */
import { assertInvariant } from '../base/assert.ts';
import type { Decision } from '../base/decision.ts';
import type { ArbiterRecord, PersistentState, StoreId } from '../disk/state.ts';

export interface RecordSituation {
  readonly copy: Pick<PersistentState, 'self' | 'peer' | 'path' | 'generation' | 'arbiterStore'>;
  readonly record: ArbiterRecord | undefined;
  /** Where the record is. */
  readonly store: StoreId;
}

export type RecordAction = 'go-on-alone' | 'stand-down' | 'wait';

export interface RecordRow {
  readonly rule: string;
  readonly action: RecordAction;
  matches(situation: RecordSituation): boolean;
  because(situation: RecordSituation): string;
}

export const recordTable: readonly RecordRow[] = [
  {
    rule: 'other-store',
    action: 'wait',
    matches: ({ copy, store }) => copy.arbiterStore !== undefined && copy.arbiterStore !== store,
    because: () =>
      "the arbiter's records are not those that this copy knows (made anew, restored, or of another arbiter); " +
      'waiting for the peer, or for `vmpair arbiter recreate VM`',
  },
  {
    rule: 'record-names-this-node',
    action: 'go-on-alone',
    matches: ({ copy, record }) =>
      record !== undefined && record.holder === copy.self && record.operationId === copy.path.at(-1),
    because: () => "the arbiter's record still names this node",
  },
  {
    rule: 'arbiter-refused',
    action: 'stand-down',
    matches: ({ copy, record }) => record?.holder === copy.peer,
    because: ({ copy, record }) =>
      `the arbiter's record says that ${copy.peer} went on alone (generation ${record?.generation ?? 0})`,
  },
  {
    rule: 'record-does-not-fit',
    action: 'wait',
    matches: () => true,
    because: ({ copy, record }) =>
      `the arbiter has ${describeRecord(record)} for this module, which does not fit this copy (generation ${copy.generation}); ` +
      `waiting for the peer${copy.generation === 0 ? '' : ', or for `vmpair arbiter recreate VM`'}`,
  },
];

export function decideRecord(situation: RecordSituation): Decision<RecordAction> {
  const row = recordTable.find(({ matches }) => matches(situation));
  assertInvariant(row !== undefined, 'the last row of the record table matches everything');
  return { action: row.action, rule: row.rule, because: row.because(situation) };
}

/** A record in words. */
export function describeRecord(record: ArbiterRecord | undefined): string {
  return record === undefined ? 'no record' : `generation ${record.generation}, holder ${record.holder}`;
}
