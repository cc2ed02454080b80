import { expect } from 'chai';
import { firstOf } from '../../src/platform/staggered.ts';

/** Longer than any test. */
const neverMs = 60_000;

/** An attempt that the test ends, and that ends with its signal. */
class Attempt {
  signal: AbortSignal | undefined;
  succeed = (): void => {};
  fail = (): void => {};
  readonly #name: string;
  #begun = (): void => {};
  readonly begun = new Promise<void>((resolve) => {
    this.#begun = resolve;
  });

  constructor(name: string) {
    this.#name = name;
  }

  readonly make = (signal: AbortSignal): Promise<string> => {
    this.signal = signal;
    return new Promise((resolve, reject) => {
      this.succeed = () => resolve(this.#name);
      this.fail = () => reject(new Error(this.#name));
      signal.addEventListener('abort', () => reject(signal.reason));
      this.#begun();
    });
  };
}

describe('alternatives one after the other', () => {
  let one: Attempt;
  let two: Attempt;
  let three: Attempt;
  let ending: AbortController;
  const start = (staggerMs: number) =>
    firstOf(
      [one, two, three].map(({ make }) => make),
      staggerMs,
      ending.signal,
    );
  beforeEach(() => {
    [one, two, three] = [new Attempt('one'), new Attempt('two'), new Attempt('three')];
    ending = new AbortController();
  });

  it('the first succeeds: no other one begins', async () => {
    const result = start(neverMs);
    one.succeed();
    expect(await result).to.equal('one');
    expect(two.signal).to.equal(undefined);
  });

  it('the first fails: the second begins at once', async () => {
    const result = start(neverMs);
    one.fail();
    await two.begun;
    two.succeed();
    expect(await result).to.equal('two');
  });

  it('the first is slow: the second begins beside it, and whoever is given up is told', async () => {
    const result = start(1);
    await two.begun;
    one.succeed();
    expect(await result).to.equal('one');
    expect(one.signal?.aborted).to.equal(false);
    expect(two.signal?.aborted).to.equal(true);
  });

  it('the first succeeds while the second is slow: nobody waits for the third', async () => {
    const result = start(5);
    await two.begun;
    one.succeed();
    expect(await result).to.equal('one');
    expect(three.signal).to.equal(undefined);
  });

  it('all fail: every failure is told, in their order', async () => {
    const result = start(1);
    for (const attempt of [one, two, three]) await attempt.begun;
    for (const attempt of [three, one, two]) attempt.fail();
    const error = await result.catch((reason: unknown) => reason);
    const errors = error instanceof AggregateError ? error.errors : [];
    expect(errors.map(({ message }) => message)).to.deep.equal(['one', 'two', 'three']);
  });

  it('it is ended from outside: all are ended, and none begins any more', async () => {
    const result = start(neverMs);
    ending.abort(new Error('too late'));
    const error = await result.catch((reason: unknown) => reason);
    expect(error instanceof AggregateError && error.errors).to.have.length(1);
    expect(two.signal).to.equal(undefined);
    const again = await start(1).catch((reason: unknown) => String(reason));
    expect(again).to.equal('Error: too late');
  });
});
