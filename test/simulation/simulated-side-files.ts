/** Side files of one host: complete ones survive processes and power losses. Also room that can be taken away. */
import type { SideFileContent, SideFilePort } from '../../src/cluster/side-files.ts';
import { blockSizeBytes } from '../../src/disk/state.ts';
import type { Random } from './random.ts';
import { sectorBytes, type SimulatedDisk } from './simulated-disk.ts';
import type { Life, SimulatedTime } from './simulated-time.ts';

export interface SimulatedSideFile {
  readonly content: SideFileContent;
  /** Per volume: sector -> what it had. */
  readonly kept: readonly ReadonlyMap<number, number>[];
}

export class SimulatedSideFiles {
  /** `late`: it is found out while they are written. */
  room: 'enough' | 'none' | 'late' = 'enough';
  readonly complete: SimulatedSideFile[] = [];
  readonly #disks: readonly SimulatedDisk[];
  readonly #time: SimulatedTime;
  readonly #random: Random;

  constructor(disks: readonly SimulatedDisk[], time: SimulatedTime, random: Random) {
    this.#disks = disks;
    this.#time = time;
    this.#random = random;
  }

  /** As one process sees them. */
  openedBy(life: Life): SideFilePort {
    const later = (work: () => void): void =>
      void this.#time.after(this.#random.between(0.5, 50), work, life);
    return {
      checkRoom: (_neededBytes, done) => later(() => done(this.room === 'none' ? 'no room' : undefined)),
      write: (content, done) =>
        later(() => {
          if (this.room !== 'enough') return done('no room');
          const kept = content.volumes.map(({ ranges }, volume) => {
            const sectors = new Map<number, number>();
            for (const { offsetBytes, lengthBytes } of ranges)
              for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += sectorBytes)
                sectors.set(at / sectorBytes, this.#disks[volume]?.seen[at / sectorBytes] ?? 0);
            return sectors;
          });
          later(() => {
            this.complete.push({ content, kept });
            done([`side-file-${this.complete.length}`]);
          });
        }),
    };
  }

  /** Bytes of all blocks in the last one. */
  get keptBytes(): number {
    const last = this.complete.at(-1);
    const sectors = last?.kept.reduce((sum, { size }) => sum + size, 0) ?? 0;
    return Math.ceil((sectors * sectorBytes) / blockSizeBytes) * blockSizeBytes;
  }
}
