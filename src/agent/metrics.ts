/**
 * What the agent offers to Prometheus: its node, its modules as they told last, its certificates, and its own calls. Labels
 * are bounded: modules, volumes, networks, and the fixed words below. Values are looked up when they are asked for.
 */
import { X509Certificate } from 'node:crypto';
import type { Gauge } from 'prom-client';
import type { ModuleState, ModuleStatus, Readiness } from '../base/status.ts';
import { MetricSet } from '../platform/metric-set.ts';
import type { NodeReport } from './view/reports.ts';

/** As numbers, so that a graph shows steps: the higher, the more of the pair works. */
export const stateNumbers: Readonly<Record<ModuleState, number>> = {
  STOP: 0,
  WAIT: 1,
  SECOND: 2,
  ALONE: 3,
  PRIM: 4,
};
export const readinessNumbers: Readonly<Record<Readiness, number>> = {
  'not-ready': 0,
  transient: 1,
  ready: 2,
};

const callBucketsSeconds = [0.005, 0.02, 0.1, 0.5, 2, 10, 30];
const msPerSecond = 1000;
const secondsPerDay = 86_400;

/** Of the counters of a module, those that go up and down. */
const levels = new Set(['inFlight', 'heartbeatGapMaxMs']);

export interface MetricsOptions {
  readonly report: () => NodeReport;
  /** Whether the other agent answers; `undefined`: there is none. */
  readonly peerAnswers: () => boolean | undefined;
  readonly certificates: () => Readonly<Record<string, X509Certificate>>;
  readonly wallMs: () => number;
}

/** `readBytes` -> `read_bytes` */
function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replaceAll(/[^a-z0-9_]/g, '_');
}

interface Sample {
  readonly name: string;
  readonly help: string;
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

/** What one status says. */
function samplesOf(status: ModuleStatus): Sample[] {
  const { axes, resync, volumes, networks, counters } = status;
  const samples: Sample[] = [
    { name: 'state', help: '0 STOP, 1 WAIT, 2 SECOND, 3 ALONE, 4 PRIM.', value: stateNumbers[status.state] },
    {
      name: 'readiness',
      help: '0 not ready (red), 1 transient (orange), 2 ready (green).',
      value: readinessNumbers[status.readiness],
    },
    { name: 'primary', help: 'Whether this node serves the VM.', value: Number(axes.role === 'primary') },
    {
      name: 'in_sync',
      help: 'Whether both copies hold every write.',
      value: Number(axes.link === 'in-sync'),
    },
    { name: 'vm_running', help: 'Whether the VM runs on this node.', value: Number(axes.vm === 'running') },
    { name: 'generation', help: 'Generation of the data.', value: status.generation },
    {
      name: 'resync_bytes',
      help: 'Bytes to examine of the resynchronisation that runs; 0 without one.',
      value: resync?.totalBytes ?? 0,
    },
    {
      name: 'resync_examined_bytes',
      help: 'Bytes examined of the resynchronisation that runs.',
      value: resync?.examinedBytes ?? 0,
    },
    {
      name: 'resync_eta_seconds',
      help: 'Time to its end; NaN while it is not known.',
      value: resync === undefined ? 0 : resync.etaMs === undefined ? Number.NaN : resync.etaMs / msPerSecond,
    },
  ];
  for (const { name, dirtyBytes } of volumes) {
    const help = 'Bytes that the peer lacks.';
    samples.push({ name: 'dirty_bytes', help, value: dirtyBytes, labels: { volume: name } });
  }
  for (const { network, state } of networks) {
    const help = 'Whether the network works (active or standby).';
    samples.push({
      name: 'network_up',
      help,
      value: Number(state !== 'down'),
      labels: { network: String(network) },
    });
  }
  for (const [name, value] of Object.entries(counters)) {
    const suffix = levels.has(name) ? '' : '_total';
    samples.push({
      name: `${snakeCase(name)}${suffix}`,
      help: `The counter ${name} of the module, since the start of its process.`,
      value,
    });
  }
  return samples;
}

export class AgentMetrics {
  readonly #set = new MetricSet('vmpair_');
  readonly registry = this.#set.registry;
  readonly #report: () => NodeReport;
  readonly #calls = this.#set.counter('agent_requests_total', 'Calls of the API by route and status.', [
    'route',
    'status',
  ]);
  readonly #seconds = this.#set.histogram(
    'agent_request_seconds',
    'Time to the answer of a call.',
    ['route'],
    callBucketsSeconds,
  );
  readonly #modules = new Map<string, Gauge>();

  constructor(options: MetricsOptions) {
    const { report, peerAnswers } = options;
    this.#report = report;
    this.#set.computed('supervisor_up', 'Whether the supervisor answers.', [], (gauge) =>
      gauge.set(Number(report().supervisor.answers)),
    );
    this.#set.computed('peer_agent_up', 'Whether the agent of the other node answers.', [], (gauge) => {
      gauge.reset();
      const answers = peerAnswers();
      if (answers !== undefined) gauge.set(Number(answers));
    });
    this.#set.computed('module_up', 'Whether the module answers.', ['module'], (gauge) => {
      gauge.reset();
      for (const { module, problem } of report().modules)
        gauge.set({ module }, Number(problem === undefined));
    });
    this.#set.computed(
      'module_restarts',
      'Deaths of the module process that its supervisor counts.',
      ['module'],
      (gauge) => {
        gauge.reset();
        for (const { module, process } of report().modules)
          if (process !== undefined) gauge.set({ module }, process.restarts);
      },
    );
    const arbiterHelp = 'Whether the arbiter answered and keeps the record that the module knows.';
    this.#set.computed('arbiter_ok', arbiterHelp, ['module'], (gauge) => {
      gauge.reset();
      for (const { module, arbiter } of report().modules) {
        const counts = arbiter !== undefined && arbiter.verdict !== 'no-arbiter';
        if (counts) gauge.set({ module }, Number(arbiter.verdict === 'ok'));
      }
    });
    this.#set.computed(
      'certificate_days_left',
      'Until a certificate of this node ends.',
      ['certificate'],
      (gauge) => {
        for (const [certificate, { validTo }] of Object.entries(options.certificates())) {
          const leftMs = Date.parse(validTo) - options.wallMs();
          gauge.set({ certificate }, Math.floor(leftMs / msPerSecond / secondsPerDay));
        }
      },
    );
    this.#set.computed('agent_resident_memory_bytes', 'Memory of the agent.', [], (gauge) =>
      gauge.set(process.memoryUsage.rss()),
    );
  }

  /** Everything, in the text form of Prometheus. */
  text(): Promise<string> {
    // Not while the registry collects: a gauge that is new then would be missing.
    this.#setModules(this.#report());
    return this.registry.metrics();
  }

  answered(route: string, status: number, tookMs: number): void {
    this.#calls.inc({ route, status: String(status) });
    this.#seconds.observe({ route }, tookMs / msPerSecond);
  }

  /** A module that is gone leaves no label behind. */
  #setModules({ modules }: NodeReport): void {
    for (const gauge of this.#modules.values()) gauge.reset();
    for (const { module, status, problem } of modules) {
      if (status === undefined || problem !== undefined) continue;
      for (const { name, help, value, labels } of samplesOf(status)) {
        const known = this.#modules.get(name);
        const gauge =
          known ?? this.#set.gauge(`module_${name}`, help, ['module', ...Object.keys(labels ?? {})]);
        this.#modules.set(name, gauge);
        gauge.set({ module, ...labels }, value);
      }
    }
  }
}
