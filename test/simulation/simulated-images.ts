/**
 * Kept images of one host: they survive processes and power losses once they are complete. `possible` false: the file system
 * cannot clone. It does not model files of an image that was not completed: they count for nobody.
 */
import type { ImageLineage, KeptImageFacts, KeptImagePort } from '../../src/cluster/kept-image.ts';
import type { Random } from './random.ts';
import type { SimulatedDisk } from './simulated-disk.ts';
import type { Life, SimulatedTime } from './simulated-time.ts';

export class SimulatedImages {
  possible = true;
  complete: KeptImageFacts | undefined;
  /** Of the complete image, one per volume. */
  contents: readonly Uint32Array[] = [];
  readonly #disks: readonly SimulatedDisk[];
  readonly #time: SimulatedTime;
  readonly #random: Random;
  /** How often an image was to be kept: what is discarded is an earlier one. */
  #keeps = 0;

  constructor(disks: readonly SimulatedDisk[], time: SimulatedTime, random: Random) {
    this.#disks = disks;
    this.#time = time;
    this.#random = random;
  }

  /** Whether there is an image and it holds what the disks hold. */
  equalsDisks(): boolean {
    const isEqual = ({ seen }: SimulatedDisk, index: number): boolean =>
      this.contents[index]?.every((tag, sector) => tag === seen[sector]) === true;
    return this.complete !== undefined && this.#disks.every(isEqual);
  }

  /** The images as one process sees them. */
  openedBy(life: Life): KeptImagePort {
    const later = (work: () => void): void =>
      void this.#time.after(this.#random.between(0.5, 20), work, life);
    return {
      found: this.complete,
      keep: (lineage, _neededBytes, isWanted, done) => {
        this.complete = undefined;
        this.#keeps += 1;
        if (!this.possible) return later(() => done('the file system cannot clone files'));
        later(() => {
          const contents = this.#disks.map(({ seen }) => seen.slice());
          later(() => {
            if (!isWanted()) return done('it is not wanted any more');
            this.contents = contents;
            this.complete = this.#factsOf(lineage);
            done(this.complete);
          });
        });
      },
      restore: (done) =>
        later(() => {
          this.#disks.forEach((disk, index) => disk.fill(0, this.contents[index] as Uint32Array));
          later(() => done(undefined));
        }),
      discard: (done) => {
        const keeps = this.#keeps;
        later(() => {
          if (this.#keeps === keeps) this.complete = undefined;
          done();
        });
      },
    };
  }

  #factsOf({ path, generation, holder }: ImageLineage): KeptImageFacts {
    const now = this.#time.nowMs.toFixed(0);
    return { path, generation, holder, keptAt: now, contentOf: now, files: [] };
  }
}
