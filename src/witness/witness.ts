/**
 * A whole witness: configuration, certificates, store, the server for nodes, the control socket and the metrics. It puts
 * together and decides nothing.
 */
import { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { ControlServer, noArgs, verb } from '../platform/control-socket.ts';
import type { SocketAddress } from '../platform/tls-sockets.ts';
import { ClusterIdentities, type IdentityChange } from './cluster-identities.ts';
import { listIdentitySources, readWitnessConfig, type WitnessConfig } from './config.ts';
import { expiryWarnings } from './expiry.ts';
import { WitnessMetrics } from './metrics.ts';
import { type MetricsServer, startMetricsServer } from './metrics-server.ts';
import { RecordStore } from './record-store.ts';
import { startWitnessServer, type WitnessServer } from './server.ts';
import { clustersOf, copiesWarning, healthOf, modulesOf, refusedOf, type WitnessStatus } from './status.ts';

const expiryCheckIntervalMs = 24 * 60 * 60 * 1000;
const msPerSecond = 1000;

/** What `vmpair witness reload` answers. */
export interface ReloadReport {
  readonly added: readonly string[];
  readonly renewed: readonly string[];
  readonly withdrawn: readonly string[];
  readonly refused: readonly {
    readonly name: string;
    readonly because: string;
    readonly keptBefore: boolean;
  }[];
  /** Keys of the configuration that count from the next start only, and have changed. */
  readonly needsRestart: readonly string[];
}

interface Parts {
  readonly config: WitnessConfig;
  readonly clusters: ClusterIdentities;
  readonly store: RecordStore;
  readonly metrics: WitnessMetrics;
  readonly server: WitnessServer;
  readonly log: Log;
}

export class Witness {
  readonly #configFile: string;
  readonly #parts: Parts;
  readonly #expiryTimer: NodeJS.Timeout;
  #control: ControlServer | undefined;
  #metricsServer: MetricsServer | undefined;

  private constructor(configFile: string, parts: Parts) {
    this.#configFile = configFile;
    this.#parts = parts;
    this.#expiryTimer = setInterval(() => this.#warnOfExpiry(), expiryCheckIntervalMs).unref();
  }

  /**
   * Serves when it answers. `fatal` is called once when the store cannot go on. Throws `WorldError`: store-restored, or why
   * the configuration or what it names cannot be used.
   */
  static async start(configFile: string, log: Log, fatal: (error: WorldError) => void): Promise<Witness> {
    const config = readWitnessConfig(configFile);
    const clusters = ClusterIdentities.load(listIdentitySources(config));
    const metrics = new WitnessMetrics();
    const store = await RecordStore.open(config.dataDir, {
      fatal,
      wrote: (durationMs) => metrics.writeSeconds.observe(durationMs / msPerSecond),
    });
    const closing: (() => Promise<void>)[] = [() => store.close()];
    try {
      metrics.watch(clusters, () => store.entries);
      const { listen } = config;
      const server = await startWitnessServer({ listen, clusters, store, log, metrics });
      closing.push(() => server.close());
      const witness = new Witness(configFile, { config, clusters, store, metrics, server, log });
      closing.push(() => witness.close());
      await witness.#open();
      return witness;
    } catch (error) {
      for (const close of closing.toReversed()) await close();
      throw error;
    }
  }

  get address(): SocketAddress {
    return this.#parts.server.address;
  }

  /** Where the metrics are, when they are asked for. */
  get metricsAddress(): SocketAddress | undefined {
    return this.#metricsServer?.address;
  }

  get status(): WitnessStatus {
    const { config, clusters, store, server } = this.#parts;
    return {
      listening: server.address,
      store: store.id,
      dataDir: config.dataDir,
      health: healthOf(store, clusters, Date.now()),
      clusters: clustersOf(clusters, (clusterId) => server.connectionCount(clusterId)),
      modules: modulesOf(store.entries),
      refusedRecords: refusedOf(store.entries),
    };
  }

  /** Reads the configuration and the certificates again. Throws `WorldError`, and changes nothing, when no cluster would be left. */
  reload(): ReloadReport {
    const { clusters, server, metrics, log, config } = this.#parts;
    const next = readWitnessConfig(this.#configFile);
    const change = clusters.reload(listIdentitySources(next));
    server.clustersChanged(change.withdrawn);
    for (const clusterId of change.withdrawn) metrics.forget(clusterId);
    const keys = ['listen', 'dataDir', 'controlSocket', 'metrics'] as const;
    const needsRestart = keys.filter((key) => JSON.stringify(next[key]) !== JSON.stringify(config[key]));
    const { added, renewed, withdrawn } = change;
    log.info('reloaded', { added, renewed, withdrawn, needsRestart });
    this.#sayRefused(change.refused);
    this.#warnOfExpiry();
    const refused = change.refused.map(({ name, problem, keptBefore }) => ({
      name,
      because: problem.message,
      keptBefore,
    }));
    return { added, renewed, withdrawn, refused, needsRestart };
  }

  /** Ends everything that `start` began. Idempotent. */
  async close(): Promise<void> {
    clearInterval(this.#expiryTimer);
    await Promise.all([this.#control?.close(), this.#metricsServer?.close(), this.#parts.server.close()]);
    await this.#parts.store.close();
  }

  async #open(): Promise<void> {
    const { config, metrics, store, clusters, log } = this.#parts;
    this.#control = await ControlServer.listen({
      path: config.controlSocket,
      verbs: {
        status: verb(noArgs, () => this.status),
        reload: verb(noArgs, () => this.reload()),
      },
      log,
    });
    if (config.metrics !== undefined) {
      this.#metricsServer = await startMetricsServer({
        listen: config.metrics,
        registry: metrics.registry,
        health: () => healthOf(store, clusters, Date.now()),
      });
    }
    if (!store.tellsCopies) log.warn('copies-not-told', { because: copiesWarning });
    this.#sayRefused(clusters.refused);
    for (const { file, code, found, next } of refusedOf(store.entries))
      log.error('record-refused', { file, code, found, next });
    this.#warnOfExpiry();
  }

  #sayRefused(refused: IdentityChange['refused']): void {
    for (const { name, problem, keptBefore } of refused) {
      const { code, message } = problem;
      this.#parts.log.error('cluster-refused', { source: name, code, because: message, keptBefore });
    }
  }

  #warnOfExpiry(): void {
    const { clusters, log } = this.#parts;
    for (const { clusterId, expired, because } of expiryWarnings(clusters.expiries, Date.now())) {
      if (expired) log.error('certificate-expired', { clusterId, because });
      else log.warn('certificate-expires', { clusterId, because });
    }
  }
}
