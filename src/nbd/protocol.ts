/**
 * The NBD protocol: magic numbers, values and layouts, as `doc/proto.md` of the NetworkBlockDevice project has them. Names
 * keep its spelling; section names in quotes are of that document. All integers are big-endian.
 *
 * Only what this program speaks is here. Layouts are functions that fill or build a header, so that no other file
 * knows an offset. 64-bit numbers are plain numbers: values above 2^53 lose precision, which only matters for cookies,
 * and cookies are kept as two 32-bit halves.
 */

// "Newstyle negotiation", "Fixed newstyle negotiation"
export const NBDMAGIC = [0x4e42444d, 0x41474943] as const;
export const IHAVEOPT = [0x49484156, 0x454f5054] as const;
export const OPTION_REPLY_MAGIC = [0x0003e889, 0x045565a9] as const;
// "Request message", "Simple reply message", "Structured reply chunk message"
export const NBD_REQUEST_MAGIC = 0x25609513;
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef;

// "Handshake flags", "Client flags"
export const NBD_FLAG_FIXED_NEWSTYLE = 1 << 0;
export const NBD_FLAG_NO_ZEROES = 1 << 1;
export const NBD_FLAG_C_FIXED_NEWSTYLE = 1 << 0;
export const NBD_FLAG_C_NO_ZEROES = 1 << 1;

// "Transmission flags"
export const NBD_FLAG_HAS_FLAGS = 1 << 0;
export const NBD_FLAG_READ_ONLY = 1 << 1;
export const NBD_FLAG_SEND_FLUSH = 1 << 2;
export const NBD_FLAG_SEND_FUA = 1 << 3;
export const NBD_FLAG_SEND_TRIM = 1 << 5;
export const NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6;
export const NBD_FLAG_SEND_DF = 1 << 7;
export const NBD_FLAG_CAN_MULTI_CONN = 1 << 8;
export const NBD_FLAG_SEND_FAST_ZERO = 1 << 11;

// "Option types"
export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_ABORT = 2;
export const NBD_OPT_LIST = 3;
export const NBD_OPT_INFO = 6;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;
export const NBD_OPT_LIST_META_CONTEXT = 9;
export const NBD_OPT_SET_META_CONTEXT = 10;

// "Option reply types"
export const NBD_REP_ACK = 1;
export const NBD_REP_SERVER = 2;
export const NBD_REP_INFO = 3;
export const NBD_REP_META_CONTEXT = 4;
/** Set in every error reply type. */
export const NBD_REP_FLAG_ERROR = 2 ** 31;
export const NBD_REP_ERR_UNSUP = NBD_REP_FLAG_ERROR + 1;
export const NBD_REP_ERR_INVALID = NBD_REP_FLAG_ERROR + 3;
export const NBD_REP_ERR_UNKNOWN = NBD_REP_FLAG_ERROR + 6;
export const NBD_REP_ERR_SHUTDOWN = NBD_REP_FLAG_ERROR + 7;
export const NBD_REP_ERR_TOO_BIG = NBD_REP_FLAG_ERROR + 9;
export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_NAME = 1;
export const NBD_INFO_BLOCK_SIZE = 3;

// "Request types"
export const NBD_CMD_READ = 0;
export const NBD_CMD_WRITE = 1;
export const NBD_CMD_DISC = 2;
export const NBD_CMD_FLUSH = 3;
export const NBD_CMD_TRIM = 4;
export const NBD_CMD_WRITE_ZEROES = 6;
export const NBD_CMD_BLOCK_STATUS = 7;

// "Command flags"
export const NBD_CMD_FLAG_FUA = 1 << 0;
export const NBD_CMD_FLAG_NO_HOLE = 1 << 1;
export const NBD_CMD_FLAG_DF = 1 << 2;
export const NBD_CMD_FLAG_REQ_ONE = 1 << 3;
export const NBD_CMD_FLAG_FAST_ZERO = 1 << 4;

// "Structured reply flags", "Structured reply types"
export const NBD_REPLY_FLAG_DONE = 1 << 0;
export const NBD_REPLY_TYPE_NONE = 0;
export const NBD_REPLY_TYPE_OFFSET_DATA = 1;
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
export const NBD_REPLY_TYPE_BLOCK_STATUS = 5;
export const NBD_REPLY_TYPE_FLAG_ERROR = 1 << 15;
export const NBD_REPLY_TYPE_ERROR = NBD_REPLY_TYPE_FLAG_ERROR + 1;

// "The `base:` metadata namespace"
export const baseAllocation = 'base:allocation';
export const NBD_STATE_HOLE = 1 << 0;
export const NBD_STATE_ZERO = 1 << 1;

// "Error values"
export const NBD_EPERM = 1;
export const NBD_EIO = 5;
export const NBD_EINVAL = 22;
export const NBD_ENOSPC = 28;
export const NBD_EOVERFLOW = 75;
export const NBD_ENOTSUP = 95;
export const NBD_ESHUTDOWN = 108;

/** "Conventions": no string is longer. */
export const stringBytesMax = 4096;
/**
 * "Size constraints". Any byte range is served (the device has byte granularity); 4 KiB is a page of the page cache under
 * the disk file, below which a write costs a read; 32 MiB is what clients may assume without asking.
 */
export const minimumBlockBytes = 1;
export const preferredBlockBytes = 4096;
export const payloadBytesMax = 32 * 1024 * 1024;

export const greetingBytes = 18;
export const clientFlagsBytes = 4;
export const optionHeaderBytes = 16;
export const optionReplyHeaderBytes = 20;
/** Answer to `NBD_OPT_EXPORT_NAME`, and the zeroes that follow it unless the client declined them. */
export const exportNameReplyBytes = 10;
export const exportNameZeroesBytes = 124;
export const requestHeaderBytes = 28;
export const simpleReplyBytes = 16;
export const structuredReplyHeaderBytes = 20;
/** A structured header and the offset before the data. */
export const dataReplyHeaderBytes = 28;

const twoTo32 = 2 ** 32;

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Unsigned 64 bits as a number; above 2^53 the low bits are lost, which every caller answers with "out of range". */
export function readUint64(view: DataView, at: number): number {
  return view.getUint32(at) * twoTo32 + view.getUint32(at + 4);
}

/** `value` is an integer in 0..2^53-1. */
export function writeUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / twoTo32));
  view.setUint32(at + 4, value >>> 0);
}

/** Whether the 64 bits at `at` are the two halves of `magic`. */
export function hasMagic64(view: DataView, at: number, magic: readonly [number, number]): boolean {
  return view.getUint32(at) === magic[0] && view.getUint32(at + 4) === magic[1];
}

export function writeMagic64(view: DataView, at: number, magic: readonly [number, number]): void {
  view.setUint32(at, magic[0]);
  view.setUint32(at + 4, magic[1]);
}

/** "Newstyle negotiation": what the server says first. */
export function encodeGreeting(): Uint8Array {
  const bytes = new Uint8Array(greetingBytes);
  const view = viewOf(bytes);
  writeMagic64(view, 0, NBDMAGIC);
  writeMagic64(view, 8, IHAVEOPT);
  view.setUint16(16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
  return bytes;
}

/** An option of the client with its data. */
export function encodeOption(option: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(optionHeaderBytes + data.length);
  const view = viewOf(bytes);
  writeMagic64(view, 0, IHAVEOPT);
  view.setUint32(8, option);
  view.setUint32(12, data.length);
  bytes.set(data, optionHeaderBytes);
  return bytes;
}

/** "Fixed newstyle negotiation": one reply to an option. */
export function encodeOptionReply(option: number, replyType: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(optionReplyHeaderBytes + data.length);
  const view = viewOf(bytes);
  writeMagic64(view, 0, OPTION_REPLY_MAGIC);
  view.setUint32(8, option);
  view.setUint32(12, replyType);
  view.setUint32(16, data.length);
  bytes.set(data, optionReplyHeaderBytes);
  return bytes;
}

/** "Simple reply message", into the `simpleReplyBytes` of `view`. */
export function encodeSimpleReply(
  view: DataView,
  error: number,
  cookieHigh: number,
  cookieLow: number,
): void {
  view.setUint32(0, NBD_SIMPLE_REPLY_MAGIC);
  view.setUint32(4, error);
  view.setUint32(8, cookieHigh);
  view.setUint32(12, cookieLow);
}

/** "Structured reply chunk message" that ends its reply, into the first `structuredReplyHeaderBytes` of `view`. */
export function encodeFinalChunk(
  view: DataView,
  replyType: number,
  cookieHigh: number,
  cookieLow: number,
  lengthBytes: number,
): void {
  view.setUint32(0, NBD_STRUCTURED_REPLY_MAGIC);
  view.setUint16(4, NBD_REPLY_FLAG_DONE);
  view.setUint16(6, replyType);
  view.setUint32(8, cookieHigh);
  view.setUint32(12, cookieLow);
  view.setUint32(16, lengthBytes);
}

export interface RequestHeader {
  readonly flags: number;
  readonly command: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** "Request message" without its payload. */
export function encodeRequest(request: RequestHeader): Uint8Array {
  const bytes = new Uint8Array(requestHeaderBytes);
  const view = viewOf(bytes);
  view.setUint32(0, NBD_REQUEST_MAGIC);
  view.setUint16(4, request.flags);
  view.setUint16(6, request.command);
  view.setUint32(8, request.cookieHigh);
  view.setUint32(12, request.cookieLow);
  writeUint64(view, 16, request.offsetBytes);
  view.setUint32(24, request.lengthBytes);
  return bytes;
}

const errorNames: ReadonlyMap<number, string> = new Map([
  [NBD_EPERM, 'NBD_EPERM'],
  [NBD_EIO, 'NBD_EIO'],
  [12, 'NBD_ENOMEM'],
  [NBD_EINVAL, 'NBD_EINVAL'],
  [NBD_ENOSPC, 'NBD_ENOSPC'],
  [NBD_EOVERFLOW, 'NBD_EOVERFLOW'],
  [NBD_ENOTSUP, 'NBD_ENOTSUP'],
  [NBD_ESHUTDOWN, 'NBD_ESHUTDOWN'],
]);

/** For messages: `NBD_EIO (5)`. */
export function describeError(error: number): string {
  return `${errorNames.get(error) ?? 'unknown error'} (${error})`;
}
