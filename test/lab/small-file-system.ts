/** A file system of its own for the disk of one node of a lab: an image that is mounted through a loop device. Needs root. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LabNode } from '../../src/lab/lab-layout.ts';
import type { LabCluster } from '../../src/lab/pair.ts';

export class SmallFileSystem {
  readonly directory: string;
  #frozen = false;

  /** In a directory that does not exist yet. */
  constructor(directory: string, sizeBytes: number) {
    this.directory = join(directory, 'mounted');
    mkdirSync(this.directory, { recursive: true });
    const image = join(directory, 'image');
    writeFileSync(image, '');
    truncateSync(image, sizeBytes);
    execFileSync('mkfs.ext4', ['-q', '-F', image]);
    execFileSync('mount', ['-o', 'loop', image, this.directory]);
  }

  /** From now on the disk file of the node is here; with `metadataToo` also what lies beside it. */
  hold(lab: LabCluster, node: LabNode, sizeBytes: number, metadataToo: boolean): void {
    const { diskFile, metadataFile, moduleFile } = lab.nodes[node];
    const file = join(this.directory, 'disk0.img');
    writeFileSync(file, '');
    truncateSync(file, sizeBytes);
    rmSync(diskFile);
    symlinkSync(file, diskFile);
    if (!metadataToo) return;
    const text = readFileSync(moduleFile, 'utf8');
    writeFileSync(moduleFile, text.replace(metadataFile, join(this.directory, 'meta')));
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

  remove(): void {
    this.thaw();
    execFileSync('umount', [this.directory]);
  }
}
