/**
 * Whether comparing checksums before sending pays. Comparing lets the target read what it holds and both sides compute
 * digests, so that equal blocks need not cross the link: right after a crash or with a copy that was brought by other means, wasted
 * when the target is empty. It is tried first, given up while hardly any block is equal, and tried again from time to time.
 * Sending an equal block is never wrong, so nothing but cost depends on this choice.
 */

/** A chunk with fewer equal blocks than this part of all was not worth comparing. */
const equalPartMin = 1 / 8;
/** So many chunks in a row that were not worth it: comparing is given up. */
const givenUpAfterChunks = 16;
/** Then one chunk of so many is compared. */
const retryEveryChunks = 16;

export class CompareChoice {
  #worthlessInARow = 0;
  #uncompared = 0;

  /** Whether the next chunk is to be compared. */
  next(): boolean {
    if (this.#worthlessInARow < givenUpAfterChunks) return true;
    this.#uncompared = (this.#uncompared + 1) % retryEveryChunks;
    return this.#uncompared === 0;
  }

  /** What a comparison showed. */
  compared(equalBlocks: number, blocks: number): void {
    if (equalBlocks >= blocks * equalPartMin) this.#worthlessInARow = 0;
    else this.#worthlessInARow += 1;
  }
}
