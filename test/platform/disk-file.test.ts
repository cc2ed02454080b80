import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import { WorldError } from '../../src/base/errors.ts';
import { DiskFile } from '../../src/platform/disk-file.ts';
import { LoopWrites } from '../../src/platform/loop-writes.ts';
import { allocation, flush, read, trim, write, zero } from './block-calls.ts';
import { useTemporaryDirectory } from './temporary-directory.ts';

const mebibyte = 2 ** 20;

function close(disk: DiskFile): Promise<void> {
  return new Promise((resolve) => disk.close(resolve));
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof WorldError) return error.code;
    throw error;
  }
  return 'no error';
}

/** Where small writes run: every sign is good for ever, or never. */
const places = { 'the event loop': Number.MAX_SAFE_INTEGER, 'the thread pool': 0 } as const;

for (const [place, roomBytes] of Object.entries(places)) describeDiskFile(place, roomBytes);

function describeDiskFile(place: string, roomBytes: number): void {
  describe(`disk file that writes in ${place}`, () => {
    const newPath = useTemporaryDirectory();
    const opened: DiskFile[] = [];
    afterEach(() => Promise.all(opened.splice(0).map(close)));

    function newDisk(sizeBytes = 4 * mebibyte): DiskFile {
      const path = newPath();
      DiskFile.create(path, sizeBytes);
      const loopWrites = new LoopWrites({ nowMs: () => 0, dirtyRoomBytes: () => roomBytes });
      const disk = DiskFile.open(path, sizeBytes, loopWrites);
      opened.push(disk);
      return disk;
    }

    it('never completes a write from inside the call, and keeps what was queued when it closes', async () => {
      const disk = newDisk();
      let completed = 0;
      const completion = { done: () => (completed += 1) };
      for (let turn = 0; turn < 3; turn += 1)
        disk.write(turn * 4096, 4096, [Buffer.alloc(4096, 7)], false, completion);
      expect(completed).to.equal(0);
      await close(disk);
      expect(completed).to.equal(3);
    });

    it('answers the error of a write, and says which kind it is', async () => {
      const disk = newDisk();
      const { writev, writeSync } = fs;
      for (const [code, outcome] of [
        ['ENOSPC', 'no-space'],
        ['EIO', 'io-error'],
      ] as const) {
        const error = Object.assign(new Error(code), { code });
        fs.writeSync = () => {
          throw error;
        };
        fs.writev = ((
          _fd: number,
          _chunks: unknown,
          _at: number,
          done: (error: Error, count: number) => void,
        ) => setImmediate(() => done(error, 0))) as unknown as typeof writev;
        try {
          expect(await write(disk, 0, [Buffer.alloc(4096)])).to.equal(outcome);
        } finally {
          Object.assign(fs, { writev, writeSync });
        }
      }
    });

    it('holds what was written, zeroed and trimmed, like plain memory', async () => {
      const sizeBytes = 256 * 1024;
      const place = fc.record({
        offsetBytes: fc.nat(sizeBytes - 1),
        lengthBytes: fc.integer({ min: 1, max: 40_000 }),
      });
      const call = fc.record({
        verb: fc.constantFrom('write', 'zero', 'punch', 'trim'),
        place,
        cut: fc.nat(5000),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(call, { minLength: 1, maxLength: 12 }), async (calls) => {
          const disk = newDisk(sizeBytes);
          const model = Buffer.alloc(sizeBytes);
          for (const [index, { verb, place: at, cut }] of calls.entries()) {
            const lengthBytes = Math.min(at.lengthBytes, sizeBytes - at.offsetBytes);
            const bytes = Buffer.alloc(lengthBytes, index + 1);
            const chunks = [bytes.subarray(0, cut), bytes.subarray(cut)];
            model.fill(verb === 'write' ? index + 1 : 0, at.offsetBytes, at.offsetBytes + lengthBytes);
            if (verb === 'write') expect(await write(disk, at.offsetBytes, chunks)).to.equal('ok');
            else if (verb === 'trim') expect(await trim(disk, at.offsetBytes, lengthBytes)).to.equal('ok');
            else
              expect(await zero(disk, at.offsetBytes, lengthBytes, { mayPunch: verb === 'punch' })).to.equal(
                'ok',
              );
          }
          expect(model.equals((await read(disk, 0, sizeBytes)) as Buffer)).to.equal(true);
          await close(disk);
        }),
        { numRuns: 25 },
      );
    });

    it('takes a long write that begins and ends anywhere, in chunks cut anywhere', async () => {
      const disk = newDisk();
      const bytes = randomBytes(700_001);
      const cuts = [0, 1, 4096, 65_536, 65_537, 300_000, 699_999, bytes.length];
      const chunks = cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end));
      expect(await write(disk, 60_000, chunks)).to.equal('ok');
      expect(bytes.equals((await read(disk, 60_000, bytes.length)) as Buffer)).to.equal(true);
      expect(((await read(disk, 0, 60_000)) as Buffer).every((byte) => byte === 0)).to.equal(true);
    });

    it('takes a write of more chunks than one system call can', async () => {
      const disk = newDisk();
      const chunks = Array.from({ length: 3000 }, (_, index) => Buffer.alloc(100, index % 251));
      expect(await write(disk, 777, chunks, true)).to.equal('ok');
      expect(Buffer.concat(chunks).equals((await read(disk, 777, 300_000)) as Buffer)).to.equal(true);
    });

    it('goes on where the system took a part of a write', async () => {
      const disk = newDisk();
      const { writev, writevSync } = fs;
      fs.writevSync = (fd, chunks, at) => fs.writeSync(fd, chunks[0]!, 0, 700, at);
      // The system takes 1000 bytes at a time.
      const short = (fd: number, chunks: readonly Uint8Array[], at: number, done: () => void): void =>
        fs.write(fd, chunks[0]!, 0, Math.min(1000, chunks[0]!.length), at, done);
      fs.writev = short as unknown as typeof writev;
      const chunks = [Buffer.alloc(2500, 1), Buffer.alloc(500, 2), Buffer.alloc(1001, 3)];
      try {
        expect(await write(disk, 50, chunks)).to.equal('ok');
      } finally {
        Object.assign(fs, { writev, writevSync });
      }
      expect(Buffer.concat(chunks).equals((await read(disk, 50, 4001)) as Buffer)).to.equal(true);
    });

    it('maps data and holes, clipped to what was asked', async () => {
      const disk = newDisk();
      await write(disk, mebibyte, [Buffer.alloc(mebibyte, 1)], true);
      const hole = { hole: true, zero: true };
      const data = { hole: false, zero: false };
      expect(await allocation(disk, 0, 4 * mebibyte)).to.deep.equal([
        { lengthBytes: mebibyte, ...hole },
        { lengthBytes: mebibyte, ...data },
        { lengthBytes: 2 * mebibyte, ...hole },
      ]);
      expect(await allocation(disk, mebibyte + 5, 100)).to.deep.equal([{ lengthBytes: 100, ...data }]);
      expect(await allocation(disk, 3 * mebibyte, 4096)).to.deep.equal([{ lengthBytes: 4096, ...hole }]);
    });

    it('after a failed flush never flushes with success again', async () => {
      const disk = newDisk();
      const { fdatasync } = fs;
      fs.fdatasync = ((_fd: number, done: (error: Error) => void) =>
        setImmediate(() => done(new Error('EIO')))) as unknown as typeof fdatasync;
      let first: string[];
      try {
        first = await Promise.all([flush(disk), flush(disk), write(disk, 0, [Buffer.alloc(512)], true)]);
      } finally {
        fs.fdatasync = fdatasync;
      }
      expect(first).to.deep.equal(['io-error', 'io-error', 'io-error']);
      expect(await flush(disk)).to.equal('io-error');
      expect(await write(disk, 0, [Buffer.alloc(512)], true)).to.equal('io-error');
      expect(await write(disk, 0, [Buffer.alloc(512)])).to.equal('ok');
    });

    it('answers many flushes with few system calls, each begun after the flush was asked for', async () => {
      const disk = newDisk();
      const { fdatasync } = fs;
      let calls = 0;
      fs.fdatasync = ((fd: number, done: fs.NoParamCallback) => {
        calls += 1;
        fdatasync(fd, done);
      }) as unknown as typeof fdatasync;
      try {
        const first = flush(disk);
        await new Promise(setImmediate);
        await Promise.all([first, ...Array.from({ length: 50 }, () => flush(disk))]);
      } finally {
        fs.fdatasync = fdatasync;
      }
      expect(calls).to.equal(2);
    });

    it('refuses files that cannot hold the volume, and changes nothing', () => {
      const path = newPath();
      expect(codeOf(() => DiskFile.open(path, mebibyte))).to.equal('file-missing');
      expect(fs.existsSync(path)).to.equal(false);
      DiskFile.create(path, mebibyte);
      expect(codeOf(() => DiskFile.open(path, mebibyte + 1))).to.equal('file-too-small');
      expect(fs.statSync(path).size).to.equal(mebibyte);
      expect(codeOf(() => DiskFile.create(path, 1))).to.equal('file-exists');
      expect(fs.statSync(path).size).to.equal(mebibyte);
      expect(codeOf(() => DiskFile.create(newPath('missing/disk'), 1))).to.equal('file-missing');
      expect(codeOf(() => DiskFile.open('/dev', 1))).to.equal('file-io');
    });

    it('is locked while it is open, also within one process, and free afterwards', async () => {
      const path = newPath();
      DiskFile.create(path, mebibyte);
      const disk = DiskFile.open(path, mebibyte);
      expect(() => DiskFile.open(path, mebibyte)).to.throw(`a lock of process ${process.pid}`);
      await close(disk);
      opened.push(DiskFile.open(path, mebibyte));
    });

    it('finishes what is in flight before it closes, and refuses what comes later', async () => {
      const disk = newDisk();
      const inFlight = [write(disk, 0, [Buffer.alloc(mebibyte, 1)], true), flush(disk)];
      const answered: string[] = [];
      const closed = close(disk).then(() => answered.push('closed'));
      void Promise.all(inFlight).then((outcomes) => answered.push(...outcomes));
      expect(await write(disk, 0, [Buffer.alloc(1)])).to.equal('shutting-down');
      expect(await read(disk, 0, 1)).to.equal('shutting-down');
      expect(await flush(disk)).to.equal('shutting-down');
      await closed;
      expect(answered).to.deep.equal(['ok', 'ok', 'closed']);
      await close(disk);
    });

    it('reports a file that was cut short as an error', async () => {
      const path = newPath();
      DiskFile.create(path, mebibyte);
      const disk = DiskFile.open(path, mebibyte);
      opened.push(disk);
      fs.truncateSync(path, 1000);
      expect(await read(disk, 500, 1000)).to.equal('io-error');
    });
  });
}
