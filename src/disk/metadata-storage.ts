/**
 * Where the metadata bytes are kept, as a port: a real file (platform/metadata-file.ts) or a simulated disk that loses
 * power. Each call completes exactly once and may complete before it returns. Written bytes stay untouched by the
 * caller until then. A sync covers the writes that completed before it was called; a failed sync stays failed.
 */
import type { BlockError } from '../base/block-device.ts';

export interface MetadataStorage {
  readonly sizeBytes: number;
  /** The range is inside the storage. `bytes` holds exactly `lengthBytes` and belongs to the caller. */
  read(
    offsetBytes: number,
    lengthBytes: number,
    done: (error: BlockError | undefined, bytes: Uint8Array) => void,
  ): void;
  write(offsetBytes: number, bytes: Uint8Array, done: (error: BlockError | undefined) => void): void;
  sync(done: (error: BlockError | undefined) => void): void;
}
