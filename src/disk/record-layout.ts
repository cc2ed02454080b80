/**
 * The alphabet of the on-disk records: fields at explicit offsets, little-endian numbers, 128-bit ids, short texts.
 * A layout is checked when the program loads. Decoders answer `undefined` for what a field may not hold; encoders treat
 * it as our own bug.
 */
import { assertInvariant } from '../base/assert.ts';
import { hexIdPattern } from '../base/identity.ts';

export type Field = readonly [offset: number, size: number];

/** Asserts that the fields follow each other without gap or overlap and fill `sizeBytes` exactly; answers them. */
export function layout<const Fields extends Record<string, Field>>(
  record: string,
  sizeBytes: number,
  fields: Fields,
): Fields {
  let expected = 0;
  for (const [name, [offset, size]] of Object.entries<Field>(fields)) {
    assertInvariant(
      offset === expected,
      `${record}.${name} is declared at ${offset}, follows at ${expected}`,
    );
    expected = offset + size;
  }
  assertInvariant(expected === sizeBytes, `${record} declares ${expected} of ${sizeBytes} bytes`);
  return fields;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const u32Span = 0x1_0000_0000;

/** An unsigned 64-bit number in the safe range (below 2^53). */
export function putU64(view: DataView, offset: number, value: number): void {
  assertInvariant(Number.isSafeInteger(value) && value >= 0, 'an unsigned 64-bit field holds a safe number');
  view.setUint32(offset, value % u32Span, true);
  view.setUint32(offset + 4, Math.floor(value / u32Span), true);
}

/** `undefined` when the number is 2^53 or more. */
export function getU64(view: DataView, offset: number): number | undefined {
  const value = view.getUint32(offset + 4, true) * u32Span + view.getUint32(offset, true);
  return Number.isSafeInteger(value) ? value : undefined;
}

const idBytes = 16;

/** A 128-bit id of 32 hex digits as 16 bytes. */
export function putId(bytes: Uint8Array, offset: number, id: string): void {
  assertInvariant(hexIdPattern.test(id), 'an id is 32 lower-case hex digits');
  for (let at = 0; at < idBytes; at += 1) {
    bytes[offset + at] = Number.parseInt(id.slice(at * 2, at * 2 + 2), 16);
  }
}

export function getId(bytes: Uint8Array, offset: number): string {
  let id = '';
  for (const byte of bytes.subarray(offset, offset + idBytes)) id += byte.toString(16).padStart(2, '0');
  return id;
}

/** A text: one byte of length, then UTF-8; the rest of the field is zero. Size 0 stands for "no text". */
export function putText(bytes: Uint8Array, [offset, size]: Field, text: string): void {
  const encoded = new TextEncoder().encode(text);
  assertInvariant(encoded.length < size, `a text of ${encoded.length} bytes fits a field of ${size}`);
  bytes[offset] = encoded.length;
  bytes.set(encoded, offset + 1);
}

/** `undefined` when the length is beyond the field or the bytes are not UTF-8. */
export function getText(bytes: Uint8Array, [offset, size]: Field): string | undefined {
  const length = bytes[offset] as number;
  if (length >= size) return undefined;
  try {
    const decoder = new TextDecoder('utf-8', { fatal: true });
    return decoder.decode(bytes.subarray(offset + 1, offset + 1 + length));
  } catch {
    return undefined;
  }
}

export function allZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}
