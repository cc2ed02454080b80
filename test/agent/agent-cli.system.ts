/** The commands that ask an agent, as processes: over the local socket and over TLS, and what they say when nobody answers. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { programPath } from '../../src/platform/program-path.ts';
import { buildPrograms } from '../lab/real-pair.ts';
import { until } from '../until.ts';
import { StandInCluster } from './stand-ins.ts';

const commandDeadlineMs = 20_000;

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

describe('commands that ask an agent', () => {
  let cluster: StandInCluster;
  before(async () => {
    buildPrograms();
    cluster = await StandInCluster.make();
    await cluster.nodes.A.startAgent();
    await until('the module', async () => {
      const { body } = await cluster.nodes.A.ask('GET', '/modules/vm1');
      return JSON.stringify(body).includes('"current":true');
    });
  });
  after(() => cluster.close());

  /** The agents live in this process, so it must not be blocked. */
  function run(args: readonly string[], input = '', env: Record<string, string> = {}): Promise<Ended> {
    const child = spawn(process.execPath, [programPath('src/cli/main'), ...args], {
      env: { ...process.env, ...env },
      timeout: commandDeadlineMs,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text) => (stdout += String(text)));
    child.stderr.on('data', (text) => (stderr += String(text)));
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    return new Promise((resolve) => child.on('close', (status) => resolve({ status, stdout, stderr })));
  }
  const here = (): string[] => ['--runtime-dir', cluster.nodes.A.runtimeDir];

  it('cluster status tells both nodes and each VM in a sentence', async () => {
    const { status, stdout } = await run(['cluster', 'status', ...here()]);
    expect(status).to.equal(0);
    expect(stdout).to.contain('node A: its agent answers\n').and.contain('node B: its agent was never heard');
    expect(stdout).to.match(/^vm1: warning: A serves the VM/m);
    expect(stdout).to.contain('  A: PRIM ready: both copies hold every write');
  });

  it('a token is added, used over TLS, listed without its secret, and removed', async () => {
    const added = await run([
      'token',
      'add',
      '--role',
      'viewer',
      '--note',
      'graphs',
      '--days',
      '30',
      ...here(),
    ]);
    const token = added.stdout.trim();
    expect(token).to.match(/^vmpair_[0-9a-f]{8}_/);
    const place = cluster.place('A');
    if ('socket' in place) throw new Error('over TLS');
    const authority = cluster.temp.file('authority.pem');
    writeFileSync(authority, place.authorityPem);
    const url = ['--url', `https://${place.host}:${place.port}`, '--ca', authority];
    const status = await run(['cluster', 'status', '--json', ...url], '', { VMPAIR_TOKEN: token });
    expect(JSON.parse(status.stdout)).to.include({ node: 'A' });
    const refused = await run(['token', 'list', ...url], '', { VMPAIR_TOKEN: token });
    expect(refused.status).to.equal(4);
    expect(refused.stderr).to.match(/^wanted: .*\nfound: {2}the role viewer; it takes admin\nnext: /);
    const list = await run(['token', 'list', ...here()]);
    expect(list.stdout)
      .to.match(/^[0-9a-f]{8}: viewer, ends .*: graphs$/m)
      .and.not.contain(token.slice(16));
    expect((await run(['token', 'remove', token.slice(7, 15), ...here()])).status).to.equal(0);
    expect((await run(['cluster', 'status', ...url], '', { VMPAIR_TOKEN: token })).status).to.equal(4);
  });

  it('a user is added with a password from standard input, changed and removed', async () => {
    const add = ['user', 'add', 'anna', '--role', 'operator', '--vm', 'vm1', ...here()];
    expect((await run(add)).status, 'no password').to.equal(2);
    expect((await run(add, 'short\n')).stderr).to.contain('at least 10 characters');
    expect((await run(add, 'a long enough password\n')).status).to.equal(0);
    expect((await run(['user', 'list', ...here()])).stdout).to.match(/^anna: operator for vm1, since /);
    expect((await run(['user', 'passwd', 'anna', ...here()], 'another long password\n')).status).to.equal(0);
    expect((await run(['user', 'remove', 'anna', ...here()])).status).to.equal(0);
    const gone = await run(['user', 'remove', 'anna', ...here()]);
    expect([gone.status, gone.stderr.includes('a user anna')]).to.deep.equal([1, true]);
  });

  it('nobody answers, and a wrong command line: said in three lines, with the exit code', async () => {
    const silent = await run(['cluster', 'status', '--runtime-dir', cluster.temp.path]);
    expect(silent.status).to.equal(3);
    expect(silent.stderr).to.match(/^wanted: .*agent\.sock\nfound: {2}.*ENOENT.*\nnext: {3}.*\n$/);
    expect((await run(['token', 'add', '--role', 'king', ...here()])).status).to.equal(2);
    expect((await run(['cluster', 'status', '--url', 'http://127.0.0.1'])).status).to.equal(2);
  });

  it('an agent that cannot use its configuration ends with 78 and says why, and SIGTERM ends one that runs with 0', async () => {
    const { B } = cluster.nodes;
    const bad = cluster.temp.file('bad.yaml');
    writeFileSync(bad, 'version: 1\nnode: A\n');
    const program = programPath('src/agent/main');
    const start = (file: string) =>
      spawn(process.execPath, [program, '--node', file], { timeout: commandDeadlineMs });
    const failed = start(bad);
    let stderr = '';
    failed.stderr.on('data', (text) => (stderr += String(text)));
    const code = await new Promise((resolve) => failed.on('close', resolve));
    expect([code, stderr.startsWith('config-invalid\nwanted: ')]).to.deep.equal([78, true]);
    const running = start(B.nodeFile);
    running.stdout.resume();
    await until('it answers', async () => (await B.ask('GET', '/health')).status === 200, 15_000);
    running.kill('SIGTERM');
    const ended = await new Promise((resolve) => running.on('close', (status) => resolve(status)));
    expect(ended).to.equal(0);
  });
});
