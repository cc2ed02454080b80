/**
 * Requests to the peer over one link connection, and their answers. A channel lives exactly as long as its connection:
 * after `close` nothing is answered any more, and whoever waits decides for itself what an unanswered request means.
 */
import { encodeControl, type ControlMessage } from '../link/control-messages.ts';
import { FrameFlag, FrameType, HeaderWriter, type FrameHeader } from '../link/frames.ts';
import type { LinkConnection } from '../link/transport.ts';

export interface AnswerSink {
  /** The peer's answer. `failed`: the peer could not do it (its disk); it leaves the pair by itself then. */
  answered(failed: boolean, payload: readonly Uint8Array[]): void;
}

const nothing: readonly Uint8Array[] = [];

export class PeerChannel {
  readonly connection: LinkConnection;
  readonly #headers = new HeaderWriter();
  readonly #waiting = new Map<number, AnswerSink>();
  #sequence = 0;
  #closed = false;

  constructor(connection: LinkConnection) {
    this.connection = connection;
  }

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
    this.#waiting.clear();
  }

  /** Sends a request; `sink` is called when its answer arrives, never after `close`. */
  request(
    type: FrameType,
    flags: number,
    volume: number,
    offsetBytes: number,
    lengthBytes: number,
    payload: readonly Uint8Array[],
    payloadBytes: number,
    sink: AnswerSink,
  ): void {
    if (this.#closed) return;
    this.#sequence += 1;
    this.#waiting.set(this.#sequence, sink);
    this.connection.send(
      this.#headers.encode(type, flags, volume, payloadBytes, this.#sequence, offsetBytes, lengthBytes),
      payload,
    );
  }

  /** Answers a request of the peer. */
  answer(header: FrameHeader, failed: boolean): void {
    if (this.#closed) return;
    const flags = failed ? FrameFlag.failed : 0;
    this.connection.send(
      this.#headers.encode(FrameType.done, flags, header.volume, 0, header.sequence, 0, 0),
      nothing,
    );
  }

  answerWith(type: FrameType, header: FrameHeader, payload: Uint8Array): void {
    if (this.#closed) return;
    const encoded = this.#headers.encode(
      type,
      0,
      header.volume,
      payload.length,
      header.sequence,
      header.offsetBytes,
      0,
    );
    this.connection.send(encoded, [payload]);
  }

  /** A frame that nobody answers. */
  notify(
    type: FrameType,
    volume: number,
    offsetBytes: number,
    lengthBytes: number,
    payload?: Uint8Array,
  ): void {
    if (this.#closed) return;
    const size = payload?.length ?? 0;
    this.connection.send(
      this.#headers.encode(type, 0, volume, size, 0, offsetBytes, lengthBytes),
      payload === undefined ? nothing : [payload],
    );
  }

  /** A sign of life: how long ago the peer was heard, a stamp for it to give back, and its own last stamp. */
  heartbeat(heardAgeMs: number, stamp: number, returnedStamp: number): void {
    if (this.#closed) return;
    this.connection.send(
      this.#headers.encode(FrameType.heartbeat, 0, 0, 0, returnedStamp, stamp, heardAgeMs),
      nothing,
    );
  }

  control(message: ControlMessage): void {
    this.notify(FrameType.control, 0, 0, 0, encodeControl(message));
  }

  /** An answer frame arrived; false when nobody asked for it, which breaks the protocol. */
  answerArrived(header: FrameHeader, payload: readonly Uint8Array[]): boolean {
    const sink = this.#waiting.get(header.sequence);
    if (sink === undefined) return false;
    this.#waiting.delete(header.sequence);
    sink.answered((header.flags & FrameFlag.failed) !== 0, payload);
    return true;
  }
}
