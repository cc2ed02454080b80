/**
 * The earlier image of a resync target: a clone of its disk files from before the first block, for as long as the copy itself
 * is of no use. If the source is lost in the middle, this is what a VM can still be started from, by an explicit command.
 *
 * Order: the image of all volumes is complete and durable before the copy is marked inconsistent; it goes only after the copy is
 * durably up to date again. It is made once, before the first of several attempts. A resync never waits for room or for a file
 * system that can clone: without them there is no image, and why is shown.
 */
import type { OperationId } from '../base/identity.ts';
import type { KeptImageStatus } from '../base/status.ts';
import type { DataFlag, Holder } from '../disk/state.ts';
import type { DecisionLog } from './decision-log.ts';

/** Which data an image holds: the lineage of the copy when it was made. */
export interface ImageLineage {
  readonly path: readonly OperationId[];
  readonly generation: number;
  readonly holder: Holder | undefined;
}

export interface KeptImageFacts extends ImageLineage {
  /** Time of day when it was made. */
  readonly keptAt: string;
  /** When its disk files were written last before that: what the guest wrote later is not in it. */
  readonly contentOf: string;
  readonly files: readonly string[];
}

/** Calls take effect one after the other; each answers once. All volumes together, or none. */
export interface KeptImagePort {
  /** The complete image that was there when the module started. */
  readonly found: KeptImageFacts | undefined;
  /**
   * Replaces an earlier image. `neededBytes`: room that the resync may take beside it. It counts only if `isWanted` still says
   * so when everything is durable. A string says why there is none.
   */
  keep(
    lineage: ImageLineage,
    neededBytes: number,
    isWanted: () => boolean,
    done: (result: KeptImageFacts | string) => void,
  ): void;
  /** Puts its content in the place of the volumes', durably; it stays. A string says why not. */
  restore(done: (problem: string | undefined) => void): void;
  /** From now on it does not count, durably; then its files go. */
  discard(done: () => void): void;
}

const nothingSaid = 'none was made since the module was started';

export class KeptImage {
  readonly #port: KeptImagePort | undefined;
  readonly #decisions: DecisionLog;
  #image: KeptImageFacts | undefined;
  /** Why there is none. */
  #because = nothingSaid;
  /** Changes with every attempt to keep: an earlier one is not wanted any more. */
  #turn = 0;

  constructor(port: KeptImagePort | undefined, decisions: DecisionLog) {
    this.#port = port;
    this.#decisions = decisions;
    this.#image = port?.found;
  }

  get facts(): KeptImageFacts | undefined {
    return this.#image;
  }

  /** Shown while the copy is not up to date; otherwise nobody needs it. */
  statusFor(data: DataFlag): KeptImageStatus | undefined {
    if (data === 'up-to-date' || data === 'fresh') return undefined;
    if (this.#image === undefined) {
      if (data !== 'inconsistent') return undefined;
      return { kept: false, because: `no earlier image is kept: ${this.#because}` };
    }
    const { keptAt, contentOf, files } = this.#image;
    const because =
      `an earlier image is kept, as of ${contentOf}; it takes room for what is resynchronised, ` +
      'and goes when the pair is in sync';
    return { kept: true, because, keptAt, contentOf, files };
  }

  /** Before a copy with this flag becomes inconsistent; `then` when there is an image, or there will be none. */
  keepBefore(data: DataFlag, lineage: ImageLineage, neededBytes: number, then: () => void): void {
    // An inconsistent copy is worth less than the image of it from before.
    if (data === 'fresh' || data === 'inconsistent') return then();
    if (this.#port === undefined) {
      this.#because = 'this host cannot';
      return then();
    }
    this.#turn += 1;
    const turn = this.#turn;
    this.#image = undefined;
    this.#port.keep(
      lineage,
      neededBytes,
      () => this.#turn === turn,
      (result) => {
        if (this.#turn !== turn) return;
        if (typeof result === 'string') this.#because = result;
        else this.#image = result;
        const [action, because] =
          typeof result === 'string'
            ? ['go on without', result]
            : ['keep an image', `as of ${result.contentOf}`];
        this.#decisions.add('keep-image', action, because);
        then();
      },
    );
  }

  /** The copy is durably up to date: its earlier image is of no use. */
  discard(): void {
    this.#turn += 1;
    this.#image = undefined;
    this.#because = nothingSaid;
    this.#port?.discard(() => {});
  }

  restore(done: (problem: string | undefined) => void): void {
    if (this.#port === undefined || this.#image === undefined) return done('there is no image');
    this.#port.restore(done);
  }
}
