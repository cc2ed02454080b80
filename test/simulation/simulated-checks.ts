/**
 * The shipped checks of a module on one simulated host: what its probes find is what a test says, and what must not be forgotten survives
 * the process with the time of day of this host, which a test may set.
 */
import { silentLog } from '../../src/base/log.ts';
import { aged, type KeptFacts } from '../../src/checks/kept-facts.ts';
import { ModuleChecks } from '../../src/checks/module-checks.ts';
import type { Mirror } from '../../src/cluster/mirror.ts';
import type { Command, SimulatedHost } from './simulated-host.ts';
import type { Life } from './simulated-time.ts';

/** How long a probe takes, ms. */
const probeMs = 20;
/** How long making something durable takes, ms. */
const keepMs = 5;

export class SimulatedChecks {
  /** While the process runs, and the world has checks. */
  module: ModuleChecks | undefined;
  /** Names of checks that fail on this host. */
  readonly failing = new Set<string>();
  /** How far the host's time of day is off, ms. */
  wallOffsetMs = 0;
  #kept: { readonly facts: KeptFacts; readonly atMs: number } | undefined;
  readonly #host: SimulatedHost;

  constructor(host: SimulatedHost) {
    this.#host = host;
  }

  get #wallMs(): number {
    return this.#host.world.time.nowMs + this.wallOffsetMs;
  }

  begin(life: Life, mirror: Mirror): ModuleChecks | undefined {
    const { world, clockRate, vm } = this.#host;
    if (world.checks === undefined) return undefined;
    const clock = world.time.clockOf(life, clockRate);
    const kept = this.#kept;
    this.module = new ModuleChecks(world.checks, {
      clock,
      log: silentLog,
      ask: ({ name }, done) =>
        clock.after(probeMs, () => {
          const ok = !this.failing.has(name);
          done({ ok, because: ok ? 'it answers' : 'it does not answer' });
        }),
      store: {
        last: kept && aged(kept.facts, this.#wallMs - kept.atMs),
        keep: (facts, then) => {
          clock.after(keepMs, () => {
            this.#kept = { facts: JSON.parse(JSON.stringify(facts)) as KeptFacts, atMs: this.#wallMs };
            then();
          });
        },
      },
      mirror,
      restartVm: (manner) => vm.restart(manner),
      stayStopped: (then) => {
        this.#host.run = 'stopped';
        then();
      },
      wallTime: (afterMs) => (this.#wallMs + afterMs).toFixed(0),
    });
    this.module.vmChanged(vm.state);
    return this.module;
  }

  ended(): void {
    this.module = undefined;
  }

  /** A command of the operator was done. */
  commanded(verb: Command): void {
    if (verb === 'stop') this.module?.operatorStops(() => {});
    else if (verb !== 'swap') this.module?.operatorStarts(() => {});
  }
}
