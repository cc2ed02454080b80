/**
 * The primary's end of a link whose other end is the test: requests are listed as they are sent, and answered when the test
 * says so. It cuts no corners of the wire: headers are parsed by the product's own parser.
 */
import { PeerChannel } from '../../src/engine/peer-channel.ts';
import { type FrameHeader, FrameFlag, FrameParser, FrameType, joinChunks } from '../../src/link/frames.ts';
import type { LinkConnection } from '../../src/link/transport.ts';

export interface SentRequest {
  readonly header: FrameHeader;
  readonly payload: Uint8Array;
  answered: boolean;
}

export class ScriptedPeer implements LinkConnection {
  readonly peer = 'B';
  readonly channel: PeerChannel = new PeerChannel(this);
  readonly requests: SentRequest[] = [];
  readonly #parser = new FrameParser({
    frame: (header, payload) =>
      this.requests.push({ header, payload: joinChunks(payload).slice(), answered: false }),
  });

  send(header: Uint8Array, payload: readonly Uint8Array[]): void {
    this.#parser.received(header);
    for (const chunk of payload) this.#parser.received(chunk);
  }
  queuedBytes(): number {
    return 0;
  }
  destroy(): void {}

  /** Requests that were not answered yet, of one type if given. */
  open(type?: FrameType): SentRequest[] {
    return this.requests.filter(
      (request) => !request.answered && (type === undefined || request.header.type === type),
    );
  }

  answer(request: SentRequest | undefined, failed = false): void {
    if (request === undefined || request.answered) throw new Error('no such request is open');
    request.answered = true;
    const { sequence, volume } = request.header;
    const flags = failed ? FrameFlag.failed : 0;
    const header = {
      type: FrameType.done,
      flags,
      volume,
      payloadBytes: 0,
      sequence,
      offsetBytes: 0,
      lengthBytes: 0,
    };
    if (!this.channel.answerArrived(header, [])) throw new Error('nobody waits for this answer');
  }

  /** Answers a question for checksums. */
  answerChecksums(request: SentRequest | undefined, digests: Uint8Array): void {
    if (request === undefined || request.answered) throw new Error('no such request is open');
    request.answered = true;
    const header = { ...request.header, type: FrameType.checksumReply, payloadBytes: digests.length };
    if (!this.channel.answerArrived(header, [digests])) throw new Error('nobody waits for this answer');
  }

  /** Answers everything, also what is sent because of that. */
  answerAll(): void {
    for (let request = this.open()[0]; request !== undefined; request = this.open()[0]) this.answer(request);
  }
}
