/**
 * The real supervisor process with a stand-in for the module process: restarts, held sockets, watchdog, adoption.
 * What a real module does in between is not verified here. Needs `npm run build` and root (pidfd_getfd).
 */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import { callOnce } from '../../src/platform/control-client.ts';
import { readProcessIdentity } from '../../src/platform/process-identity.ts';
import type { SupervisedStatus } from '../../src/supervisor/supervised-module.ts';
import { until } from '../until.ts';
import { Bench } from './supervisor-bench.ts';

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
