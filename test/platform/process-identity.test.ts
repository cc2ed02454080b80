import { type ChildProcess, spawn } from 'node:child_process';
import { expect } from 'chai';
import {
  isAlive,
  killVerified,
  parseProcessIdentity,
  readProcessIdentity,
  waitUntilGone,
} from '../../src/platform/process-identity.ts';
import { systemClock } from '../../src/platform/system-clock.ts';

describe('process identity', () => {
  let child: ChildProcess;
  beforeEach(() => {
    child = spawn('sleep', ['60'], { stdio: 'ignore' });
  });
  afterEach(() => void child.kill('SIGKILL'));

  it('a running process is recognised, also from its written form, and is gone after its end', async () => {
    const identity = readProcessIdentity(child.pid ?? 0);
    if (identity === undefined) throw new Error('the child does not run');
    expect(parseProcessIdentity(JSON.parse(JSON.stringify(identity)))).to.deep.equal(identity);
    expect(await waitUntilGone(identity, 20, systemClock)).to.equal(false);
    expect(killVerified(identity, 'SIGKILL')).to.equal(true);
    expect(await waitUntilGone(identity, 2000, systemClock)).to.equal(true);
    expect(killVerified(identity, 'SIGKILL')).to.equal(false);
  });

  it('another process with the same pid is neither alive nor signalled', () => {
    const identity = readProcessIdentity(child.pid ?? 0);
    if (identity === undefined) throw new Error('the child does not run');
    for (const other of [
      { ...identity, startTicks: '1' },
      { ...identity, hostBoot: 'another' },
    ]) {
      expect(isAlive(other)).to.equal(false);
      expect(killVerified(other, 'SIGKILL')).to.equal(false);
    }
    expect(isAlive(identity)).to.equal(true);
  });

  it('what is not an identity is none', () => {
    for (const value of [undefined, null, 1, {}, { pid: 1, startTicks: '1', hostBoot: 'x' }, { pid: 'x' }]) {
      expect(parseProcessIdentity(value)).to.equal(undefined);
    }
  });
});
