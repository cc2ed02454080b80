/**
 * The server's side of the handshake phase: fixed newstyle negotiation, option by option, until the client has chosen an
 * export or the session ends. Everything about an option is decided from its complete data.
 *
 * Invariants: every option but `NBD_OPT_EXPORT_NAME` gets exactly one final reply; at most `optionDataBytesMax` of option
 * data are ever kept; an option that changes nothing leaves the negotiated state as it was. TLS is not offered here: the
 * listener is a local socket, so `NBD_OPT_STARTTLS` is one of the options that the server does not know.
 */
import type { ByteQueue } from './byte-queue.ts';
import type { ExportTable, ServedExport } from './export-table.ts';
import {
  baseAllocation,
  clientFlagsBytes,
  encodeGreeting,
  encodeOptionReply,
  exportNameReplyBytes,
  exportNameZeroesBytes,
  hasMagic64,
  IHAVEOPT,
  minimumBlockBytes,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
  optionHeaderBytes,
  payloadBytesMax,
  preferredBlockBytes,
  viewOf,
  writeUint64,
} from './protocol.ts';
import {
  decodeText,
  encodeText,
  type MetaContextQuery,
  parseExportChoice,
  parseMetaContextQuery,
} from './option-data.ts';
import { noChunks, type SessionPort, type Step } from './session-port.ts';

/** Longest option data that is looked at; more is answered with `NBD_REP_ERR_TOO_BIG` and dropped unseen. */
export const optionDataBytesMax = 64 * 1024;
/** Longest option data that is dropped rather than taken as an attack. */
const droppedOptionBytesMax = 32 * 1024 * 1024;
/** Options a client may send before it chooses an export. */
export const optionsMax = 64;
/** The one metadata context there is. */
export const baseAllocationId = 1;

const noData = new Uint8Array(0);

/** What the client and the server agreed on. */
export interface Negotiated {
  readonly exportName: string;
  readonly served: ServedExport;
  readonly structuredReplies: boolean;
  /** `NBD_CMD_BLOCK_STATUS` may be used, with the context `base:allocation`. */
  readonly allocationContext: boolean;
}

interface OptionHeader {
  readonly option: number;
  readonly dataBytes: number;
}

export class ServerHandshake {
  /** Set when `step` returned `ended` because the client entered the transmission phase. */
  negotiated: Negotiated | undefined;
  readonly #exports: ExportTable;
  readonly #port: SessionPort;
  #clientFlags: number | undefined;
  #option: OptionHeader | undefined;
  #optionsCount = 0;
  /** Data bytes of an oversized option that are still to be dropped. */
  #dropBytes = 0;
  #structuredReplies = false;
  /** The device that `base:allocation` was selected for. */
  #allocationOf: ServedExport | undefined;

  constructor(exports: ExportTable, port: SessionPort) {
    this.#exports = exports;
    this.#port = port;
    port.send(encodeGreeting(), noChunks);
  }

  /** Consumes one message, or as much of it as is here. */
  step(queue: ByteQueue): Step {
    if (this.#clientFlags === undefined) return this.#stepClientFlags(queue);
    if (this.#option === undefined) return this.#stepOptionHeader(queue);
    if (this.#dropBytes > 0) {
      this.#dropBytes -= queue.skip(this.#dropBytes);
      if (this.#dropBytes > 0) return 'need-bytes';
      const { option, dataBytes } = this.#option;
      this.#option = undefined;
      const because = `${dataBytes} bytes of option data are more than ${optionDataBytesMax}`;
      return this.#reply(option, NBD_REP_ERR_TOO_BIG, encodeText(because));
    }
    if (queue.lengthBytes < this.#option.dataBytes) return 'need-bytes';
    const { option, dataBytes } = this.#option;
    this.#option = undefined;
    return this.#answer(option, queue.take(dataBytes));
  }

  #stepClientFlags(queue: ByteQueue): Step {
    if (!queue.locate(clientFlagsBytes)) return 'need-bytes';
    const flags = queue.view.getUint32(queue.at);
    const unknownFlags = flags & ~(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES);
    if (unknownFlags !== 0) return this.#violation(`unknown client flags 0x${(flags >>> 0).toString(16)}`);
    this.#clientFlags = flags;
    return 'again';
  }

  #stepOptionHeader(queue: ByteQueue): Step {
    if (!queue.locate(optionHeaderBytes)) return 'need-bytes';
    const { view, at } = queue;
    if (!hasMagic64(view, at, IHAVEOPT)) return this.#violation('an option without its magic number');
    const option = view.getUint32(at + 8);
    const dataBytes = view.getUint32(at + 12);
    this.#optionsCount += 1;
    if (this.#optionsCount > optionsMax) return this.#violation(`more than ${optionsMax} options`);
    const fixedNewstyle = ((this.#clientFlags ?? 0) & NBD_FLAG_C_FIXED_NEWSTYLE) !== 0;
    if (!fixedNewstyle && option !== NBD_OPT_EXPORT_NAME) {
      return this.#violation(`option ${option} of a client that does not speak fixed newstyle`);
    }
    if (dataBytes > optionDataBytesMax) {
      // NBD_OPT_EXPORT_NAME has no error reply: the session must end.
      if (option === NBD_OPT_EXPORT_NAME || dataBytes > droppedOptionBytesMax) {
        return this.#violation(`option ${option} with ${dataBytes} bytes of data`);
      }
      this.#dropBytes = dataBytes;
    }
    this.#option = { option, dataBytes };
    return 'again';
  }

  #answer(option: number, data: Uint8Array): Step {
    switch (option) {
      case NBD_OPT_EXPORT_NAME:
        return this.#answerExportName(data);
      case NBD_OPT_ABORT:
        this.#reply(option, NBD_REP_ACK, noData);
        this.#port.close('the client ended the negotiation');
        return 'ended';
      case NBD_OPT_LIST:
        return this.#answerList(data);
      case NBD_OPT_INFO:
      case NBD_OPT_GO:
        return this.#answerGo(option, data);
      case NBD_OPT_STRUCTURED_REPLY:
        if (data.length > 0) return this.#invalid(option, 'this option has no data');
        this.#structuredReplies = true;
        return this.#reply(option, NBD_REP_ACK, noData);
      case NBD_OPT_LIST_META_CONTEXT:
      case NBD_OPT_SET_META_CONTEXT:
        return this.#answerMetaContext(option, data);
      default:
        return this.#reply(option, NBD_REP_ERR_UNSUP, encodeText(`option ${option} is not supported`));
    }
  }

  #answerExportName(data: Uint8Array): Step {
    const name = decodeText(data);
    if (name === undefined) return this.#violation('an export name that is not text');
    const found = this.#exports.find(name);
    if (found?.state.kind !== 'served') {
      const why = found === undefined ? 'there is no such export' : found.state.because;
      this.#port.close(`the client asked for export "${name}": ${why}`);
      return 'ended';
    }
    const zeroes = ((this.#clientFlags ?? 0) & NBD_FLAG_C_NO_ZEROES) === 0;
    const bytes = new Uint8Array(exportNameReplyBytes + (zeroes ? exportNameZeroesBytes : 0));
    const view = viewOf(bytes);
    writeUint64(view, 0, found.state.device.sizeBytes);
    view.setUint16(8, this.#transmissionFlags(found.state));
    this.#port.send(bytes, noChunks);
    return this.#enter(found.name, found.state);
  }

  #answerList(data: Uint8Array): Step {
    if (data.length > 0) return this.#invalid(NBD_OPT_LIST, 'this option has no data');
    const entries = this.#exports.entries();
    const served = entries.filter(([, state]) => state.kind === 'served');
    const [withheld] = entries;
    if (served.length === 0 && withheld?.[1].kind === 'withheld') {
      return this.#reply(NBD_OPT_LIST, NBD_REP_ERR_SHUTDOWN, encodeText(withheld[1].because));
    }
    for (const [name] of served) {
      const text = encodeText(name);
      const entry = new Uint8Array(4 + text.length);
      viewOf(entry).setUint32(0, text.length);
      entry.set(text, 4);
      this.#reply(NBD_OPT_LIST, NBD_REP_SERVER, entry);
    }
    return this.#reply(NBD_OPT_LIST, NBD_REP_ACK, noData);
  }

  #answerGo(option: typeof NBD_OPT_GO | typeof NBD_OPT_INFO, data: Uint8Array): Step {
    const choice = parseExportChoice(data);
    if (choice === undefined) return this.#invalid(option, 'the option data is malformed');
    const found = this.#findServed(option, choice.name);
    if (found === undefined) return 'again';
    const info = new Uint8Array(12);
    const view = viewOf(info);
    view.setUint16(0, NBD_INFO_EXPORT);
    writeUint64(view, 2, found.served.device.sizeBytes);
    view.setUint16(10, this.#transmissionFlags(found.served));
    this.#reply(option, NBD_REP_INFO, info);
    if (choice.wanted.has(NBD_INFO_NAME)) {
      const text = encodeText(found.name);
      const name = new Uint8Array(2 + text.length);
      viewOf(name).setUint16(0, NBD_INFO_NAME);
      name.set(text, 2);
      this.#reply(option, NBD_REP_INFO, name);
    }
    if (choice.wanted.has(NBD_INFO_BLOCK_SIZE)) {
      const sizes = new Uint8Array(14);
      const sizesView = viewOf(sizes);
      sizesView.setUint16(0, NBD_INFO_BLOCK_SIZE);
      sizesView.setUint32(2, minimumBlockBytes);
      sizesView.setUint32(6, preferredBlockBytes);
      sizesView.setUint32(10, payloadBytesMax);
      this.#reply(option, NBD_REP_INFO, sizes);
    }
    this.#reply(option, NBD_REP_ACK, noData);
    return option === NBD_OPT_GO ? this.#enter(found.name, found.served) : 'again';
  }

  #answerMetaContext(
    option: typeof NBD_OPT_LIST_META_CONTEXT | typeof NBD_OPT_SET_META_CONTEXT,
    data: Uint8Array,
  ): Step {
    const selects = option === NBD_OPT_SET_META_CONTEXT;
    // "Issuing this command replaces all previously-set metadata contexts (including when this command fails)".
    if (selects) this.#allocationOf = undefined;
    if (!this.#structuredReplies) return this.#invalid(option, 'structured replies were not negotiated');
    const query = parseMetaContextQuery(data);
    if (query === undefined) return this.#invalid(option, 'the option data is malformed');
    const found = this.#findServed(option, query.exportName);
    if (found === undefined) return 'again';
    if (matchesAllocation(query, selects)) {
      if (selects) this.#allocationOf = found.served;
      const text = encodeText(baseAllocation);
      const context = new Uint8Array(4 + text.length);
      viewOf(context).setUint32(0, selects ? baseAllocationId : 0);
      context.set(text, 4);
      this.#reply(option, NBD_REP_META_CONTEXT, context);
    }
    return this.#reply(option, NBD_REP_ACK, noData);
  }

  /** The export, if it is served now; otherwise the option is answered with the reason. */
  #findServed(option: number, name: string): { name: string; served: ServedExport } | undefined {
    const found = this.#exports.find(name);
    if (found === undefined) {
      this.#reply(option, NBD_REP_ERR_UNKNOWN, encodeText(`there is no export "${name}"`));
      return undefined;
    }
    if (found.state.kind === 'withheld') {
      const because = `export "${found.name}" is not available now: ${found.state.because}`;
      this.#reply(option, NBD_REP_ERR_SHUTDOWN, encodeText(because));
      return undefined;
    }
    return { name: found.name, served: found.state };
  }

  /**
   * "Transmission flags". Several connections are allowed because a flush of the device covers the completed writes of
   * all of them.
   */
  #transmissionFlags(served: ServedExport): number {
    return (
      NBD_FLAG_HAS_FLAGS |
      NBD_FLAG_SEND_FLUSH |
      NBD_FLAG_SEND_FUA |
      NBD_FLAG_SEND_TRIM |
      NBD_FLAG_SEND_WRITE_ZEROES |
      NBD_FLAG_SEND_FAST_ZERO |
      NBD_FLAG_CAN_MULTI_CONN |
      (this.#structuredReplies ? NBD_FLAG_SEND_DF : 0) |
      (served.readOnly ? NBD_FLAG_READ_ONLY : 0)
    );
  }

  #enter(exportName: string, served: ServedExport): Step {
    this.negotiated = {
      exportName,
      served,
      structuredReplies: this.#structuredReplies,
      allocationContext: this.#allocationOf === served,
    };
    return 'ended';
  }

  #reply(option: number, replyType: number, data: Uint8Array): Step {
    this.#port.send(encodeOptionReply(option, replyType, data), noChunks);
    return 'again';
  }

  #invalid(option: number, because: string): Step {
    return this.#reply(option, NBD_REP_ERR_INVALID, encodeText(because));
  }

  #violation(found: string): Step {
    this.#port.destroy(`the client broke the protocol: ${found}`);
    return 'ended';
  }
}

/** "The `base:` metadata namespace": the bare namespace is a wildcard of a listing and selects nothing. */
function matchesAllocation(query: MetaContextQuery, selects: boolean): boolean {
  if (query.queries.length === 0) return !selects;
  return query.queries.some((text) => text === baseAllocation || (!selects && text === 'base:'));
}
