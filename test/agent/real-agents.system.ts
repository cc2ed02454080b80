/**
 * Agents beside a real pair: killed under the load of a guest, together with their supervisors, and away while a node is
 * lost. No module notices. Nothing about the API itself is verified here.
 */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { askAgent } from '../../src/agent/client.ts';
import type { Job } from '../../src/agent/jobs/job.ts';
import type { JournalEvent } from '../../src/agent/journal/event-journal.ts';
import type { ClusterView } from '../../src/agent/view/cluster-view.ts';
import type { ModuleStatus } from '../../src/base/status.ts';
import { type LabNode, labNodes, readLabRecord } from '../../src/lab/lab-layout.ts';
import { isAlive, readProcessIdentity } from '../../src/platform/process-identity.ts';
import { RealPair, report } from '../lab/real-pair.ts';
import { monotonicMs } from '../lab/write-journal.ts';
import { until } from '../until.ts';

/** Longest gap between acknowledgements while nothing of the data path was touched, ms: what this machine does by itself. */
const undisturbedMs = 1500;
/** From the answer of a new agent to all modules followed, ms. */
const followedMs = 2000;

describe('agents beside a real pair', () => {
  let pair: RealPair;
  before(async () => {
    pair = await RealPair.start({
      agents: true,
      timerProfile: 'fast',
      place: 'in-memory',
      sizeBytes: 512 * 1024 ** 2,
    });
  });
  beforeEach(async () => {
    for (const node of labNodes) if (!pidsOf(node, 'agent').some(isRunning)) await startAgent(node);
    await pair.recover();
  });
  afterEach(() => pair.endLoads());
  after(() => pair?.end());

  const place = (node: LabNode) => ({ socket: pair.lab.nodes[node].agentSocket });
  const view = async (node: LabNode): Promise<ClusterView> =>
    (await askAgent(place(node), 'GET', '/api/v1/cluster')).body as ClusterView;
  const jobOf = async (id: string): Promise<Job> =>
    (await askAgent(place('A'), 'GET', `/api/v1/jobs/${id}`)).body as Job;
  const isRunning = (pid: number): boolean => {
    const identity = readProcessIdentity(pid);
    return identity !== undefined && isAlive(identity);
  };
  /** Processes of a node that run this program. */
  function pidsOf(node: LabNode, program: 'agent' | 'supervisor'): number[] {
    return pair.lab.pids(node).filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`src/${program}/main`);
      } catch {
        return false;
      }
    });
  }
  async function killAll(node: LabNode, program: 'agent' | 'supervisor'): Promise<void> {
    const pids = pidsOf(node, program);
    expect(pids, `the ${program} of ${node} runs`).to.have.length(1);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await until(`the end of the ${program}`, () => !pids.some(isRunning));
  }
  async function startAgent(node: LabNode): Promise<void> {
    await pair.lab.startAgent(node);
  }
  /** Time from the call until the agent of the node follows every module. */
  async function followed(node: LabNode): Promise<number> {
    const beganMs = monotonicMs();
    await until('the modules are followed', async () => {
      const { modules } = await view(node);
      return modules.length === 1 && modules[0]?.nodes.find((each) => each.node === node)?.current;
    });
    return monotonicMs() - beganMs;
  }
  /** The modules are the same processes as before and have gone on. */
  async function expectUnnoticed(before: readonly ModuleStatus[]): Promise<void> {
    for (const [index, node] of labNodes.entries()) {
      const now = await pair.status(node);
      const then = before[index] as ModuleStatus;
      expect(now).to.include({
        instance: then.instance,
        pid: then.pid,
        state: then.state,
        readiness: 'ready',
      });
      expect(now.generation).to.equal(then.generation);
    }
  }
  const statuses = (): Promise<ModuleStatus[]> => Promise.all(labNodes.map((node) => pair.status(node)));

  it('kill -9 of both agents under load: no module notices, and the agents are back within 2 s', async () => {
    const guest = await pair.load(await pair.primary());
    const before = await statuses();
    const killedMs = monotonicMs();
    for (const node of labNodes) await killAll(node, 'agent');
    await guest.progress(500);
    await expectUnnoticed(before);
    for (const node of labNodes) {
      await startAgent(node);
      const tookMs = await followed(node);
      report(`agent ${node}: all modules followed after ${tookMs.toFixed(0)} ms`);
      expect(tookMs).to.be.below(followedMs);
    }
    await until('both see both', async () => (await view('A')).modules[0]?.rule === 'in-sync', 10_000);
    await guest.progress(100);
    const gapMs = pair.journal.longestGapMs(killedMs, monotonicMs());
    report(`longest gap between writes of the guest ${gapMs.toFixed(0)} ms`);
    expect(gapMs).to.be.below(undisturbedMs);
    await guest.end();
    await expectUnnoticed(before);
    await pair.expectBothHold();
  });

  it('kill -9 of agent and supervisor of a node under load: its module is followed without the supervisor, and adopted by the next one', async () => {
    const primary = await pair.primary();
    const guest = await pair.load(primary);
    const before = await statuses();
    await killAll(primary, 'supervisor');
    await killAll(primary, 'agent');
    await guest.progress(500);
    await startAgent(primary);
    expect(await followed(primary)).to.be.below(followedMs);
    const own = (await view(primary)).nodes.find(({ self }) => self);
    expect(own?.supervisor?.answers).to.equal(false);
    await killAll(primary, 'agent');
    await pair.lab.startMachine(primary);
    await until('the supervisor', async () => (await view(primary)).nodes[0]?.supervisor?.answers === true);
    await guest.progress(500);
    await guest.end();
    await expectUnnoticed(before);
  });

  it('no agent runs when the primary is lost: the other node goes on alone all the same, and its next agent says so', async () => {
    const primary = await pair.primary();
    const other = primary === 'A' ? 'B' : 'A';
    for (const node of labNodes) await killAll(node, 'agent');
    await pair.lab.powerOff(primary);
    await pair.waitFor(other, 'ALONE', 'ready');
    await startAgent(other);
    await until('the picture', async () => (await view(other)).modules[0]?.rule === 'alone', 10_000);
    const { events } = (await askAgent(place(other), 'GET', '/api/v1/events?limit=1000')).body as {
      events: JournalEvent[];
    };
    expect(events.findLast(({ kind }) => kind === 'module-state')).to.include({
      from: 'SECOND ready',
      to: 'ALONE ready',
    });
    await pair.lab.startMachine(primary);
    await pair.inSync();
  });

  it('both nodes lose power: what ran before runs again after the boot, without a command', async () => {
    for (const node of labNodes) await pair.lab.powerOff(node);
    await Promise.all(labNodes.map((node) => pair.lab.startMachine(node)));
    await pair.inSync();
    for (const node of labNodes) {
      const seen = await until('the picture', async () => {
        const { modules } = await view(node);
        return modules[0]?.rule === 'in-sync' ? modules[0] : undefined;
      });
      expect(seen.health).to.equal('ok');
    }
  });

  it('a verify is a job with progress that outlives its agent', async () => {
    const primary = await pair.primary();
    const path = '/api/v1/modules/vm1/actions/verify?waitMs=0';
    const asked = await askAgent(place(primary), 'POST', path, { rateBytesPerSecond: 1024 ** 2 });
    expect(asked.status).to.equal(202);
    const { id } = asked.body as Job;
    const seen = async (): Promise<Job> =>
      (await askAgent(place(primary), 'GET', `/api/v1/jobs/${id}`)).body as Job;
    await until('progress', async () => (await seen()).percent !== undefined);
    await killAll(primary, 'agent');
    await startAgent(primary);
    const again = await until('it is taken up again', async () => {
      const job = await seen();
      return job.state === 'running' ? job : undefined;
    });
    expect(again.percent).to.be.a('number');
    await askAgent(place(primary), 'POST', '/api/v1/modules/vm1/actions/verify-stop', {});
    await until('its end', async () => (await seen()).state === 'failed');
  });

  it('a swap that one node is asked for is done by the other one, and both agents see it', async () => {
    const primary = await pair.primary();
    const other = primary === 'A' ? 'B' : 'A';
    const { body } = await askAgent(
      place(other),
      'POST',
      '/api/v1/modules/vm1/actions/swap?waitMs=25000',
      {},
    );
    expect((body as Job).node).to.equal(primary);
    await until(
      'the picture',
      async () => {
        const [module] = (await view(primary)).modules;
        return module?.primary === other && module.rule === 'in-sync';
      },
      15_000,
    );
  });

  it('a node without its agent is cut off from the other: the picture says which side is known', async () => {
    await killAll('B', 'agent');
    await until('the loss', async () => (await view('A')).nodes.some(({ answers }) => !answers), 15_000);
    const [module] = (await view('A')).modules;
    expect(['other-does-not-tell', 'primary-does-not-tell']).to.include(module?.rule);
    expect(readLabRecord(pair.lab.directory).processes.B).to.not.equal(undefined);
    expect(await jobOf('A.000000000000').catch((error: Error) => error.message)).to.contain('not-found');
  });
});
