/** The calls of a `BlockDevice` as promises, for tests. They answer `ok` or the error, and data where there is any. */
import type { AllocationExtent, BlockDevice, BlockError, ZeroOptions } from '../../src/base/block-device.ts';

type Outcome = BlockError | 'ok';

export function write(
  device: BlockDevice,
  offsetBytes: number,
  chunks: readonly Uint8Array[],
  fua = false,
): Promise<Outcome> {
  const lengthBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  return new Promise((resolve) =>
    device.write(offsetBytes, lengthBytes, chunks, fua, { done: (error) => resolve(error ?? 'ok') }),
  );
}

export function read(
  device: BlockDevice,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Buffer | BlockError> {
  return new Promise((resolve) =>
    device.read(offsetBytes, lengthBytes, {
      done: (error, chunks) => resolve(error ?? Buffer.concat(chunks)),
    }),
  );
}

export function flush(device: BlockDevice): Promise<Outcome> {
  return new Promise((resolve) => device.flush({ done: (error) => resolve(error ?? 'ok') }));
}

export function trim(device: BlockDevice, offsetBytes: number, lengthBytes: number): Promise<Outcome> {
  return new Promise((resolve) =>
    device.trim(offsetBytes, lengthBytes, false, { done: (error) => resolve(error ?? 'ok') }),
  );
}

export function zero(
  device: BlockDevice,
  offsetBytes: number,
  lengthBytes: number,
  options: Partial<ZeroOptions> = {},
): Promise<Outcome> {
  const all = { fua: false, mayPunch: false, fast: false, ...options };
  return new Promise((resolve) =>
    device.zero(offsetBytes, lengthBytes, all, { done: (error) => resolve(error ?? 'ok') }),
  );
}

export function allocation(
  device: BlockDevice,
  offsetBytes: number,
  lengthBytes: number,
): Promise<readonly AllocationExtent[]> {
  return new Promise((resolve) =>
    device.allocation(offsetBytes, lengthBytes, { done: (_error, extents) => resolve(extents) }),
  );
}
