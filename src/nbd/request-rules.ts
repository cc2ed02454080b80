/**
 * Which requests are refused before they reach the device, with which error: a pure function of the header and of what
 * was negotiated. Sections: "Command flags", "Request types", "Error values", "Size constraints".
 */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EOVERFLOW,
  NBD_EPERM,
  payloadBytesMax,
} from './protocol.ts';
import type { Negotiated } from './server-handshake.ts';

export interface Refusal {
  readonly error: number;
  /** For a person, sent where structured replies allow it. */
  readonly message: string;
}

const unknownCommand: Refusal = { error: NBD_EINVAL, message: 'the command is not known' };
const unknownFlags: Refusal = { error: NBD_EINVAL, message: 'a flag is not one of this command' };
const notNegotiated: Refusal = { error: NBD_EINVAL, message: 'no metadata context was negotiated' };
const flushRange: Refusal = { error: NBD_EINVAL, message: 'offset and length of a flush must be zero' };
const emptyStatus: Refusal = { error: NBD_EINVAL, message: 'the status of no bytes was asked' };
const beyondEnd: Refusal = { error: NBD_EINVAL, message: 'the range ends beyond the export' };
const beyondEndWrite: Refusal = { error: NBD_ENOSPC, message: 'the range ends beyond the export' };
const writeTooLong: Refusal = { error: NBD_EINVAL, message: `more than ${payloadBytesMax} bytes` };
const readTooLong: Refusal = { error: NBD_EOVERFLOW, message: `more than ${payloadBytesMax} bytes` };
const readTooLongSimple: Refusal = { error: NBD_EINVAL, message: readTooLong.message };
const readOnlyExport: Refusal = { error: NBD_EPERM, message: 'the export is read-only' };

/**
 * Why the request is refused, or nothing. `NBD_CMD_FLAG_FUA` is allowed with every command, as clients are known to set it.
 * After this, `0 <= offsetBytes` and `offsetBytes + lengthBytes <= sizeBytes` hold, and the length may still be zero.
 */
export function validateRequest(
  negotiated: Negotiated,
  command: number,
  flags: number,
  offsetBytes: number,
  lengthBytes: number,
): Refusal | undefined {
  const { served } = negotiated;
  const beyond = offsetBytes + lengthBytes > served.device.sizeBytes;
  switch (command) {
    case NBD_CMD_READ: {
      const known = NBD_CMD_FLAG_FUA | (negotiated.structuredReplies ? NBD_CMD_FLAG_DF : 0);
      if ((flags & ~known) !== 0) return unknownFlags;
      if (lengthBytes > payloadBytesMax)
        return negotiated.structuredReplies ? readTooLong : readTooLongSimple;
      return beyond ? beyondEnd : undefined;
    }
    case NBD_CMD_WRITE:
      if ((flags & ~NBD_CMD_FLAG_FUA) !== 0) return unknownFlags;
      if (lengthBytes > payloadBytesMax) return writeTooLong;
      if (served.readOnly) return readOnlyExport;
      return beyond ? beyondEndWrite : undefined;
    case NBD_CMD_FLUSH:
      if ((flags & ~NBD_CMD_FLAG_FUA) !== 0) return unknownFlags;
      return offsetBytes === 0 && lengthBytes === 0 ? undefined : flushRange;
    case NBD_CMD_TRIM:
      if ((flags & ~NBD_CMD_FLAG_FUA) !== 0) return unknownFlags;
      if (served.readOnly) return readOnlyExport;
      return beyond ? beyondEnd : undefined;
    case NBD_CMD_WRITE_ZEROES:
      if ((flags & ~(NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO)) !== 0)
        return unknownFlags;
      if (served.readOnly) return readOnlyExport;
      return beyond ? beyondEndWrite : undefined;
    case NBD_CMD_BLOCK_STATUS:
      if ((flags & ~(NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE)) !== 0) return unknownFlags;
      if (!negotiated.allocationContext) return notNegotiated;
      if (lengthBytes === 0) return emptyStatus;
      return beyond ? beyondEnd : undefined;
    default:
      return unknownCommand;
  }
}
