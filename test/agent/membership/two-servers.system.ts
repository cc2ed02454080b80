/** Two bare servers in directories become a cluster with the commands and real agents, as docs/operating/install.md says. No module runs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { askAgent } from '../../../src/agent/client.ts';
import type { MadeToken } from '../../../src/agent/membership/make-token.ts';
import { readNodeConfig } from '../../../src/config/node-config.ts';
import { findFreePort } from '../../../src/platform/free-port.ts';
import { programPath } from '../../../src/platform/program-path.ts';
import type { AuditRecord } from '../../../src/agent/journal/audit-log.ts';
import { makeTempDirectory, type TempDirectory } from '../../temp-directory.ts';
import { until } from '../../until.ts';
import { filesUnder, loopback } from './membership-fixture.ts';

const agentStartDeadlineMs = 60_000;
const commandDeadlineMs = 60_000;

describe('two bare servers', () => {
  let directory: TempDirectory;
  const agents: ChildProcess[] = [];

  beforeEach(() => {
    directory = makeTempDirectory();
  });
  afterEach(async () => {
    for (const agent of agents.splice(0)) {
      if (agent.exitCode !== null || agent.signalCode !== null) continue;
      const ended = once(agent, 'close');
      agent.kill('SIGTERM');
      await ended;
    }
    directory.remove();
  });

  async function run(root: string, ...args: readonly string[]) {
    const command = [...process.execArgv, programPath('src/cli/main'), ...args, '--dir', root];
    const child = spawn(process.execPath, command, { timeout: commandDeadlineMs });
    let [output, errors] = ['', ''];
    child.stdout.on('data', (text) => (output += String(text)));
    child.stderr.on('data', (text) => (errors += String(text)));
    await once(child, 'close');
    return { code: child.exitCode, output, errors };
  }

  async function startAgent(root: string): Promise<void> {
    const args = [...process.execArgv, programPath('src/agent/main'), '--node', filesUnder(root).nodeFile];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    agents.push(child);
    let said = '';
    child.stdout.on('data', (text) => (said += String(text)));
    const ready = (): boolean => {
      expect(child.exitCode, said).to.equal(null);
      return said.includes('agent-ready');
    };
    await until('the agent', ready, agentStartDeadlineMs);
  }

  it('init and an agent here, a token, join there: a cluster, and the audit log has who joined without his secret', async () => {
    const [a, b] = [directory.file('a'), directory.file('b')];
    const address = async (): Promise<string> => `${loopback}:${await findFreePort(loopback)}`;
    const made = await run(
      a,
      'cluster',
      'init',
      '--name',
      'plant7',
      '--node',
      'A',
      '--address',
      await address(),
    );
    expect(made.errors).to.equal('');
    await startAgent(a);
    const { token } = JSON.parse((await run(a, 'cluster', 'token', '--json')).output) as MadeToken;
    const as = async (name: string) => ['--node', name, '--address', await address()];
    const joined = await run(b, 'cluster', 'join', token, ...(await as('B')));
    expect(joined.errors).to.equal('');
    await startAgent(b);
    expect(readFileSync(filesUnder(a).clusterFile, 'utf8')).to.equal(
      readFileSync(filesUnder(b).clusterFile, 'utf8'),
    );
    const third = await run(directory.file('c'), 'cluster', 'join', token, ...(await as('C')));
    expect([third.code, third.errors.split('\n')[1]]).to.deep.equal([
      1,
      'found:  a token that another server has used',
    ]);
    const { socket } = readNodeConfig(filesUnder(a).nodeFile).agent;
    const { body } = await askAgent({ socket }, 'GET', '/api/v1/audit');
    const joins = (body as { records: AuditRecord[] }).records.filter(({ what }) => what.includes('join'));
    expect(joins.map(({ outcome }) => outcome).toSorted()).to.deep.equal(['done', 'refused']);
    expect(JSON.stringify(joins)).to.contain('"node":"B"').and.not.contain(token.split('.')[3]);
  });
});
