/** Two agents with real HTTPS between stand-ins of modules and supervisors: what they show, what they pass on, whom they refuse. */
import { existsSync, linkSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { expect } from 'chai';
import fc from 'fast-check';
import { Agent } from '../../src/agent/agent.ts';
import { askAgent } from '../../src/agent/client.ts';
import { allRoutes } from '../../src/agent/api/all-routes.ts';
import type { ApiContext } from '../../src/agent/api/context.ts';
import type { Route } from '../../src/agent/api/route.ts';
import { NodeWatch } from '../../src/agent/node-watch.ts';
import { type ClusterView, clusterViewSchema } from '../../src/agent/view/cluster-view.ts';
import type { AuditRecord } from '../../src/agent/journal/audit-log.ts';
import type { JournalEvent } from '../../src/agent/journal/event-journal.ts';
import type { Job } from '../../src/agent/jobs/job.ts';
import { WorldError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import { readNodeConfig } from '../../src/config/node-config.ts';
import { createClusterAuthority, issueCertificate } from '../../src/platform/pki.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { until } from '../until.ts';
import { type RawAnswer, sendRaw, StandInCluster, type StandInModule } from './stand-ins.ts';

async function refusal(work: Promise<unknown>): Promise<WorldError> {
  const found = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(found).to.be.instanceOf(WorldError);
  return found as WorldError;
}

const codeOf = ({ text }: RawAnswer): unknown =>
  (JSON.parse(text) as { error?: { code?: string } }).error?.code;

describe('agent', () => {
  let cluster: StandInCluster;
  afterEach(() => cluster.close());

  const view = async (node: 'A' | 'B' = 'A'): Promise<ClusterView> =>
    (await cluster.nodes[node].ask('GET', '/cluster')).body as ClusterView;
  const events = async (node: 'A' | 'B' = 'A'): Promise<JournalEvent[]> => {
    const { body } = await cluster.nodes[node].ask('GET', '/events?limit=1000');
    return (body as { events: JournalEvent[] }).events;
  };
  const audit = async (node: 'A' | 'B' = 'A'): Promise<AuditRecord[]> => {
    const { body } = await cluster.nodes[node].ask('GET', '/audit');
    return (body as { records: AuditRecord[] }).records;
  };
  const moduleOf = (node: 'A' | 'B'): StandInModule => cluster.nodes[node].modules[0] as StandInModule;
  const token = async (role: string, vms?: readonly string[], node: 'A' | 'B' = 'A'): Promise<string> => {
    const { body } = await cluster.nodes[node].ask(
      'POST',
      '/tokens',
      vms === undefined ? { role } : { role, vms },
    );
    return (body as { token: string }).token;
  };
  /** Both agents see both sides. */
  async function start(names?: readonly string[]): Promise<void> {
    cluster = await StandInCluster.make(names);
    await Promise.all([cluster.nodes.A.startAgent(), cluster.nodes.B.startAgent()]);
    for (const node of ['A', 'B'] as const) {
      await until(`agent ${node} sees both sides`, async () => {
        const { modules } = await view(node);
        return modules.length > 0 && modules.every(({ rule }) => rule === 'in-sync');
      });
    }
  }

  it('both agents show both nodes, over TLS with a token, in the form that the API describes', async () => {
    await start();
    for (const node of ['A', 'B'] as const) {
      const place = cluster.place(node, await token('viewer', undefined, node));
      const { body } = await askAgent(place, 'GET', '/api/v1/cluster');
      const seen = clusterViewSchema.parse(body);
      expect(seen.nodes.map((each) => each.answers)).to.deep.equal([true, true]);
      expect(seen.modules[0]).to.include({ health: 'ok', primary: 'A' });
      expect(seen.modules[0]?.nodes.map(({ status }) => status?.state).sort()).to.deep.equal([
        'PRIM',
        'SECOND',
      ]);
    }
  });

  it('every answer of a GET has the form that the API describes', async () => {
    await start();
    await cluster.nodes.A.ask('POST', '/modules/vm1/actions/stop', {});
    const routes = allRoutes({} as ApiContext).filter(
      ({ method, id }) => method === 'GET' && id !== 'event-stream',
    );
    const [job] = ((await cluster.nodes.A.ask('GET', '/jobs')).body as { jobs: Job[] }).jobs;
    for (const { path, response, id } of routes) {
      if (id === 'node') continue;
      const asked = path.replace(':vm', 'vm1').replace(':id', job?.id ?? '');
      const { body } = await askAgent(cluster.nodes.A.place, 'GET', asked);
      const parsed = response.safeParse(body);
      expect(parsed.success, `${path}: ${parsed.error?.message}`).to.equal(true);
    }
  });

  it('without a token, with a wrong one, and with one whose role does not do: refused, and nothing is done', async () => {
    await start();
    const swap = (text: string | undefined, vm = 'vm1') =>
      refusal(askAgent(cluster.place('A', text), 'POST', `/api/v1/modules/${vm}/actions/swap`, {}));
    expect((await swap(undefined)).code).to.equal('not-authenticated');
    expect((await swap('vmpair_00000000_aaaa')).code).to.equal('not-authenticated');
    expect((await swap(await token('viewer'))).code).to.equal('not-allowed');
    expect((await swap(await token('operator', ['other']))).code).to.equal('not-allowed');
    expect(
      (await refusal(askAgent(cluster.place('A', await token('operator')), 'GET', '/api/v1/users'))).code,
    ).to.equal('not-allowed');
    expect(
      (
        await refusal(
          askAgent(
            cluster.place('A', await token('operator')),
            'POST',
            '/api/v1/modules/vm1/actions/prim',
            {},
          ),
        )
      ).code,
    ).to.equal('not-allowed');
    expect(moduleOf('A').asked).to.deep.equal([]);
    const refused = (await audit()).filter(({ outcome }) => outcome === 'refused');
    expect(refused.map(({ status }) => status)).to.deep.equal([403, 403, 403, 401, 401]);
    expect(refused.at(-1)).to.include({ who: 'nobody', what: 'POST /api/v1/modules/vm1/actions/swap' });
  });

  it('who is bound to one VM sees only that one', async () => {
    await start(['vm1', 'vm2']);
    const place = cluster.place('A', await token('operator', ['vm2']));
    const { modules } = (await askAgent(place, 'GET', '/api/v1/cluster')).body as ClusterView;
    expect(modules.map(({ module }) => module)).to.deep.equal(['vm2']);
    expect((await refusal(askAgent(place, 'GET', '/api/v1/modules/vm1'))).code).to.equal('not-allowed');
    const told = (await askAgent(place, 'GET', '/api/v1/events')).body as { events: JournalEvent[] };
    expect(new Set(told.events.map(({ module }) => module))).to.deep.equal(new Set(['vm2']));
    await askAgent(place, 'POST', '/api/v1/modules/vm2/actions/stop', {});
    expect(cluster.nodes.A.modules[1]?.asked).to.have.length(1);
  });

  it('certificates: a node of the cluster is the other agent; a witness, and a node of another cluster, are refused', async () => {
    await start();
    const show = async (authority: typeof cluster.authority, role: 'node' | 'witness', name: string) => {
      const { certificatePem: cert, keyPem: key } = await issueCertificate(authority, role, name);
      return sendRaw(cluster.place('A'), { path: '/api/v1/node', cert, key });
    };
    expect((await show(cluster.authority, 'node', 'B')).status).to.equal(200);
    const witness = await show(cluster.authority, 'witness', 'W');
    expect([witness.status, codeOf(witness)]).to.deep.equal([401, 'certificate-rejected']);
    const stranger = await show(await createClusterAuthority('1'.repeat(32)), 'node', 'B');
    expect([stranger.status, codeOf(stranger)]).to.deep.equal([401, 'certificate-rejected']);
    const impostor = await show(await createClusterAuthority('0'.repeat(32)), 'node', 'B');
    expect([impostor.status, codeOf(impostor)]).to.deep.equal([401, 'certificate-rejected']);
  });

  it('a client that trusts another authority does not talk to the agent', async () => {
    await start();
    const other = await createClusterAuthority('1'.repeat(32));
    const place = { ...cluster.place('A', await token('viewer')), authorityPem: other.certificatePem };
    expect((await refusal(askAgent(place, 'GET', '/api/v1/cluster'))).code).to.equal('agent-unreachable');
  });

  it('passwords are guessed a few times only, and login and logout begin and end a session', async () => {
    await start();
    await cluster.nodes.A.ask('POST', '/users', {
      name: 'anna',
      password: 'a long enough password',
      role: 'operator',
    });
    const login = (password: string) =>
      askAgent(cluster.place('A'), 'POST', '/api/v1/login', { user: 'anna', password });
    const { token: session } = (await login('a long enough password')).body as { token: string };
    const place = cluster.place('A', session);
    expect((await askAgent(place, 'GET', '/api/v1/whoami')).body).to.include({ kind: 'user', name: 'anna' });
    await askAgent(place, 'POST', '/api/v1/logout');
    expect((await refusal(askAgent(place, 'GET', '/api/v1/whoami'))).code).to.equal('not-authenticated');
    const codes: string[] = [];
    for (let attempt = 0; attempt < 8; attempt += 1)
      codes.push((await refusal(login('a wrong password'))).code);
    expect(codes.at(-1)).to.equal('limit-reached');
    const kept = JSON.stringify(await audit());
    expect(kept).to.contain('(not kept)').and.not.contain('a wrong password').and.not.contain('long enough');
  });

  it('an action for the other node is forwarded: done there, in its audit log with who asked, and its job is seen here', async () => {
    await start();
    const operator = await token('operator');
    const place = cluster.place('A', operator);
    const path = '/api/v1/modules/vm1/actions/stop';
    const { body } = await askAgent(place, 'POST', path, { node: 'B' });
    const job = body as Job;
    expect(job).to.include({ node: 'B', state: 'done', action: 'stop' });
    expect(moduleOf('B').asked).to.deep.equal([{ verb: 'stop', args: {} }]);
    expect(moduleOf('A').asked).to.deep.equal([]);
    expect((await askAgent(place, 'GET', `/api/v1/jobs/${job.id}`)).body).to.include({ id: job.id });
    const [there] = await audit('B');
    const records = (await cluster.nodes.A.ask('GET', '/audit?node=B')).body as { records: AuditRecord[] };
    expect(records.records).to.deep.include(there);
    const { events: told } = (await askAgent(place, 'GET', '/api/v1/events?node=B&vm=vm1')).body as {
      events: JournalEvent[];
    };
    expect(new Set(told.map(({ node }) => node))).to.deep.equal(new Set(['B']));
    expect(there?.who).to.match(/^peer A for token [0-9a-f]{8}$/);
    expect((await audit()).find(({ job: id }) => id === job.id)?.who).to.match(/^token /);
  });

  it('a refusal of the module reaches who asked, on either node', async () => {
    await start();
    const problem = { wanted: 'a pair in sync', found: 'a resync', next: 'wait' };
    for (const node of ['A', 'B'] as const) {
      moduleOf(node).refusal = new WorldError('control-refused', problem);
      const refused = await refusal(cluster.nodes.A.ask('POST', '/modules/vm1/actions/stop', { node }));
      expect(refused).to.include({ code: 'control-refused', ...problem });
    }
  });

  it('what an agent was sent by the other one never goes back', async () => {
    await start();
    const { certificatePem: cert, keyPem: key } = await issueCertificate(cluster.authority, 'node', 'B');
    const answer = await sendRaw(cluster.place('A'), {
      method: 'POST',
      path: '/api/v1/modules/vm1/actions/stop',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ node: 'B' }),
      cert,
      key,
    });
    expect([answer.status, codeOf(answer)]).to.deep.equal([400, 'request-invalid']);
    expect(moduleOf('B').asked).to.deep.equal([]);
  });

  it('an action that names no node goes to the primary where it must', async () => {
    await start();
    await cluster.nodes.B.ask('POST', '/modules/vm1/actions/swap', {});
    expect(moduleOf('A').asked.map((each) => each.verb)).to.deep.equal(['swap']);
    expect(moduleOf('B').asked).to.deep.equal([]);
  });

  it('arguments that the verb does not take are refused before the module is asked', async () => {
    await start();
    const wrong = await refusal(
      cluster.nodes.A.ask('POST', '/modules/vm1/actions/prim', { force: 'gently' }),
    );
    expect(wrong.code).to.equal('request-invalid');
    expect(moduleOf('A').asked).to.deep.equal([]);
    expect((await refusal(cluster.nodes.A.ask('POST', '/modules/nope/actions/stop', {}))).code).to.equal(
      'module-unknown',
    );
    expect((await refusal(cluster.nodes.A.ask('POST', '/modules/vm1/actions/nope', {}))).code).to.equal(
      'not-found',
    );
  });

  it('the supervisor restarts a process, here and there', async () => {
    await start();
    await cluster.nodes.A.ask('POST', '/modules/vm1/process/restart', {});
    await cluster.nodes.A.ask('POST', '/modules/vm1/process/restart', { node: 'B' });
    expect(cluster.nodes.A.restarts).to.deep.equal(['vm1']);
    expect(cluster.nodes.B.restarts).to.deep.equal(['vm1']);
  });

  it('the other agent dies: its node is not known any more, with its age; it is found again', async () => {
    await start();
    await cluster.nodes.B.agent?.close();
    const lost = await until(
      'the loss',
      async () => (await view()).nodes.find(({ answers }) => !answers),
      15_000,
    );
    expect(lost.because).to.match(/^its agent was last heard \d+ s ago: /);
    const [module] = (await view()).modules;
    expect(module).to.include({ rule: 'other-does-not-tell', health: 'warning', primary: 'A' });
    expect(
      (await refusal(cluster.nodes.A.ask('POST', '/modules/vm1/actions/stop', { node: 'B' }))).code,
    ).to.equal('agent-unreachable');
    await cluster.nodes.B.startAgent();
    await until('it is found', async () => (await view()).modules[0]?.rule === 'in-sync', 10_000);
    const told = (await events()).filter(({ kind }) => kind === 'peer-agent').map(({ to }) => to);
    expect(told).to.deep.equal(['answers', 'silent', 'answers']);
  });

  it('a module dies and comes back: health for a load balancer follows', async () => {
    await start();
    const health = async (): Promise<number> =>
      (await sendRaw(cluster.place('A'), { path: '/api/v1/health/vm1' })).status;
    expect(await health()).to.equal(200);
    expect((await sendRaw(cluster.place('B'), { path: '/api/v1/health/vm1' })).status).to.equal(503);
    await moduleOf('A').close();
    await until('the loss', async () => (await health()) === 503);
    const [module] = (await view()).modules;
    expect(module?.nodes.find(({ node }) => node === 'A')).to.include({ current: false });
    await moduleOf('A').listen();
    await until('its return', async () => (await health()) === 200);
  });

  it('a module hangs: what it told last is shown with its age, the other ones at once, and it is followed again', async () => {
    await start(['vm1', 'vm2']);
    moduleOf('A').hang();
    const side = async (module: string) =>
      (await view()).modules.find((each) => each.module === module)?.nodes.find(({ node }) => node === 'A');
    const hung = await until(
      'the loss',
      async () => {
        const found = await side('vm1');
        return found?.current === false ? found : undefined;
      },
      10_000,
    );
    expect(hung.status?.state).to.equal('PRIM');
    expect(hung.because).to.contain('no answer to "status"');
    expect((await side('vm2'))?.current).to.equal(true);
    moduleOf('A').wake();
    await until('its return', async () => (await side('vm1'))?.current === true, 10_000);
  });

  it('a supervisor that is dead when the agent starts: the modules are followed all the same', async () => {
    cluster = await StandInCluster.make();
    await cluster.nodes.A.closeSupervisor();
    await cluster.nodes.A.startAgent();
    await until('the module', async () => (await view()).modules[0]?.nodes[0]?.current === true);
    expect((await view()).nodes[0]?.supervisor?.answers).to.equal(false);
    await cluster.nodes.A.listenSupervisor();
    await until('the supervisor', async () => (await view()).nodes[0]?.supervisor?.answers === true);
  });

  it('the other agent is looked for where the module files say, also after they were changed', async () => {
    cluster = await StandInCluster.make();
    const { A } = cluster.nodes;
    const config = readNodeConfig(A.nodeFile);
    const watch = new NodeWatch({
      config: { ...config, agent: { ...config.agent, peer: undefined } },
      clock: systemClock,
      log: silentLog,
      journal: { add() {}, lastStateOf: () => undefined, newDecisions: () => [] },
      changed: () => {},
    });
    try {
      watch.begin();
      const port = cluster.ports.A;
      expect(watch.otherNode).to.deep.equal({ node: 'B', address: { host: '127.0.0.2', port } });
      const [file = ''] = config.modules;
      writeFileSync(file, readFileSync(file, 'utf8').replace('127.0.0.2', '127.0.0.9'));
      await until('the other address', () => watch.otherNode?.address.host === '127.0.0.9');
    } finally {
      watch.close();
    }
  });

  it('a change of a module is in the picture, in the timeline and in the stream at once', async () => {
    await start();
    const stream = request({
      socketPath: `${cluster.nodes.A.runtimeDir}/agent.sock`,
      path: '/api/v1/events/stream',
    });
    let text = '';
    stream.on('response', (message) => message.on('data', (chunk) => (text += String(chunk))));
    stream.end();
    await until('the stream', () => text.includes(': connected'));
    const beganMs = performance.now();
    moduleOf('A').change({ state: 'ALONE', because: 'the peer is not connected' });
    await until('the change', () => text.includes('"to":"ALONE ready"'));
    console.log(`        told after ${(performance.now() - beganMs).toFixed(0)} ms`);
    expect((await view()).modules[0]?.rule).to.equal('alone');
    const last = (await events()).findLast(({ kind }) => kind === 'module-state');
    expect(last).to.include({ from: 'PRIM ready', to: 'ALONE ready', because: 'the peer is not connected' });
    stream.destroy();
  });

  it('an agent that was away writes down what changed and was decided meanwhile, each once', async () => {
    await start();
    await cluster.nodes.A.agent?.close();
    const { status } = moduleOf('A');
    const decision = {
      action: 'go on alone',
      rule: 'arbiter-granted',
      because: 'it names this node',
      at: '2026-01-02T03:04:05.000Z',
    };
    moduleOf('A').status = { ...status, state: 'ALONE', decisions: [decision, ...status.decisions] };
    await cluster.nodes.A.startAgent();
    const seen = await until('the change', async () =>
      (await events()).findLast(({ to }) => to === 'ALONE ready'),
    );
    expect(seen.from).to.equal('PRIM ready');
    const decisions = (await events()).filter(({ kind }) => kind === 'decision');
    expect(decisions.map(({ at, rule }) => [at, rule])).to.deep.equal([
      ['2026-01-01T00:00:00.000Z', 'in-sync'],
      ['2026-01-02T03:04:05.000Z', 'arbiter-granted'],
    ]);
  });

  it('25 modules, the other node down: the picture comes from memory within 20 ms', async () => {
    await start(Array.from({ length: 25 }, (_none, index) => `vm${index + 1}`));
    await cluster.nodes.B.close();
    await until('the loss', async () => (await view()).nodes.some(({ answers }) => !answers), 15_000);
    const tookMs: number[] = [];
    for (let call = 0; call < 21; call += 1) {
      const beganMs = performance.now();
      const { modules } = await view();
      tookMs.push(performance.now() - beganMs);
      expect(modules).to.have.length(25);
    }
    tookMs.sort((left, right) => left - right);
    console.log(`        median ${tookMs[10]?.toFixed(1)} ms, longest ${tookMs[20]?.toFixed(1)} ms`);
    expect(tookMs[10], 'median, ms').to.be.below(20);
  });

  it('a second agent is refused, and what a killed one left behind is cleaned up', async () => {
    await start();
    const { A } = cluster.nodes;
    const again = Agent.start({
      config: readNodeConfig(A.nodeFile),
      version: '0.1.0',
      clock: { nowMs: () => 0, after: () => ({ cancel: () => {} }) },
      log: { debug() {}, info() {}, warn() {}, error() {} },
    });
    expect((await refusal(again)).code).to.equal('already-running');
    await A.agent?.close();
    const unfinished = `${A.directory}/state/jobs.json.0123456789abcdef.tmp`;
    const ofModule = `${A.directory}/state/vm1.meta.run.0123456789abcdef.tmp`;
    for (const file of [unfinished, ofModule]) writeFileSync(file, 'half');
    // A socket file that nobody answers on, as kill -9 leaves it.
    const socket = `${A.runtimeDir}/agent.sock`;
    await new Promise<void>((resolve) => {
      const server = createServer().listen(`${socket}.old`, () => {
        linkSync(`${socket}.old`, socket);
        server.close(() => resolve());
      });
    });
    await A.startAgent();
    expect(existsSync(unfinished)).to.equal(false);
    expect(existsSync(ofModule), 'of a module that is writing').to.equal(true);
    expect(statSync(socket).mode & 0o777, 'rights of the socket').to.equal(0o600);
    expect((await view()).node).to.equal('A');
  });

  it('metrics name the state of each module, the certificates and the calls, at the first scrape already', async () => {
    await start();
    await until(
      'the arbiter',
      async () => (await view()).modules[0]?.nodes[0]?.arbiter !== undefined,
      15_000,
    );
    const text = String((await cluster.nodes.A.ask('GET', '/metrics')).body);
    for (const line of [
      'vmpair_module_state{module="vm1"} 4',
      'vmpair_module_readiness{module="vm1"} 2',
      'vmpair_module_dirty_bytes{module="vm1",volume="disk0"} 0',
      'vmpair_module_writes_total{module="vm1"} 17',
      'vmpair_module_in_flight{module="vm1"} 2',
      'vmpair_arbiter_ok{module="vm1"} 1',
      'vmpair_peer_agent_up 1',
      'vmpair_supervisor_up 1',
    ])
      expect(text.split('\n')).to.include(line);
    expect(text).to.match(/vmpair_certificate_days_left\{certificate="node"\} 36[45]\d/);
    expect(text).to.match(/vmpair_agent_requests_total\{route="cluster",status="200"\} \d+/);
  });

  it('garbage on every route: a clear refusal, nothing changes, and the agent goes on', async () => {
    await start();
    const admin = await token('admin');
    const users = (await cluster.nodes.A.ask('GET', '/users')).body;
    // Those of membership are asked by machines only and have tests of their own (membership/).
    const isAsked = ({ body, id }: Route): boolean =>
      body !== undefined && id !== 'login' && !id.startsWith('cluster-');
    const routes = allRoutes({} as ApiContext).filter(isAsked);
    const bodies = fc.oneof(
      fc.json(),
      fc.string(),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.constantFrom(
        '{"__proto__":{"role":"admin"}}',
        '{"constructor":{"prototype":{}}}',
        '[]',
        'null',
        '{"node":17}',
      ),
      fc.object({ maxDepth: 3 }).map((value) => JSON.stringify({ ...value, node: 'nowhere' })),
    );
    const words = fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.constantFrom('..', '%2e%2e%2f', 'vm1', '__proto__', 'a'.repeat(300)),
    );
    const sample = fc.sample(fc.tuple(fc.constantFrom(...routes), bodies, words), { numRuns: 120, seed: 7 });
    for (const [{ method, path }, body, word] of sample) {
      const asked = path.replaceAll(/:[a-z]+/gi, () => encodeURIComponent(word));
      const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
      const { status, text } = await sendRaw(cluster.place('A'), { method, path: asked, headers, body });
      expect(
        [400, 404, 409, 413, 414, 429],
        `${method} ${asked} ${String(body)}: ${status} ${text}`,
      ).to.include(status);
      expect((JSON.parse(text) as { error: object }).error).to.include.keys(
        'code',
        'wanted',
        'found',
        'next',
      );
    }
    expect((await cluster.nodes.A.ask('GET', '/users')).body).to.deep.equal(users);
    expect(moduleOf('A').asked).to.deep.equal([]);
  });

  it('one address that asks too often is held up; this host and the other agent are not', async () => {
    cluster = await StandInCluster.make();
    // No time passes for the limits.
    await cluster.nodes.A.startAgent({
      nowMs: () => 0,
      after: (delayMs, then) => systemClock.after(delayMs, then),
    });
    const place = cluster.place('A', await token('viewer'));
    const { certificatePem: cert, keyPem: key } = await issueCertificate(cluster.authority, 'node', 'B');
    const statuses: number[] = [];
    for (let call = 0; call < 202; call += 1)
      statuses.push((await sendRaw(place, { path: '/api/v1/health' })).status);
    expect(statuses.slice(0, 200)).to.deep.equal(Array(200).fill(200));
    expect(statuses.slice(200)).to.deep.equal([429, 429]);
    expect((await sendRaw(place, { path: '/api/v1/node', cert, key })).status).to.equal(200);
    expect((await cluster.nodes.A.ask('GET', '/health')).status).to.equal(200);
  });
});
