/**
 * The real supervisor process with a stand-in for the module process: restarts, held sockets, watchdog, adoption.
 * What a real module does in between is not verified here. Needs `npm run build` and root (pidfd_getfd).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import { callOnce } from '../../src/platform/control-client.ts';
import { killVerified, readProcessIdentity } from '../../src/platform/process-identity.ts';
import { programPath } from '../../src/platform/program-path.ts';
import type { SupervisedStatus } from '../../src/supervisor/supervised-module.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

const standIn = fileURLToPath(new URL('stand-in-module.js', import.meta.url));

class Bench {
  readonly directory: TempDirectory = makeTempDirectory();
  readonly control = this.directory.file('supervisor.control.sock');
  readonly module = this.directory.file('vm1.control.sock');
  #supervisors: ChildProcess[] = [];

  constructor() {
    const { directory } = this;
    const secret = directory.file('secret.pem');
    writeFileSync(
      directory.file('node.yaml'),
      `version: 1\nnode: A\nruntimeDir: ${directory.path}\ntls: {ca: ${secret}, cert: ${secret}, key: ${secret}}\n` +
        `modules: [${directory.file('vm1.yaml')}]\n`,
    );
    writeFileSync(
      directory.file('vm1.yaml'),
      `version: 1\ncluster: ${'1a'.repeat(16)}\nmodule: {id: ${'2b'.repeat(16)}, name: vm1}\n` +
        'nodes:\n  A: {link: {host: 127.0.0.1, port: 7001}}\n  B: {link: {host: 127.0.0.2, port: 7001}}\n' +
        'arbiter: {kind: none}\n' +
        'volumes:\n  - {name: disk0, size: 1MiB, file: /nowhere/0.img}\n  - {name: disk1, size: 1MiB, file: /nowhere/1.img}\n' +
        'metadata: /nowhere/vm1.meta\n' +
        'timers: {profile: fast}\n',
    );
  }

  start(): ChildProcess {
    const args = [programPath('src/supervisor/main'), '--node', this.directory.file('node.yaml')];
    const child = spawn(process.execPath, [...args, '--module-program', standIn], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#supervisors.push(child);
    return child;
  }

  async status(): Promise<SupervisedStatus> {
    return (await callOnce(this.control, 'status', { module: 'vm1' })) as SupervisedStatus;
  }

  /** Resolves when a module process other than `notPid` answers. */
  async running(notPid?: number): Promise<SupervisedStatus> {
    return until('the module runs', async () => {
      const status = await this.status();
      return status.state === 'running' && status.pid !== notPid && status;
    });
  }

  /** What a client of a volume's socket is told. */
  async served(volume: string): Promise<number> {
    const socket = connect(this.directory.file(`vm1.${volume}.nbd.sock`)).setEncoding('utf8');
    let text = '';
    socket.on('data', (part: string) => {
      text += part;
    });
    await once(socket, 'close');
    return Number(/^served by (\d+)\n$/.exec(text)?.[1]);
  }

  async end(): Promise<void> {
    await callOnce(this.control, 'shutdown', { stopModules: true }, 15_000).catch(() => {});
    for (const child of this.#supervisors) child.kill('SIGKILL');
    const record = /"pid":(\d+)/.exec(this.#record())?.[1];
    const left = record === undefined ? undefined : readProcessIdentity(Number(record));
    if (left !== undefined) killVerified(left, 'SIGKILL');
    this.directory.remove();
  }

  #record(): string {
    try {
      return readFileSync(this.directory.file('vm1.process.json'), 'utf8');
    } catch {
      return '';
    }
  }
}

describe('supervisor process', () => {
  let bench: Bench;
  beforeEach(() => {
    bench = new Bench();
  });
  afterEach(() => bench.end());

  it('a module that is killed is back at once, and a client that connects meanwhile is served, not refused', async () => {
    bench.start();
    const before = await bench.running();
    expect(await bench.served('disk0')).to.equal(before.pid);
    expect(await bench.served('disk1')).to.equal(before.pid);
    process.kill(before.pid ?? 0, 'SIGKILL');
    const served = await bench.served('disk1');
    const after = await bench.running(before.pid);
    expect(served).to.equal(after.pid);
    expect(after.restarts).to.equal(1);
  });

  it('the gap between the death of a module and the start of the next is at most 50 ms', async () => {
    bench.start();
    const before = await bench.running();
    const killedMs = performance.now();
    process.kill(before.pid ?? 0, 'SIGKILL');
    const pid = await until('a new process', () => {
      const found = Number(
        /"pid":(\d+)/.exec(readFileSync(bench.directory.file('vm1.process.json'), 'utf8'))?.[1],
      );
      return found !== before.pid && found;
    });
    expect(performance.now() - killedMs).to.be.below(50);
    expect((await bench.running(before.pid)).pid).to.equal(pid);
  });

  it('a module that hangs is killed by the watchdog and started again', async () => {
    bench.start();
    const before = await bench.running();
    await callOnce(bench.module, 'hang', {}, 50).catch(() => {});
    const hungMs = performance.now();
    const after = await bench.running(before.pid);
    expect(after.restarts).to.equal(1);
    expect(performance.now() - hungMs).to.be.within(900, 3000);
  });

  it('a module that says its configuration is unusable is not restarted, and says why', async () => {
    writeFileSync(bench.directory.file('vm1.unusable'), '');
    bench.start();
    const status = await until('it is given up', async () => {
      const seen = await bench.status();
      return seen.state === 'failed' && seen;
    });
    expect(status.because).to.contain('told to be unusable');
    expect(status.restarts).to.equal(0);
  });

  it('modules survive the death of their supervisor and are adopted by the next with their sockets', async () => {
    const first = bench.start();
    const before = await bench.running();
    first.kill('SIGKILL');
    await once(first, 'exit');
    expect(await bench.served('disk0')).to.equal(before.pid);
    bench.start();
    const adopted = await bench.running();
    expect(adopted.pid).to.equal(before.pid);
    expect(adopted.because).to.equal('it answers');
    process.kill(before.pid ?? 0, 'SIGKILL');
    const served = await bench.served('disk1');
    const after = await bench.running(before.pid);
    expect(served).to.equal(after.pid);
  });

  it('an adopted module that dies is restarted as fast as one of its own', async () => {
    const first = bench.start();
    const before = await bench.running();
    first.kill('SIGKILL');
    await once(first, 'exit');
    bench.start();
    await bench.running();
    const killedMs = performance.now();
    process.kill(before.pid ?? 0, 'SIGKILL');
    await until('a new process', () => {
      const found = Number(
        /"pid":(\d+)/.exec(readFileSync(bench.directory.file('vm1.process.json'), 'utf8'))?.[1],
      );
      return found !== before.pid;
    });
    expect(performance.now() - killedMs).to.be.below(100);
  });

  it('a second supervisor of the same run-time directory is refused and harms nothing', async () => {
    bench.start();
    const before = await bench.running();
    const second = bench.start();
    let text = '';
    second.stderr?.on('data', (part) => {
      text += String(part);
    });
    const [code] = await once(second, 'close');
    expect(code).to.equal(78);
    expect(text).to.match(/^already-running\nwanted: to be the only supervisor/);
    expect((await bench.status()).pid).to.equal(before.pid);
  });

  it('shutdown leaves the modules running, shutdown with stopModules does not', async () => {
    const first = bench.start();
    const before = await bench.running();
    await callOnce(bench.control, 'shutdown');
    const [code] = await once(first, 'exit');
    expect(code).to.equal(0);
    expect(await bench.served('disk0')).to.equal(before.pid);
    const second = bench.start();
    await bench.running();
    await callOnce(bench.control, 'shutdown', { stopModules: true }, 15_000);
    await once(second, 'exit');
    expect(readProcessIdentity(before.pid ?? 0)).to.equal(undefined);
  });

  it('stop, start and restart act on the process and answer when it is done', async () => {
    bench.start();
    const before = await bench.running();
    const stopped = (await callOnce(bench.control, 'stop', { module: 'vm1' }, 15_000)) as SupervisedStatus;
    expect(stopped.state).to.equal('stopped');
    expect(readProcessIdentity(before.pid ?? 0)).to.equal(undefined);
    await callOnce(bench.control, 'start', { module: 'vm1' });
    const again = await bench.running(before.pid);
    await callOnce(bench.control, 'restart', { module: 'vm1' });
    const restarted = await bench.running(again.pid);
    expect(restarted.restarts).to.equal(0);
  });

  it('restart with a file that cannot be used is refused, and the process that runs goes on', async () => {
    bench.start();
    const before = await bench.running();
    const file = bench.directory.file('vm1.yaml');
    writeFileSync(
      file,
      readFileSync(file, 'utf8').replace('profile: fast', 'profile: fast, pauseAfterMs: 9000'),
    );
    const error = await callOnce(bench.control, 'restart', { module: 'vm1' }).catch(
      (caught: WorldError) => caught,
    );
    expect(error).to.include({ code: 'config-invalid', next: 'Correct the file; nothing was changed.' });
    expect(await bench.served('disk0')).to.equal(before.pid);
    expect((await bench.status()).pid).to.equal(before.pid);
  });

  it('a module name that is not configured is refused with the names that are', async () => {
    bench.start();
    await bench.running();
    const error = await callOnce(bench.control, 'start', { module: 'vm9' }).catch(
      (caught: WorldError) => caught,
    );
    expect(error).to.include({ code: 'module-unknown', wanted: 'one of the modules vm1' });
  });

  it('a file that cannot be used keeps only its own module from running', async () => {
    const { directory } = bench;
    const broken = directory.file('vm2.yaml');
    writeFileSync(broken, 'version: 1\nmodul: {}\n');
    const nodeFile = directory.file('node.yaml');
    const text = readFileSync(nodeFile, 'utf8');
    writeFileSync(nodeFile, text.replace('vm1.yaml]', `vm1.yaml, ${broken}]`));
    bench.start();
    await bench.running();
    const list = (await callOnce(bench.control, 'list')) as SupervisedStatus[];
    const [, second] = list;
    expect(second).to.include({ module: 'vm2', state: 'failed' });
    expect(second?.because).to.contain('vm2.yaml:2:').and.to.contain('did you mean "module"?');
  });
});
