/**
 * Fences against what they switch in reality: a simulated management controller that speaks IPMI (`ipmi_sim` of OpenIPMI) and an SSH
 * server of the distribution, both on loopback with files in a directory of their own; and the `ping` program. Not shown: controllers of
 * real servers, which are slower and have quirks of their own.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { expect } from 'chai';
import type { Fence, FenceAnswer, FenceTest } from '../../../src/arbiter/fence.ts';
import { IpmiFence } from '../../../src/platform/fence/ipmi-fence.ts';
import { SshFence, type SshFenceConfig } from '../../../src/platform/fence/ssh-fence.ts';
import { findFreePort } from '../../../src/platform/free-port.ts';
import { createSurroundings } from '../../../src/platform/ping.ts';
import { makeTempDirectory, type TempDirectory } from '../../temp-directory.ts';
import { until } from '../../until.ts';

const host = '127.0.0.1';
/** Generous: what is tested is the answer, not the speed. */
const deadlineMs = 60_000;
const target = { node: 'B', self: 'A', module: 'vm1', deadlineMs };

const proveOff = (fence: Fence): Promise<FenceAnswer> =>
  new Promise((resolve) => void fence.proveOff(resolve));
const testOf = (fence: Fence): Promise<FenceTest> => new Promise((resolve) => fence.test(resolve));

async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4');
  socket.bind(0, host);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  return port;
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

describe('a management controller as a fence', function () {
  this.timeout(180_000);
  let temp: TempDirectory;
  let controller: ChildProcess;
  let port: number;
  let powerIsOff: string;
  let refusesToSwitch: string;

  before(async () => {
    temp = makeTempDirectory();
    port = await freeUdpPort();
    powerIsOff = temp.file('power-is-off');
    refusesToSwitch = temp.file('refuses');
    const power = temp.file('power.sh');
    writeFileSync(
      power,
      `#!/bin/sh
case "$2 $3 $4" in
  "get power "*) if [ -e ${powerIsOff} ]; then echo power:0; else echo power:1; fi ;;
  "set power 0") [ -e ${refusesToSwitch} ] || touch ${powerIsOff} ;;
  *) exit 1 ;;
esac
`,
      { mode: 0o700 },
    );
    const auths = ['callback', 'user', 'operator', 'admin'].map((each) => `allowed_auths_${each} md5`);
    writeFileSync(
      temp.file('lan.conf'),
      `name "bmc"
set_working_mc 0x20
startlan 1
addr ${host} ${port}
priv_limit admin
${auths.join('\n')}
guid a123456789abcdefa123456789abcdef
endlan
chassis_control "${power} 0x20"
user 2 true "vmpair" "secret" admin 10 md5
`,
    );
    const commands = [
      'mc_setbmc 0x20',
      'mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02',
      'mc_enable 0x20',
    ];
    writeFileSync(temp.file('commands'), `${commands.join('\n')}\n`);
    mkdirSync(temp.file('state'));
    writeFileSync(temp.file('password'), 'secret\n', { mode: 0o600 });
    writeFileSync(temp.file('wrong-password'), 'wrong\n', { mode: 0o600 });
    const files = ['-c', temp.file('lan.conf'), '-f', temp.file('commands'), '-s', temp.file('state'), '-n'];
    controller = spawn('ipmi_sim', files, { stdio: 'ignore' });
    await until('the controller answers', async () => (await testOf(fence())).kind === 'answers', deadlineMs);
  });
  after(async () => {
    await end(controller);
    temp.remove();
  });
  beforeEach(() => {
    for (const file of [powerIsOff, refusesToSwitch]) rmSync(file, { force: true });
  });

  const fence = (options: { password?: string; port?: number; deadlineMs?: number } = {}): IpmiFence =>
    new IpmiFence(
      {
        kind: 'ipmi',
        host,
        port: options.port ?? port,
        user: 'vmpair',
        passwordFile: temp.file(options.password ?? 'password'),
        cipherSuite: 3,
        program: '/usr/bin/ipmitool',
      },
      { ...target, deadlineMs: options.deadlineMs ?? deadlineMs },
    );

  it('is tested by asking for the power, which stays on', async () => {
    const { kind, because } = await testOf(fence());
    expect([kind, because]).to.deep.equal(['answers', `${host} says that the power is on`]);
    expect(existsSync(powerIsOff)).to.equal(false);
  });

  it('switches off, and proves it by the status afterwards', async () => {
    const answer = await proveOff(fence());
    expect(answer).to.deep.equal({
      kind: 'off',
      because: `ordered to switch off; ${host} says that the power is off`,
    });
    expect(existsSync(powerIsOff)).to.equal(true);
  });

  it('of a server that is off already needs no order', async () => {
    writeFileSync(powerIsOff, '');
    expect(await proveOff(fence())).to.deep.equal({
      kind: 'off',
      because: `${host} says that the power is off`,
    });
  });

  it('that accepts the order and leaves the power on proves nothing', async () => {
    writeFileSync(refusesToSwitch, '');
    const { kind, because } = await proveOff(fence({ deadlineMs: 25_000 }));
    expect(kind).to.equal('no-proof');
    expect(because).to.contain('ordered to switch off');
  });

  it('that knows another password, or that nobody reaches, proves nothing', async () => {
    const wrong = await testOf(fence({ password: 'wrong-password' }));
    expect(wrong.kind).to.equal('no-answer');
    expect(wrong.because).to.contain('Unable to establish');
    const nobody = await proveOff(fence({ port: await freeUdpPort(), deadlineMs: 2000 }));
    expect(nobody.kind).to.equal('no-proof');
    expect(existsSync(powerIsOff)).to.equal(false);
  });
});

describe('a command over SSH as a fence', function () {
  this.timeout(120_000);
  let temp: TempDirectory;
  let server: ChildProcess;
  let config: SshFenceConfig;

  const keygen = (file: string): void => {
    const made = spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', temp.file(file)]);
    expect(made.status, String(made.stderr)).to.equal(0);
  };
  const fingerprintOf = (file: string): string => {
    const shown = spawnSync('ssh-keygen', ['-lf', temp.file(`${file}.pub`)], { encoding: 'utf8' });
    return shown.stdout.split(' ')[1] ?? '';
  };

  before(async () => {
    temp = makeTempDirectory();
    for (const file of ['host', 'other-host', 'node', 'stranger']) keygen(file);
    const port = await findFreePort(host);
    const lines = [
      `ListenAddress ${host}`,
      `Port ${port}`,
      `HostKey ${temp.file('host')}`,
      `AuthorizedKeysFile ${temp.file('node.pub')}`,
      'PidFile none',
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
    ];
    writeFileSync(temp.file('sshd_config'), `${lines.join('\n')}\n`);
    // Where sshd puts itself before somebody has logged in; made by its service elsewhere.
    mkdirSync('/run/sshd', { recursive: true });
    server = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', temp.file('sshd_config')], { stdio: 'ignore' });
    config = {
      kind: 'ssh',
      host,
      port,
      user: userInfo().username,
      keyFile: temp.file('node'),
      hostKey: fingerprintOf('host'),
      off: `touch ${temp.file('switched-off')}; echo outlet 3 is off`,
    };
    await until('the server answers', async () => (await testOf(fence())).kind === 'answers', deadlineMs);
  });
  after(async () => {
    await end(server);
    temp.remove();
  });

  const fence = (change: Partial<SshFenceConfig> = {}, withinMs = deadlineMs): SshFence =>
    new SshFence({ ...config, ...change }, { ...target, deadlineMs: withinMs });

  it('is tested by logging in, which switches nothing, or by a command of its own', async () => {
    const plain = await testOf(fence());
    expect(plain.because).to.contain('logged in');
    expect((await testOf(fence({ test: 'exit 7' }))).kind).to.equal('no-answer');
    expect((await testOf(fence({ test: 'true' }))).kind).to.equal('answers');
    expect(existsSync(temp.file('switched-off'))).to.equal(false);
  });

  it('proves with exit code 0 and nothing else', async () => {
    const { kind, because } = await proveOff(fence());
    expect(kind).to.equal('off');
    expect(because).to.match(/exit code 0: outlet 3 is off$/);
    expect(existsSync(temp.file('switched-off'))).to.equal(true);
    const failed = await proveOff(fence({ off: 'echo busy >&2; exit 3' }));
    expect(failed.kind).to.equal('no-proof');
    expect(failed.because).to.match(/exit code 3: busy$/);
  });

  it('does not speak to a host with another key, and gives it no order', async () => {
    const answer = await proveOff(
      fence({ hostKey: fingerprintOf('other-host'), off: `touch ${temp.file('tricked')}` }),
    );
    expect(answer.kind).to.equal('no-proof');
    expect(answer.because).to.contain('verification failed');
    expect(existsSync(temp.file('tricked'))).to.equal(false);
  });

  it('that refuses the user, hangs, or ends the connection proves nothing', async () => {
    const refused = await proveOff(fence({ keyFile: temp.file('stranger') }));
    expect(refused.kind).to.equal('no-proof');
    expect(refused.because).to.contain('authentication');
    expect((await proveOff(fence({ keyFile: temp.file('no-such-key') }))).kind).to.equal('no-proof');
    const hangs = await proveOff(fence({ off: 'sleep 1000' }, 3000));
    expect(hangs).to.include({ kind: 'no-proof' });
    expect(hangs.because).to.contain('no end within 3.0 s');
    const cut = await proveOff(fence({ off: 'kill -9 $PPID' }));
    expect(cut.kind).to.equal('no-proof');
  });
});

describe('the ping program', () => {
  it('reaches this machine, and not an address of nobody', async () => {
    const reachAny = (name: string): Promise<boolean> =>
      new Promise((resolve) => createSurroundings([{ host: name }]).reachAny(resolve));
    await until('an answer of this machine', () => reachAny(host), 20_000);
    expect(await reachAny('no-such-host.invalid')).to.equal(false);
  });
});
