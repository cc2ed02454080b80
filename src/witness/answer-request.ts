/**
 * One request of a node: carried out on the store, counted, and answered. Invariants: the cluster of the record is the one of
 * the certificate; a node claims only for itself or for both; a failure of the world is an answer and never an exception.
 */
import type { WitnessFailureCode, WitnessRequest, WitnessResponse } from '../arbiter/witness-protocol.ts';
import { assertNever } from '../base/assert.ts';
import type { ErrorCode } from '../base/error-catalogue.ts';
import { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { ArbiterRecord } from '../disk/state.ts';
import type { Party } from '../platform/certificate-identity.ts';
import type { SwapOutcome, WitnessMetrics } from './metrics.ts';
import type { RecordStore } from './record-store.ts';

export interface AnswerOptions {
  readonly store: RecordStore;
  readonly log: Log;
  readonly metrics: WitnessMetrics;
}

type SwapRequest = Extract<WitnessRequest, { op: 'swap' }>;

/** Longest message of a failure, characters. */
const messageMax = 1000;

export function failure(id: number | null, code: WitnessFailureCode, message: string): WitnessResponse {
  return { id, kind: 'failure', code, message: message.slice(0, messageMax) };
}

/** What a node is told: everything that is not known to have changed nothing may have been carried out. */
const failureCodes: Partial<Record<ErrorCode, WitnessFailureCode>> = {
  'record-damaged': 'record-damaged',
  'record-restored': 'record-damaged',
  'store-restored': 'record-damaged',
  'limit-reached': 'request-rejected',
};

export async function answerRequest(
  request: WitnessRequest,
  party: Party,
  options: AnswerOptions,
): Promise<WitnessResponse> {
  const { id, op, moduleId } = request;
  const { clusterId, name: node } = party;
  const { store, log, metrics } = options;
  try {
    if (op === 'swap') return await answerSwap(request, party, options);
    const record = (await store.read({ clusterId, moduleId })) ?? null;
    metrics.reads.inc({ cluster: clusterId, outcome: 'answered' });
    return { id, kind: 'record', record };
  } catch (error) {
    if (!(error instanceof WorldError)) throw error;
    const counter = op === 'swap' ? metrics.swaps : metrics.reads;
    counter.inc({ cluster: clusterId, outcome: 'failed' });
    log.error('request-failed', { clusterId, moduleId, node, code: error.code, because: error.message });
    return failure(id, failureCodes[error.code] ?? 'storage-failed', error.message);
  }
}

/** Throws `WorldError` of the store. */
async function answerSwap(
  { id, moduleId, store: wantedStore, expected, next }: SwapRequest,
  { clusterId, name: node }: Party,
  { store, log, metrics }: AnswerOptions,
): Promise<WitnessResponse> {
  const count = (outcome: SwapOutcome): void => metrics.swaps.inc({ cluster: clusterId, outcome });
  if (wantedStore !== null && wantedStore !== store.id) {
    count('other-store');
    return { id, kind: 'other-store' };
  }
  if (next.holder !== 'both' && next.holder !== node) {
    count('rejected');
    return failure(
      id,
      'request-rejected',
      `node ${node} may claim for itself or for both, not for ${next.holder}`,
    );
  }
  const key = { clusterId, moduleId };
  const { action, rule, because } = await store.swap(key, expected ?? undefined, next, node);
  const { generation, holder, operationId } = next;
  log.info('swap', { ...key, node, generation, holder, operationId, rule, because });
  switch (action.kind) {
    case 'write':
      count('granted');
      return { id, kind: 'granted', record: action.record };
    case 'already':
      count('already-granted');
      return { id, kind: 'granted', record: action.record };
    case 'refuse':
      count('refused');
      if (wantedStore !== null && wentBack(action.record, expected)) {
        metrics.recordsWentBack.inc({ cluster: clusterId });
        log.error('record-went-back', {
          ...key,
          node,
          because:
            `node ${node} was granted generation ${expected?.generation} by this store, which now holds ` +
            `${action.record?.generation}: it was put back; stop the witness, then run ` +
            '`vmpair witness accept-restored --after-snapshot`',
        });
      }
      return { id, kind: 'refused', record: action.record ?? null };
    case 'reject':
      count('rejected');
      return failure(id, 'request-rejected', `${rule}: ${because}`);
    default:
      return assertNever(action, 'answer of a swap');
  }
}

/** Records only grow, so a store whose record is below what it granted is an earlier state of itself. */
function wentBack(current: ArbiterRecord | undefined, expected: ArbiterRecord | null): boolean {
  return current !== undefined && expected !== null && current.generation < expected.generation;
}
