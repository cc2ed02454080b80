/** The Prometheus metrics of one program, under one prefix, in a registry of their own. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

export class MetricSet {
  readonly registry = new Registry();
  readonly #prefix: string;

  /** `prefix` with its `_`. */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  counter(name: string, help: string, labelNames: readonly string[]): Counter {
    return new Counter({ name: `${this.#prefix}${name}`, help, labelNames, registers: [this.registry] });
  }

  gauge(name: string, help: string, labelNames: readonly string[]): Gauge {
    return new Gauge({ name: `${this.#prefix}${name}`, help, labelNames, registers: [this.registry] });
  }

  histogram(name: string, help: string, labelNames: readonly string[], buckets: number[]): Histogram {
    const registers = [this.registry];
    return new Histogram({ name: `${this.#prefix}${name}`, help, labelNames, buckets, registers });
  }

  /** Looked up when it is asked for. */
  computed(name: string, help: string, labelNames: readonly string[], compute: (gauge: Gauge) => void): void {
    const collect = function (this: Gauge): void {
      compute(this);
    };
    new Gauge({ name: `${this.#prefix}${name}`, help, labelNames, registers: [this.registry], collect });
  }
}
