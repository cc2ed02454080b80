/**
 * JSON lines over a stream of bytes: one JSON value a line, `\n` at its end, at most a given number of bytes. Bytes are
 * foreign: a line that is too long, not UTF-8 or not JSON is reported and nothing after it is read.
 */

export type LineProblem = 'line-too-long' | 'not-json';

const newline = 0x0a;

/** Cuts bytes into lines and parses each. `fed` returns the problem that ended the reading, if any. */
export class JsonLineReader {
  readonly #lineBytesMax: number;
  readonly #received: (value: unknown) => void;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #problem: LineProblem | undefined;

  constructor(lineBytesMax: number, received: (value: unknown) => void) {
    this.#lineBytesMax = lineBytesMax;
    this.#received = received;
  }

  feed(bytes: Uint8Array): LineProblem | undefined {
    let rest = bytes;
    while (this.#problem === undefined) {
      const end = rest.indexOf(newline);
      const part = end < 0 ? rest : rest.subarray(0, end);
      this.#pendingBytes += part.length;
      if (this.#pendingBytes > this.#lineBytesMax) {
        this.#problem = 'line-too-long';
        this.#pending = [];
        break;
      }
      if (part.length > 0) this.#pending.push(part);
      if (end < 0) break;
      rest = rest.subarray(end + 1);
      this.#finishLine();
    }
    return this.#problem;
  }

  #finishLine(): void {
    const [first] = this.#pending;
    const line = this.#pending.length === 1 && first !== undefined ? first : Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    let value: unknown;
    try {
      value = JSON.parse(this.#decoder.decode(line));
    } catch {
      this.#problem = 'not-json';
      return;
    }
    this.#received(value);
  }
}
