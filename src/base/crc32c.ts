/**
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78; RFC 3720 appendix B.4), slicing by eight.
 * Pure and allocation-free per call; check value of the ASCII string "123456789": 0xE3069283.
 */

const polynomial = 0x82f63b78;

/** Eight tables of 256 words: table k advances the register over one byte followed by k zero bytes. */
const tables: readonly Uint32Array[] = buildTables();

function buildTables(): readonly Uint32Array[] {
  const first = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte += 1) {
    let register = byte;
    for (let bit = 0; bit < 8; bit += 1) {
      register = (register & 1) === 0 ? register >>> 1 : (register >>> 1) ^ polynomial;
    }
    first[byte] = register;
  }
  const all = [first];
  for (let slice = 1; slice < 8; slice += 1) {
    const shorter = all[slice - 1] as Uint32Array;
    all.push(shorter.map((register) => (register >>> 8) ^ (first[register & 0xff] as number)));
  }
  return all;
}

/**
 * The checksum of `bytes`, as an unsigned 32-bit number. `earlier` is the checksum of the bytes that come before:
 * `crc32c(b, crc32c(a))` is the checksum of a followed by b.
 */
export function crc32c(bytes: Uint8Array, earlier = 0): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ];
  const length = bytes.length;
  let register = ~earlier;
  let at = 0;
  // The indices are in range by construction; the casts spare a check per byte.
  for (; at + 8 <= length; at += 8) {
    register ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24);
    register =
      (t7[register & 0xff] as number) ^
      (t6[(register >>> 8) & 0xff] as number) ^
      (t5[(register >>> 16) & 0xff] as number) ^
      (t4[register >>> 24] as number) ^
      (t3[bytes[at + 4] as number] as number) ^
      (t2[bytes[at + 5] as number] as number) ^
      (t1[bytes[at + 6] as number] as number) ^
      (t0[bytes[at + 7] as number] as number);
  }
  for (; at < length; at += 1) {
    register = (register >>> 8) ^ (t0[(register ^ (bytes[at] as number)) & 0xff] as number);
  }
  return ~register >>> 0;
}
