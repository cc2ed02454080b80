/** Sizes as people write them: `2GiB`, `512MiB`, `1073741824`. Binary units only; volumes are multiples of 4096 bytes. */
import { z } from 'zod';

/** Alignment of volume sizes, bytes: the sector size that guests and disks agree on. */
export const sizeAlignmentBytes = 4096;

const unitBytes: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

const wanted = `a size in bytes, KiB, MiB, GiB or TiB, a multiple of ${sizeAlignmentBytes} bytes (for example 2GiB)`;

/** Bytes, or `undefined` when the text is no size. Fractions are sizes when they come out as whole bytes (`1.5GiB`). */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,16}(?:\.\d{1,6})?) ?(B|KiB|MiB|GiB|TiB)?$/.exec(text.trim());
  const unit = unitBytes[match?.[2] ?? ''];
  if (match?.[1] === undefined || unit === undefined) return undefined;
  const bytes = Number(match[1]) * unit;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Schema of a volume size; its output is bytes. */
export const sizeSchema = z.union([z.string(), z.number()], wanted).transform((value, context): number => {
  const bytes = parseSize(String(value));
  if (bytes !== undefined && bytes > 0 && bytes % sizeAlignmentBytes === 0) return bytes;
  context.issues.push({ code: 'custom', message: wanted, input: value });
  return z.NEVER;
});
