/** Questions about the host: what is well, what fails, and that each has an answer in time. */
import { createServer, type Server } from 'node:net';
import type { AddressInfo } from 'node:net';
import { existsSync } from 'node:fs';
import { expect } from 'chai';
import {
  probeDiskSpace,
  probeNetworkLink,
  probeProgram,
  probeTcp,
  within,
} from '../../src/platform/host-probes.ts';

const deadlineMs = 5000;

async function listening(): Promise<{ server: Server; port: number }> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return { server, port: (server.address() as AddressInfo).port };
}

describe('questions about the host', () => {
  it('a TCP port that accepts is well, one that refuses is not', async () => {
    const { server, port } = await listening();
    expect(await probeTcp('127.0.0.1', port, deadlineMs)).to.deep.equal({
      ok: true,
      because: `127.0.0.1 port ${port} accepts connections`,
    });
    await new Promise<void>((resolve) => void server.close(() => resolve()));
    const refused = await probeTcp('127.0.0.1', port, deadlineMs);
    expect(refused.ok).to.equal(false);
    expect(refused.because).to.include('ECONNREFUSED');
  });

  it('a file system with room is well, one with too little is not, nor is one that does not exist', async () => {
    expect((await probeDiskSpace('/', 1, deadlineMs)).ok).to.equal(true);
    const little = await probeDiskSpace('/', 2 ** 62, deadlineMs);
    expect(little.ok).to.equal(false);
    expect(little.because).to.match(/are free at \/, wanted are/);
    const none = await probeDiskSpace('/does/not/exist', 1, deadlineMs);
    expect([none.ok, none.because.includes('ENOENT')]).to.deep.equal([false, true]);
  });

  it('an interface that does not exist fails and says so', async () => {
    expect(await probeNetworkLink('nothere0', deadlineMs)).to.deep.equal({
      ok: false,
      because: 'nothere0 does not exist',
    });
    if (existsSync('/sys/class/net/lo/carrier'))
      expect(await probeNetworkLink('lo', deadlineMs)).to.deep.equal({
        ok: true,
        because: 'lo has a carrier',
      });
  });

  it('a program answers by its exit code, and its output is said, also when it is killed at the deadline', async () => {
    const say = (script: string, timeMs = deadlineMs) =>
      probeProgram(['/bin/sh', '-c', script], timeMs, { VMPAIR_CHECK: 'app' });
    expect(await say('echo "$VMPAIR_CHECK is fine"')).to.deep.equal({
      ok: true,
      because: 'exit code 0: app is fine',
    });
    expect(await say('echo no; exit 3')).to.deep.equal({ ok: false, because: 'exit code 3: no' });
    expect((await say('exec sleep 60', 100)).because).to.include('no end within 0.1 s');
  });

  it('an answer that never comes, or is an error, is a failure in time', async () => {
    expect(await within(20, 'it', new Promise(() => {}))).to.deep.equal({
      ok: false,
      because: 'it does not answer within 20 ms',
    });
    expect((await within(deadlineMs, 'it', Promise.reject(new Error('broken')))).because).to.equal('broken');
  });
});
