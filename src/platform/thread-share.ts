/**
 * How many threads of Node's pool the calls to one kind of disk may hold at once. A call to a disk that hangs keeps its thread
 * until the disk answers; with shares, data and metadata of a module together leave threads for everything else
 * that uses the pool: looking at files, name resolution, the operator's wish. Sockets, heartbeats and timers need none.
 */

/** Threads of a module process: its supervisor sets UV_THREADPOOL_SIZE to this. */
export const poolThreads = 16;
/** Of all volumes of a module together. */
export const volumeThreads = 8;
export const metadataThreads = 2;

export class ThreadShare {
  readonly #threadsMax: number;
  readonly #waiting: (() => void)[] = [];
  #busy = 0;

  constructor(threadsMax: number) {
    this.#threadsMax = threadsMax;
  }

  /** Runs `call`, which gives one task to the pool, now or when a thread of the share is free; in the order of the calls. */
  enter(call: () => void): void {
    if (this.#busy >= this.#threadsMax) return void this.#waiting.push(call);
    this.#busy += 1;
    call();
  }

  /** The task has ended: the first thing that its callback does. */
  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#busy -= 1;
    else next();
  }
}
