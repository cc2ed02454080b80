/**
 * What one cluster may take of a witness that serves several: connections, new connections a second, requests a second. A
 * pair that dials in a circle is slowed down, and the others do not notice. The figures are far above what 64 modules on two
 * nodes ask that all wait for the witness at once: each dials again every half second.
 */
import { type Rate, TokenBucket } from '../base/token-bucket.ts';

/** Of all clusters together. */
export const connectionsMax = 1024;
/** Connections that have not shown who they are. */
export const handshakesMax = 256;

export interface ClusterLimitFigures {
  /** Open at a time. */
  readonly connectionsMax: number;
  /** New connections; each costs about a millisecond of processor time. */
  readonly connectionRate: Rate;
  readonly requestRate: Rate;
}

export const clusterLimitFigures: ClusterLimitFigures = {
  connectionsMax: 256,
  connectionRate: { perSecond: 400, burst: 800 },
  requestRate: { perSecond: 500, burst: 1000 },
};

export type ClusterLimit = 'connections' | 'connection-rate' | 'request-rate';

interface Usage {
  connectionCount: number;
  readonly connections: TokenBucket;
  readonly requests: TokenBucket;
}

export class ClusterLimits {
  readonly #nowMs: () => number;
  readonly #figures: ClusterLimitFigures;
  readonly #usage = new Map<string, Usage>();

  constructor(nowMs: () => number, figures: ClusterLimitFigures) {
    this.#nowMs = nowMs;
    this.#figures = figures;
  }

  connectionCount(clusterId: string): number {
    return this.#usage.get(clusterId)?.connectionCount ?? 0;
  }

  /** A hello that asks for this cluster, before anybody knows whether it is of it. */
  admitsHello(clusterId: string): boolean {
    return this.#of(clusterId).connections.take(this.#nowMs());
  }

  /** Counts a connection of the cluster; false: there are too many. */
  opens(clusterId: string): boolean {
    const usage = this.#of(clusterId);
    if (usage.connectionCount >= this.#figures.connectionsMax) return false;
    usage.connectionCount += 1;
    return true;
  }

  closes(clusterId: string): void {
    this.#of(clusterId).connectionCount -= 1;
  }

  admitsRequest(clusterId: string): boolean {
    return this.#of(clusterId).requests.take(this.#nowMs());
  }

  #of(clusterId: string): Usage {
    let usage = this.#usage.get(clusterId);
    if (usage === undefined) {
      const nowMs = this.#nowMs();
      const connections = new TokenBucket(this.#figures.connectionRate, nowMs);
      const requests = new TokenBucket(this.#figures.requestRate, nowMs);
      usage = { connectionCount: 0, connections, requests };
      this.#usage.set(clusterId, usage);
    }
    return usage;
  }
}
