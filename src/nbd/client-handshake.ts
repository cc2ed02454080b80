/**
 * The client's side of the handshake phase: structured replies, `base:allocation`, then `NBD_OPT_GO`. Servers without the
 * first two are fine; one without `NBD_OPT_GO` is refused, as it could not say why it refuses an export.
 */
import { WorldError } from '../base/errors.ts';
import type { ByteQueue } from './byte-queue.ts';
import { decodeText, encodeExportChoice, encodeMetaContextQuery } from './option-data.ts';
import {
  baseAllocation,
  encodeOption,
  greetingBytes,
  hasMagic64,
  IHAVEOPT,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_FLAG_ERROR,
  NBD_REP_INFO,
  NBDMAGIC,
  OPTION_REPLY_MAGIC,
  optionReplyHeaderBytes,
  payloadBytesMax,
  preferredBlockBytes,
  readUint64,
  viewOf,
} from './protocol.ts';

/** Longest option reply that is accepted. */
const optionReplyBytesMax = 64 * 1024;
/** Replies that a server may send during the negotiation. */
const optionRepliesMax = 256;

export interface NegotiatedExport {
  readonly sizeBytes: number;
  /** `NBD_FLAG_*` of "Transmission flags". */
  readonly transmissionFlags: number;
  readonly structuredReplies: boolean;
  /** `blockStatus` may be used. */
  readonly allocationContext: boolean;
  readonly minimumBlockBytes: number;
  readonly preferredBlockBytes: number;
  readonly payloadBytesMax: number;
}

export class ClientHandshake {
  readonly #exportName: string;
  readonly #address: string;
  readonly #send: (bytes: Uint8Array) => void;
  #greeted = false;
  #option = 0;
  #reply: { readonly replyType: number; readonly dataBytes: number } | undefined;
  #repliesCount = 0;
  #structuredReplies = false;
  #allocationContext = false;
  #exported: { readonly sizeBytes: number; readonly transmissionFlags: number } | undefined;
  #sizes = { minimumBlockBytes: 1, preferredBlockBytes, payloadBytesMax };

  constructor(exportName: string, address: string, send: (bytes: Uint8Array) => void) {
    this.#exportName = exportName;
    this.#address = address;
    this.#send = send;
  }

  /** Consumes what is here; the result or the failure once there is one. */
  proceed(queue: ByteQueue): NegotiatedExport | WorldError | undefined {
    if (!this.#greeted) {
      if (!queue.locate(greetingBytes)) return undefined;
      const problem = this.#greet(queue);
      if (problem !== undefined) return problem;
    }
    while (true) {
      if (this.#reply === undefined) {
        if (!queue.locate(optionReplyHeaderBytes)) return undefined;
        const problem = this.#readReplyHeader(queue);
        if (problem !== undefined) return problem;
      }
      const reply = this.#reply;
      if (reply === undefined || queue.lengthBytes < reply.dataBytes) return undefined;
      this.#reply = undefined;
      const outcome = this.#take(reply.replyType, queue.take(reply.dataBytes));
      if (outcome !== undefined) return outcome;
    }
  }

  #greet(queue: ByteQueue): WorldError | undefined {
    const { view, at } = queue;
    if (!hasMagic64(view, at, NBDMAGIC) || !hasMagic64(view, at + 8, IHAVEOPT)) {
      return this.#violation('something else than an NBD server with newstyle negotiation');
    }
    const flags = view.getUint16(at + 16);
    if ((flags & NBD_FLAG_FIXED_NEWSTYLE) === 0) return this.#violation('no fixed newstyle negotiation');
    this.#greeted = true;
    const answer = new Uint8Array(4);
    const noZeroes = (flags & NBD_FLAG_NO_ZEROES) === 0 ? 0 : NBD_FLAG_C_NO_ZEROES;
    viewOf(answer).setUint32(0, NBD_FLAG_C_FIXED_NEWSTYLE | noZeroes);
    this.#send(answer);
    this.#ask(NBD_OPT_STRUCTURED_REPLY, new Uint8Array(0));
    return undefined;
  }

  #readReplyHeader(queue: ByteQueue): WorldError | undefined {
    const { view, at } = queue;
    if (!hasMagic64(view, at, OPTION_REPLY_MAGIC)) return this.#violation('a reply without its magic number');
    const option = view.getUint32(at + 8);
    const dataBytes = view.getUint32(at + 16);
    this.#repliesCount += 1;
    if (option !== this.#option) return this.#violation(`a reply to option ${option}`);
    if (dataBytes > optionReplyBytesMax) return this.#violation(`a reply of ${dataBytes} bytes`);
    if (this.#repliesCount > optionRepliesMax)
      return this.#violation(`more than ${optionRepliesMax} replies`);
    this.#reply = { replyType: view.getUint32(at + 12), dataBytes };
    return undefined;
  }

  #take(replyType: number, data: Uint8Array): NegotiatedExport | WorldError | undefined {
    if (this.#option === NBD_OPT_GO) return this.#takeGo(replyType, data);
    const final = replyType === NBD_REP_ACK || replyType >= NBD_REP_FLAG_ERROR;
    if (this.#option === NBD_OPT_STRUCTURED_REPLY) {
      if (!final) return this.#violation(`a reply of type ${replyType}`);
      this.#structuredReplies = replyType === NBD_REP_ACK;
      if (this.#structuredReplies) {
        this.#ask(NBD_OPT_SET_META_CONTEXT, encodeMetaContextQuery(this.#exportName, [baseAllocation]));
        return undefined;
      }
    } else if (!final) {
      this.#allocationContext = decodeText(data.subarray(4)) === baseAllocation;
      return undefined;
    } else if (replyType !== NBD_REP_ACK) {
      this.#allocationContext = false;
    }
    this.#ask(NBD_OPT_GO, encodeExportChoice(this.#exportName, [NBD_INFO_BLOCK_SIZE]));
    return undefined;
  }

  #takeGo(replyType: number, data: Uint8Array): NegotiatedExport | WorldError | undefined {
    if (replyType >= NBD_REP_FLAG_ERROR) {
      const said = decodeText(data);
      const wanted = `export "${this.#exportName}" at ${this.#address}`;
      const found = said === undefined || said === '' ? `error ${replyType - NBD_REP_FLAG_ERROR}` : said;
      const next = 'check the name and that this node serves the export now';
      return new WorldError('nbd-export-refused', { wanted, found, next });
    }
    if (replyType === NBD_REP_INFO) return this.#takeInfo(data);
    if (replyType !== NBD_REP_ACK) return this.#violation(`a reply of type ${replyType}`);
    if (this.#exported === undefined) return this.#violation('no NBD_INFO_EXPORT');
    return {
      ...this.#exported,
      ...this.#sizes,
      structuredReplies: this.#structuredReplies,
      allocationContext: this.#allocationContext,
    };
  }

  #takeInfo(data: Uint8Array): WorldError | undefined {
    if (data.length < 2) return this.#violation('an information reply without a type');
    const view = viewOf(data);
    const info = view.getUint16(0);
    if (info === NBD_INFO_EXPORT) {
      if (data.length !== 12) return this.#violation('an NBD_INFO_EXPORT of a wrong length');
      const sizeBytes = readUint64(view, 2);
      if (!Number.isSafeInteger(sizeBytes)) return this.#violation(`an export of ${sizeBytes} bytes`);
      this.#exported = { sizeBytes, transmissionFlags: view.getUint16(10) };
    } else if (info === NBD_INFO_BLOCK_SIZE) {
      if (data.length !== 14) return this.#violation('an NBD_INFO_BLOCK_SIZE of a wrong length');
      this.#sizes = {
        minimumBlockBytes: view.getUint32(2),
        preferredBlockBytes: view.getUint32(6),
        payloadBytesMax: view.getUint32(10),
      };
    }
    return undefined;
  }

  #ask(option: number, data: Uint8Array): void {
    this.#option = option;
    this.#send(encodeOption(option, data));
  }

  #violation(found: string): WorldError {
    const wanted = `an NBD negotiation with ${this.#address}`;
    return new WorldError('protocol-violation', {
      wanted,
      found,
      next: 'check what listens at this address',
    });
  }
}
