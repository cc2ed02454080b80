/**
 * A verify of a real pair, by the command line, while a guest writes: bytes of the secondary's file change behind its back, and
 * are found, repaired and reported. That the media hold what the page cache shows is not verified, here or by the product.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, fsyncSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { expect } from 'chai';
import type { VerifyReport } from '../../src/base/status.ts';
import { type LabNode, labVolume } from '../../src/lab/lab-layout.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { programPath } from '../../src/platform/program-path.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { until } from '../until.ts';
import { RealPair, report } from './real-pair.ts';
import { monotonicMs } from './write-journal.ts';

const mebibyte = 1024 ** 2;
const sizeBytes = 256 * mebibyte;
/** Where no guest writes. */
const quietBytes = 10 * mebibyte;
const blockBytes = 65_536;
/** Longest gap between acknowledgements during a verify, ms. */
const stallMs = 2000;
const commandDeadlineMs = 60_000;

describe('a verify of a real pair', () => {
  let pair: RealPair;
  let primary: LabNode;
  let secondary: LabNode;
  before(async () => {
    pair = await RealPair.start({ sizeBytes });
    primary = await pair.primary();
    secondary = primary === 'A' ? 'B' : 'A';
    const client = await connectNbd({ path: pair.socketPath(primary) }, labVolume, { clock: systemClock });
    await client.write(quietBytes, randomBytes(mebibyte));
    await client.flush();
    await client.disconnect();
  });
  afterEach(() => pair.endLoads());
  after(() => pair?.end());

  /** One bit of the secondary's file, on its disk. */
  function flip(offsetBytes: number): void {
    const fd = openSync(pair.lab.nodes[secondary].diskFile, 'r+');
    const byte = Buffer.alloc(1);
    readSync(fd, byte, 0, 1, offsetBytes);
    byte[0] = (byte[0] as number) ^ 1;
    writeSync(fd, byte, 0, 1, offsetBytes);
    fsyncSync(fd);
    closeSync(fd);
  }

  async function vmpair(node: LabNode, verb: string, ...args: string[]) {
    const control = ['--control', pair.lab.nodes[node].paths.control];
    const command = [programPath('src/cli/main'), verb, ...control, ...args];
    const child = spawn(process.execPath, [...process.execArgv, ...command], { timeout: commandDeadlineMs });
    const output = { status: 0, stdout: '', stderr: '' };
    child.stdout.on('data', (text) => (output.stdout += String(text)));
    child.stderr.on('data', (text) => (output.stderr += String(text)));
    const [code] = (await once(child, 'close')) as [number | null];
    return { ...output, status: code };
  }

  it('finds two flipped bits under a guest that writes, repairs both, says where, and then finds nothing', async () => {
    const guest = await pair.load(primary);
    const damaged = [quietBytes + 12_345, sizeBytes - 5];
    for (const offsetBytes of damaged) flip(offsetBytes);
    const beganMs = monotonicMs();
    const first = await vmpair(primary, 'verify', '--json');
    const endedMs = monotonicMs();
    await guest.progress(200);
    expect(first.status, first.stderr).to.equal(1);
    const found = JSON.parse(first.stdout) as VerifyReport;
    expect(found).to.include({ outcome: 'complete', examinedBytes: sizeBytes });
    expect(found.ranges).to.deep.equal(
      damaged.map((at) => ({
        volume: labVolume,
        offsetBytes: at - (at % blockBytes),
        lengthBytes: blockBytes,
        repaired: true,
      })),
    );
    const gapMs = pair.journal.longestGapMs(beganMs, endedMs);
    report(
      `${sizeBytes / mebibyte} MiB compared in ${(endedMs - beganMs).toFixed(0)} ms, longest gap ${gapMs.toFixed(0)} ms`,
    );
    expect(gapMs).to.be.at.most(stallMs);
    const second = await vmpair(primary, 'verify');
    expect(second.status, second.stderr).to.equal(0);
    expect(second.stdout).to.contain('verify complete').and.to.contain('both copies are equal');
    await guest.end();
    expect(pair.journal.errors).to.deep.equal([]);
    await pair.expectBothHold();
  });

  it('goes on after the link was cut, can be stopped, and its report outlives the process', async () => {
    const guest = await pair.load(primary);
    const started = await vmpair(primary, 'verify', '--rate', '4MiB', '--background');
    expect(started.status, started.stderr).to.equal(0);
    const verify = async (): Promise<VerifyReport> => (await pair.status(primary)).verify as VerifyReport;
    await until('some of it is compared', async () => (await verify()).examinedBytes > 2 * mebibyte);
    pair.lab.cut();
    await until('it waits', async () => (await verify()).outcome === 'waiting', 20_000);
    const before = (await verify()).examinedBytes;
    pair.lab.heal();
    await pair.inSync();
    await until('it goes on', async () => (await verify()).examinedBytes > before, 20_000);
    const stopped = await vmpair(primary, 'verify', '--stop');
    expect(stopped.stdout).to.contain('verify stopped').and.to.contain('the operator stopped it');
    const shown = await vmpair(primary, 'status');
    expect(shown.stdout).to.contain('verify stopped');
    const { instance } = await pair.status(primary);
    pair.lab.killModule(primary);
    const again = await until(
      'another process',
      async () => {
        const status = await pair.lab.moduleStatus(primary);
        return status !== undefined && status.instance !== instance ? status : undefined;
      },
      20_000,
    );
    expect(again.verify).to.include({ outcome: 'stopped', because: 'the operator stopped it' });
    await pair.inSync();
    await guest.end();
    await pair.expectBothHold();
    expect(readFileSync(`${pair.lab.nodes[primary].metadataFile}.verify`, 'utf8')).to.contain('stopped');
  });

  it('is refused on the secondary, with what to do, and explain says what a handshake would decide', async () => {
    const refused = await vmpair(secondary, 'verify');
    expect(refused.status).to.equal(4);
    expect(refused.stderr).to.contain('run verify on the primary node');
    expect((await vmpair(primary, 'verify', '--rate', 'fast')).status).to.equal(2);
    const explained = await vmpair(secondary, 'explain');
    expect(explained.status, explained.stderr).to.equal(0);
    expect(explained.stdout).to.contain('met now').and.to.contain(`${primary} was asked over the link now`);
  });
});
