/**
 * A file system of its own for the disk of one node of a lab: an image that is mounted through a loop device, and that can hang
 * or fail: its image is served by nbdkit, which is stopped, or whose writes fail. Needs root, nbdkit and nbdfuse.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LabNode } from '../../src/lab/lab-layout.ts';
import type { LabCluster } from '../../src/lab/pair.ts';
import {
  killVerified,
  type ProcessIdentity,
  readProcessIdentity,
  waitUntilGone,
} from '../../src/platform/process-identity.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { until } from '../until.ts';

/** How long a program of the image may take to be there, or to be gone, ms. */
const programDeadlineMs = 10_000;

export class SmallFileSystem {
  readonly directory: string;
  readonly #server: FailingImage;
  #frozen = false;

  /** In a directory that does not exist yet. */
  static async make(directory: string, sizeBytes: number): Promise<SmallFileSystem> {
    mkdirSync(directory);
    return new SmallFileSystem(directory, await FailingImage.start(directory, sizeBytes));
  }

  private constructor(directory: string, server: FailingImage) {
    this.directory = join(directory, 'mounted');
    this.#server = server;
    mkdirSync(this.directory);
    // Without a journal: a write that fails must not make the whole file system read-only.
    execFileSync('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', server.image]);
    execFileSync('mount', ['-o', 'loop', server.image, this.directory]);
  }

  /** Writes are taken into the page cache, and fail when the kernel brings them to the device. */
  set failing(failing: boolean) {
    this.#server.fail(failing);
  }

  /** From now on the disk file of the node is here; with `metadataToo` also what lies beside it. */
  hold(lab: LabCluster, node: LabNode, sizeBytes: number, metadataToo: boolean): void {
    const { diskFile, metadataFile, moduleFile } = lab.nodes[node];
    const file = join(this.directory, 'disk0.img');
    // Allocated and written: a disk that loses writes must lose data here, and not the map of the file.
    writeFileSync(file, Buffer.alloc(sizeBytes), { flush: true });
    rmSync(diskFile);
    symlinkSync(file, diskFile);
    if (!metadataToo) return;
    const text = readFileSync(moduleFile, 'utf8');
    writeFileSync(moduleFile, text.replace(metadataFile, join(this.directory, 'meta')));
  }

  /** The device answers nothing: writes end in the page cache, and flushes hang. */
  set hanging(hanging: boolean) {
    this.#server.hang(hanging);
  }

  /** How fast the device reads and writes from now on. */
  set bytesPerSecond(bytesPerSecond: number) {
    this.#server.limit(bytesPerSecond);
  }

  /** Every write and flush to it hangs, uninterruptibly, until it is thawed. */
  freeze(): void {
    execFileSync('fsfreeze', ['-f', this.directory]);
    this.#frozen = true;
  }

  thaw(): void {
    if (this.#frozen) execFileSync('fsfreeze', ['-u', this.directory]);
    this.#frozen = false;
  }

  async remove(): Promise<void> {
    this.thaw();
    this.hanging = false;
    this.failing = false;
    execFileSync('umount', [this.directory]);
    await this.#server.stop();
  }
}

/** A device of nbdkit, as a file through nbdfuse. */
class FailingImage {
  readonly image: string;
  readonly #directory: string;

  static async start(directory: string, sizeBytes: number): Promise<FailingImage> {
    const self = new FailingImage(directory);
    const socket = join(directory, 'socket');
    const server = [
      '-P',
      self.#pidFile('nbdkit'),
      '-U',
      socket,
      '--filter=error',
      '--filter=rate',
      'memory',
      String(sizeBytes),
    ];
    execFileSync('nbdkit', [
      ...server,
      'error=EIO',
      'error-pwrite-rate=100%',
      `error-pwrite-file=${self.#marker}`,
      `rate-file=${self.#rateFile}`,
    ]);
    mkdirSync(self.#mountPoint);
    spawn('nbdfuse', ['-P', self.#pidFile('nbdfuse'), self.#mountPoint, '--unix', socket], {
      stdio: 'ignore',
    });
    await until('the image', () => existsSync(self.image), programDeadlineMs);
    return self;
  }

  private constructor(directory: string) {
    this.#directory = directory;
    this.image = join(this.#mountPoint, 'nbd');
  }

  get #mountPoint(): string {
    return join(this.#directory, 'fuse');
  }
  get #rateFile(): string {
    return join(this.#directory, 'rate');
  }
  get #marker(): string {
    return join(this.#directory, 'writes-fail');
  }
  #pidFile(program: string): string {
    return join(this.#directory, `${program}.pid`);
  }

  fail(failing: boolean): void {
    if (failing) writeFileSync(this.#marker, '');
    else rmSync(this.#marker, { force: true });
  }

  limit(bytesPerSecond: number): void {
    const written = `${this.#rateFile}.new`;
    writeFileSync(written, `${8 * bytesPerSecond}\n`);
    renameSync(written, this.#rateFile);
  }

  hang(hanging: boolean): void {
    const identity = this.#nbdkit();
    if (identity !== undefined) killVerified(identity, hanging ? 'SIGSTOP' : 'SIGCONT');
  }

  #nbdkit(): ProcessIdentity | undefined {
    return readProcessIdentity(Number(readFileSync(this.#pidFile('nbdkit'), 'utf8')));
  }

  /** The kernel lets go of the loop device a moment after the file system is gone. */
  async stop(): Promise<void> {
    await until(
      'the image to be free',
      () => {
        execFileSync('umount', [this.#mountPoint], { stdio: 'ignore' });
        return true;
      },
      programDeadlineMs,
    );
    const identity = this.#nbdkit();
    if (identity === undefined) return;
    killVerified(identity, 'SIGTERM');
    await waitUntilGone(identity, programDeadlineMs, systemClock);
  }
}
