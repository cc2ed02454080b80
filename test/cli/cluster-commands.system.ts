/** The commands of a cluster as processes: what they make, what they say next, and what they refuse. The join itself is in join.test.ts. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { expect } from 'chai';
import { parseJoinToken } from '../../src/agent/membership/join-token.ts';
import { programPath } from '../../src/platform/program-path.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

const commandDeadlineMs = 30_000;

describe('commands of a cluster', () => {
  let directory: TempDirectory;
  beforeEach(() => {
    directory = makeTempDirectory();
  });
  afterEach(() => directory.remove());

  function run(...args: string[]) {
    const command = [programPath('src/cli/main'), ...args, '--dir', directory.path];
    const options = { encoding: 'utf8', timeout: commandDeadlineMs, killSignal: 'SIGKILL' } as const;
    return spawnSync(process.execPath, [...process.execArgv, ...command], options);
  }

  const init = () => run('cluster', 'init', '--name', 'plant7', '--node', 'A', '--address', '192.0.2.11');

  it('init makes the first node, says what is next, and overwrites nothing', () => {
    const made = init();
    expect(made.stderr).to.equal('');
    expect(made.stdout)
      .to.contain('192.0.2.11:7443')
      .and.contain('next:')
      .and.contain('vmpair cluster token');
    const tls = directory.file('etc/vmpair/tls');
    expect(statSync(tls).mode & 0o777).to.equal(0o700);
    const key = readFileSync(`${tls}/ca.key.pem`, 'utf8');
    const again = init();
    expect(again.status).to.equal(1);
    expect(again.stderr).to.match(
      /^wanted: .*\nfound: {2}.*node\.yaml, which is never overwritten\nnext: {3}.*\n$/,
    );
    expect(readFileSync(`${tls}/ca.key.pem`, 'utf8')).to.equal(key);
    const checked = spawnSync(
      process.execPath,
      [...process.execArgv, programPath('src/cli/main'), 'config', 'check', directory.file('etc/vmpair')],
      { encoding: 'utf8', timeout: commandDeadlineMs },
    );
    expect(checked.stderr, 'what init wrote passes the check of configurations').to.equal('');
  });

  it('a token names the address of its node and ends after an hour, unless told otherwise', () => {
    init();
    const made = JSON.parse(run('cluster', 'token', '--json').stdout) as { token: string; expires: string };
    expect(parseJoinToken(made.token).address).to.deep.equal({ host: '192.0.2.11', port: 7443 });
    expect(Date.parse(made.expires) - Date.now()).to.be.within(3_500_000, 3_600_000);
    expect(run('cluster', 'token', '--hours', '25').status).to.equal(2);
    const text = run('cluster', 'token', '--hours', '24', '--node', 'B').stdout;
    expect(text).to.contain('for node B only').and.contain('--node B --address ITS-ADDRESS');
  });

  it('certificates says who is there and how long certificates last; a renewal works without any process', () => {
    init();
    const renewed = run('cluster', 'renew-certificates');
    expect(renewed.stderr).to.equal('');
    expect(renewed.stdout).to.contain('a new certificate');
    expect(run('cluster', 'certificates').stdout).to.match(
      /^cluster plant7 \([0-9a-f]{32}\), this is node A\nnode A: agent at/,
    );
  });

  it('steps that need the other node, and names that are not its, are refused with words', () => {
    init();
    expect(run('cluster', 'rotate-authority', 'trust').stderr).to.contain('vmpair cluster join');
    expect(run('cluster', 'rotate-authority', 'leap').status).to.equal(2);
    expect(run('node', 'replace', 'A').stderr).to.contain('this node');
    expect(run('node', 'prepare-disks').stdout).to.contain('no module');
  });

  it('a server that belongs to no cluster is told so', () => {
    const { status, stderr } = run('cluster', 'token');
    expect(status).to.equal(1);
    expect(stderr).to.contain('node.yaml');
    expect(existsSync(directory.file('etc'))).to.equal(false);
  });

  it('half a token is refused, and nothing is made', () => {
    const token = 'vmpair1.AAAA';
    const { status, stderr } = run('cluster', 'join', token, '--node', 'B', '--address', '192.0.2.12');
    expect(status).to.equal(1);
    expect(stderr).to.contain('a part of one');
    expect(existsSync(directory.file('etc'))).to.equal(false);
  });
});
