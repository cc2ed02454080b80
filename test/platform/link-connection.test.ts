/** How bytes are handed to the stream of a connection, over a stream that keeps what it is given. Real sockets: link-transport.test.ts. */
import { expect } from 'chai';
import { Duplex } from 'node:stream';
import { encryptedBatchBytesMax, StreamConnection } from '../../src/platform/link-connection.ts';
import { RecordingHandler } from './loopback-pair.ts';

const chunkBytes = 64 * 1024;

/** Takes one write at a time and says that it is done when the test says so. */
class SlowStream extends Duplex {
  readonly writes: Uint8Array[][] = [];
  #done: ((error?: Error) => void) | undefined;

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    this.#take([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error) => void): void {
    this.#take(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  async finish(): Promise<void> {
    this.#done?.();
    await turn();
  }

  #take(buffers: Uint8Array[], done: (error?: Error) => void): void {
    this.writes.push(buffers);
    this.#done = done;
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function connect(isEncrypted: boolean) {
  const stream = new SlowStream();
  const handler = new RecordingHandler();
  const connection = new StreamConnection('beta', stream, handler, () => {}, isEncrypted);
  const lengths = (): number[] =>
    stream.writes.map((buffers) => buffers.reduce((sum, { length }) => sum + length, 0));
  return { stream, handler, connection, lengths };
}

const header = new Uint8Array(32);
const megabyte = Array.from({ length: 16 }, (_, index) => new Uint8Array(chunkBytes).fill(index));

describe('connection of the link', () => {
  it('encrypts a long payload in bounded batches, one after the other and in order', async () => {
    const { stream, connection, lengths } = connect(true);
    connection.send(header, megabyte);
    await turn();
    expect(stream.writes).to.have.lengthOf(1);
    for (let batch = 0; batch < 8; batch += 1) await stream.finish();
    for (const length of lengths()) expect(length).to.be.at.most(encryptedBatchBytesMax);
    expect(stream.writes.flat()).to.deep.equal([header, ...megabyte]);
    expect(connection.queuedBytes()).to.equal(0);
  });

  it('a single chunk that is longer than a batch leaves alone', async () => {
    const { stream, connection } = connect(true);
    const long = new Uint8Array(2 * encryptedBatchBytesMax);
    connection.send(header, [long]);
    connection.send(header, []);
    await turn();
    await stream.finish();
    await stream.finish();
    expect(stream.writes).to.deep.equal([[header], [long], [header]]);
  });

  it('what is sent while a batch is written leaves together in the next one', async () => {
    const { stream, connection, lengths } = connect(true);
    connection.send(header, []);
    await turn();
    for (let message = 0; message < 3; message += 1) connection.send(header, [new Uint8Array(4096)]);
    expect(connection.queuedBytes()).to.equal(32 + 3 * (32 + 4096));
    await turn();
    expect(lengths()).to.deep.equal([32]);
    await stream.finish();
    expect(lengths()).to.deep.equal([32, 3 * (32 + 4096)]);
  });

  it('in the clear everything of a callback leaves in one write, however long it is', async () => {
    const { connection, lengths } = connect(false);
    connection.send(header, megabyte);
    connection.send(header, megabyte);
    await turn();
    expect(lengths()).to.deep.equal([2 * (32 + 16 * chunkBytes)]);
  });

  it('a cut between two batches holds the rest until it heals', async () => {
    const { stream, connection } = connect(true);
    connection.send(header, megabyte);
    await turn();
    connection.setCut(true);
    await stream.finish();
    expect(stream.writes).to.have.lengthOf(1);
    connection.setCut(false);
    for (let batch = 0; batch < 8; batch += 1) await stream.finish();
    expect(stream.writes.flat()).to.deep.equal([header, ...megabyte]);
  });

  it('the stream breaks in the middle: closed once, and nothing more is written', async () => {
    const { stream, handler, connection } = connect(true);
    connection.send(header, megabyte);
    await turn();
    stream.destroy(new Error('cable pulled'));
    await turn();
    connection.send(header, megabyte);
    await turn();
    expect(stream.writes).to.have.lengthOf(1);
    expect(handler.events).to.deep.equal(['closed the connection failed: cable pulled']);
  });
});
