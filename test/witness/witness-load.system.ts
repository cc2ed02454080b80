/**
 * One witness, 64 modules on two nodes that all lose each other at once: every swap is answered, one of
 * each pair is granted, and the memory stays bounded. Prints the figures of this machine, and verifies no latency: askers and
 * witness share its processors with whatever else runs.
 */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import type { ArbiterAnswer } from '../../src/arbiter/arbiter.ts';
import { WitnessArbiter } from '../../src/platform/witness-client.ts';
import { clusterOfTwo, loopback } from '../platform/loopback-pair.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { RunningWitness } from './running-witness.ts';
import { sampleRecord, swapOf, writeWitnessFiles } from './witness-fixture.ts';

const moduleCount = 64;
const burstCount = 4;
/** Longer than nodes wait (2 s), so that the figures are of the witness also on a machine that is busy otherwise. */
const deadlineMs = 60_000;
/** Unit of the times in /proc/PID/stat. */
const msPerTick = 10;
/** Of the process, at any time; the service file allows 256 MiB. */
const residentBytesMax = 200 * 1024 * 1024;

describe('witness under the load of a whole cluster', function () {
  this.timeout(240_000);
  let directory: TempDirectory;
  let witness: RunningWitness;
  let repeatedCount = 0;

  beforeEach(() => {
    directory = makeTempDirectory();
  });
  afterEach(async () => {
    await witness.end('SIGKILL');
    directory.remove();
  });

  /** The most memory that the process has ever had, bytes. */
  function residentPeakBytes(): number {
    const status = readFileSync(`/proc/${witness.child.pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  /** Processor time of the process until now, ms. */
  function processorMs(): number {
    const fields = readFileSync(`/proc/${witness.child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    const [userTicks, systemTicks] = [fields[11], fields[12]].map(Number);
    return ((userTicks ?? 0) + (systemTicks ?? 0)) * msPerTick;
  }

  /** As a node does: the same operation again, until it is answered. */
  async function askUntilAnswered(...operation: Parameters<typeof swapOf>): Promise<ArbiterAnswer> {
    for (;;) {
      const answer = await swapOf(...operation);
      if (answer.kind !== 'no-answer') return answer;
      repeatedCount += 1;
    }
  }

  it('64 modules on two nodes claim at once, several times: one of each pair is granted, all are answered', async () => {
    const cluster = await clusterOfTwo('c1');
    const tls = await writeWitnessFiles(directory.file('tls'), cluster.authority);
    const { ca, cert, key } = tls;
    RunningWitness.write(directory.file('witness.yaml'), {
      listen: { host: loopback, port: 0 },
      tls: { ca, cert, key },
      dataDir: 'data',
    });
    witness = await RunningWitness.started(directory.file('witness.yaml'));
    const { address } = witness;
    const durationsMs: number[] = [];
    let answeredCount = 0;
    const beforeMs = processorMs();
    const timed = async (identity: typeof cluster.alpha, module: number, burst: number) => {
      const name = identity.self.name;
      const arbiter = new WitnessArbiter({ address, identity, moduleId: `vm${module}`, deadlineMs });
      const expected = burst === 0 ? undefined : sampleRecord(2 * burst, 'both', 2 * burst);
      const startedMs = performance.now();
      const claim = sampleRecord(2 * burst + 1, name, name === 'alpha' ? 1001 + burst : 2001 + burst);
      const answer = await askUntilAnswered(arbiter, expected, claim);
      durationsMs.push(performance.now() - startedMs);
      answeredCount += 1;
      if (answer.kind === 'granted') {
        await askUntilAnswered(arbiter, claim, sampleRecord(2 * burst + 2, 'both', 2 * burst + 2));
        answeredCount += 1;
      }
      return answer.kind;
    };
    for (let burst = 0; burst < burstCount; burst += 1) {
      const answers = await Promise.all(
        Array.from({ length: moduleCount }, (_, module) =>
          Promise.all([timed(cluster.alpha, module, burst), timed(cluster.beta, module, burst)]),
        ),
      );
      for (const pair of answers) expect(pair.toSorted()).to.deep.equal(['granted', 'refused']);
    }
    const sorted = durationsMs.toSorted((left, right) => left - right);
    const quantile = (share: number) => Math.round(sorted[Math.ceil(sorted.length * share) - 1] ?? 0);
    const perSwapMs = (processorMs() - beforeMs) / answeredCount;
    const residentBytes = residentPeakBytes();
    console.log(
      `      ${sorted.length} swaps in bursts of ${2 * moduleCount}: median ${quantile(0.5)} ms, ` +
        `p99 ${quantile(0.99)} ms, longest ${quantile(1)} ms, ${repeatedCount} asked again; ` +
        `${(perSwapMs).toFixed(1)} ms of a processor each; memory at most ${Math.round(residentBytes / 1024 ** 2)} MiB`,
    );
    expect(sorted).to.have.length(burstCount * 2 * moduleCount);
    expect(residentBytes).to.be.below(residentBytesMax);
  });
});
