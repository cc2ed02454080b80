/** The guest agent: the stand-in of the simulated guest answers, one that hangs does not, and garbage is no answer. */
import { createServer } from 'node:net';
import { expect } from 'chai';
import fc from 'fast-check';
import { askGuestAgent, holdsAnswer } from '../../../hypervisors/qemu/guest-agent.ts';
import { serveAgent } from '../../../hypervisors/simulated/agent-server.ts';
import { systemClock } from '../../../src/platform/system-clock.ts';
import { makeTempDirectory, type TempDirectory } from '../../temp-directory.ts';

const wait = { timeoutMs: 5000 };
const hopeless = { timeoutMs: 100 };

describe('the guest agent', () => {
  let directory: TempDirectory;
  const closing: (() => Promise<void>)[] = [];

  beforeEach(() => {
    directory = makeTempDirectory();
  });
  afterEach(async () => {
    await Promise.all(closing.splice(0).map((close) => close()));
    directory.remove();
  });

  async function agent(hangs: () => boolean): Promise<string> {
    const path = directory.file('qga.sock');
    const server = await serveAgent(path, hangs);
    closing.push(() => new Promise((resolve) => void server.close(() => resolve())));
    return path;
  }

  it('one that works answers, again and again', async () => {
    const path = await agent(() => false);
    for (let round = 1; round <= 3; round += 1)
      expect(await askGuestAgent(path, systemClock, wait)).to.equal(undefined);
  });

  it('one whose guest hangs does not answer in time', async () => {
    const path = await agent(() => true);
    expect(await askGuestAgent(path, systemClock, hopeless)).to.include('does not answer within 100 ms');
  });

  it('without a channel, with one that is closed, or with one that talks without end, the reason is said', async () => {
    expect(await askGuestAgent(directory.file('none'), systemClock, wait)).to.include('ENOENT');
    const path = directory.file('other.sock');
    let chatter = Buffer.alloc(0);
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.resume();
      socket.end(chatter);
    });
    await new Promise<void>((resolve) => void server.listen(path, resolve));
    closing.push(() => new Promise((resolve) => void server.close(() => resolve())));
    expect(await askGuestAgent(path, systemClock, wait)).to.include('was closed');
    chatter = Buffer.alloc(128 * 1024, 'x');
    expect(await askGuestAgent(path, systemClock, wait)).to.include('something else');
  });

  it('an answer is found among whatever an earlier client left unread, and nothing else is one', () => {
    const noise = fc.uint8Array({ maxLength: 60 });
    fc.assert(
      fc.property(noise, fc.nat(1000), (before, id) => {
        const answer = Buffer.from(`\xff{"return": ${id}}\n`, 'latin1');
        expect(holdsAnswer(Buffer.concat([before, Buffer.from('\n'), answer]), id)).to.equal(true);
        expect(holdsAnswer(Buffer.concat([before, answer.subarray(0, -1)]), id + 1)).to.equal(false);
      }),
    );
  });
});
