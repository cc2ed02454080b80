/**
 * What a witness counts and measures, as Prometheus metrics in a registry of its own. Labels are bounded: the clusters that
 * are served, and the fixed words below.
 */
import type { Counter, Gauge } from 'prom-client';
import { MetricSet } from '../platform/metric-set.ts';
import type { RecordEntry } from './store-directory.ts';
import type { ClusterIdentities } from './cluster-identities.ts';

export type SwapOutcome = 'granted' | 'already-granted' | 'refused' | 'other-store' | 'rejected' | 'failed';

/** From a fast SSD to a disk that makes nodes wait for their deadline. */
const writeBucketsSeconds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];
const msPerSecond = 1000;

export class WitnessMetrics {
  readonly #set = new MetricSet('vmpair_witness_');
  readonly registry = this.#set.registry;
  readonly swaps = this.#set.counter('swaps_total', 'Swaps by outcome.', ['cluster', 'outcome']);
  readonly reads = this.#set.counter('reads_total', 'Records read.', ['cluster', 'outcome']);
  readonly connections = this.#set.gauge('connections', 'Open connections of nodes.', ['cluster']);
  readonly connectionsRejected = this.#set.counter(
    'connections_rejected_total',
    'Connections that were refused, by error code.',
    ['code'],
  );
  readonly rateLimited = this.#set.counter(
    'rate_limited_total',
    'Connections and requests above the limits of their cluster.',
    ['cluster', 'limit'],
  );
  readonly recordsWentBack = this.#set.counter(
    'records_went_back_total',
    'Nodes that knew a later record than the store holds: it is not the newest state of itself.',
    ['cluster'],
  );
  readonly writeSeconds = this.#set.histogram(
    'store_write_seconds',
    'Time until a record would survive a loss of power: write, fsync, rename, fsync of the directory.',
    [],
    writeBucketsSeconds,
  );

  /** Gauges that are looked up when they are asked for. */
  watch(clusters: ClusterIdentities, records: () => readonly RecordEntry[]): void {
    this.#set.computed('clusters', 'Clusters that are served.', [], (gauge) =>
      gauge.set(clusters.all.length),
    );
    this.#set.computed('cluster_problems', 'Sets of certificates that cannot be used.', [], (gauge) =>
      gauge.set(clusters.refused.length),
    );
    const expiryHelp = 'When a certificate of the witness ends, seconds since 1970.';
    const expiryLabels = ['cluster', 'certificate'];
    this.#set.computed('certificate_expiry_timestamp_seconds', expiryHelp, expiryLabels, (gauge) => {
      gauge.reset();
      for (const { clusterId, certificate, expiresMs } of clusters.expiries)
        gauge.set({ cluster: clusterId, certificate }, expiresMs / msPerSecond);
    });
    this.#set.computed('records', 'Records by whether they are used.', ['state'], (gauge) => {
      const entries = records();
      const refused = entries.filter(({ problem }) => problem !== undefined).length;
      gauge.set({ state: 'used' }, entries.length - refused);
      gauge.set({ state: 'refused' }, refused);
    });
    this.#set.computed('resident_memory_bytes', 'Memory of the process.', [], (gauge) =>
      gauge.set(process.memoryUsage.rss()),
    );
  }

  /** A cluster that is served no more leaves no label behind. */
  forget(clusterId: string): void {
    for (const metric of [
      this.swaps,
      this.reads,
      this.connections,
      this.rateLimited,
      this.recordsWentBack,
    ] as const) {
      void removeCluster(metric, clusterId);
    }
  }
}

async function removeCluster(metric: Counter | Gauge, clusterId: string): Promise<void> {
  const { values } = await metric.get();
  for (const { labels } of values) if (labels['cluster'] === clusterId) metric.remove(labels);
}
