/** What a running witness says about itself, as `vmpair witness status` and /healthz show it. */
import type { ArbiterRecord } from '../disk/state.ts';
import type { ClusterIdentities } from './cluster-identities.ts';
import { expiryWarnings } from './expiry.ts';
import type { WitnessHealth } from './metrics-server.ts';
import type { RecordChange } from './record-file.ts';
import type { RecordStore } from './record-store.ts';
import type { RecordEntry } from './store-directory.ts';

export interface ModuleRecord {
  readonly clusterId: string;
  readonly moduleId: string;
  readonly record: ArbiterRecord;
  readonly changed: RecordChange;
}

export interface RefusedRecord {
  readonly file: string;
  readonly code: string;
  readonly found: string;
  readonly next: string;
}

export interface ClusterStatus {
  readonly clusterId: string;
  /** Name under which its nodes know the witness. */
  readonly witness: string;
  readonly connections: number;
  /** The earlier end of its two certificates, ISO 8601. */
  readonly certificateUntil: string;
}

export interface WitnessStatus {
  readonly listening: { readonly host: string; readonly port: number };
  readonly store: string;
  readonly dataDir: string;
  readonly health: WitnessHealth;
  readonly clusters: readonly ClusterStatus[];
  readonly modules: readonly ModuleRecord[];
  readonly refusedRecords: readonly RefusedRecord[];
}

export function modulesOf(entries: readonly RecordEntry[]): ModuleRecord[] {
  return entries
    .flatMap(({ content }) => {
      if (content === undefined) return [];
      const { clusterId, moduleId, record, changed } = content;
      return [{ clusterId, moduleId, record, changed }];
    })
    .toSorted((left, right) => orderText(left).localeCompare(orderText(right)));
}

function orderText({ clusterId, moduleId }: ModuleRecord): string {
  return `${clusterId} ${moduleId}`;
}

export function refusedOf(entries: readonly RecordEntry[]): RefusedRecord[] {
  return entries.flatMap(({ file, problem }) => {
    if (problem === undefined) return [];
    const { code, found, next } = problem;
    return [{ file, code, found, next }];
  });
}

export function clustersOf(
  clusters: ClusterIdentities,
  connectionCount: (clusterId: string) => number,
): ClusterStatus[] {
  return clusters.all.map(({ self: { clusterId, name } }) => {
    const ends = clusters.expiries.filter((expiry) => expiry.clusterId === clusterId);
    return {
      clusterId,
      witness: name,
      connections: connectionCount(clusterId),
      certificateUntil: new Date(Math.min(...ends.map(({ expiresMs }) => expiresMs))).toISOString(),
    };
  });
}

export function healthOf(
  store: Pick<RecordStore, 'failed' | 'entries' | 'tellsCopies'>,
  clusters: ClusterIdentities,
  nowMs: number,
): WitnessHealth {
  const expiries = expiryWarnings(clusters.expiries, nowMs);
  const failed = store.failed === undefined ? [] : [store.failed.message];
  const problems = [
    ...failed,
    ...refusedOf(store.entries).map(({ file, code, found }) => `${code}: ${file}: ${found}`),
    ...clusters.refused.map(({ name, problem }) => `${name}: ${problem.message}`),
    ...expiries.filter(({ expired }) => expired).map(({ because }) => because),
  ];
  const warnings = [
    ...expiries.filter(({ expired }) => !expired).map(({ because }) => because),
    ...(store.tellsCopies ? [] : [copiesWarning]),
  ];
  return {
    status: failed.length > 0 ? 'failed' : problems.length > 0 ? 'degraded' : 'ok',
    problems,
    warnings,
  };
}

/** For a file system without birth times. */
export const copiesWarning =
  'the file system of dataDir keeps no birth times: a restored store may not be told from the current one';
