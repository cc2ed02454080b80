/** Data of options: untrusted bytes to values and back. Every parser returns `undefined` for what is malformed. */
import { stringBytesMax, viewOf } from './protocol.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** Text as the protocol's strings have it, cut between characters to what they may hold. */
export function encodeText(text: string): Uint8Array {
  const bytes = encoder.encode(text);
  if (bytes.length <= stringBytesMax) return bytes;
  let endBytes = stringBytesMax;
  while (((bytes[endBytes] ?? 0) & 0xc0) === 0x80) endBytes -= 1;
  return bytes.subarray(0, endBytes);
}

/** "Conventions": UTF-8, no NUL, at most 4096 bytes. */
export function decodeText(bytes: Uint8Array): string | undefined {
  if (bytes.length > stringBytesMax || bytes.includes(0)) return undefined;
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

export interface ExportChoice {
  readonly name: string;
  /** `NBD_INFO` numbers. */
  readonly wanted: ReadonlySet<number>;
}

/** "Option types", `NBD_OPT_INFO` and `NBD_OPT_GO`. */
export function parseExportChoice(data: Uint8Array): ExportChoice | undefined {
  if (data.length < 6) return undefined;
  const view = viewOf(data);
  const nameBytes = view.getUint32(0);
  if (nameBytes > data.length - 6) return undefined;
  const name = decodeText(data.subarray(4, 4 + nameBytes));
  const wantedCount = view.getUint16(4 + nameBytes);
  if (name === undefined || data.length !== 6 + nameBytes + 2 * wantedCount) return undefined;
  const wanted = new Set<number>();
  for (let at = 6 + nameBytes; at < data.length; at += 2) wanted.add(view.getUint16(at));
  return { name, wanted };
}

export function encodeExportChoice(name: string, wanted: readonly number[]): Uint8Array {
  const text = encodeText(name);
  const data = new Uint8Array(6 + text.length + 2 * wanted.length);
  const view = viewOf(data);
  view.setUint32(0, text.length);
  data.set(text, 4);
  view.setUint16(4 + text.length, wanted.length);
  wanted.forEach((info, index) => view.setUint16(6 + text.length + 2 * index, info));
  return data;
}

export interface MetaContextQuery {
  readonly exportName: string;
  readonly queries: readonly string[];
}

/** "Option types", `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`. */
export function parseMetaContextQuery(data: Uint8Array): MetaContextQuery | undefined {
  const view = viewOf(data);
  let at = 0;
  const readString = (): string | undefined => {
    if (data.length - at < 4) return undefined;
    const textBytes = view.getUint32(at);
    if (textBytes > data.length - at - 4) return undefined;
    const text = decodeText(data.subarray(at + 4, at + 4 + textBytes));
    at += 4 + textBytes;
    return text;
  };
  const exportName = readString();
  if (exportName === undefined || data.length - at < 4) return undefined;
  const queriesCount = view.getUint32(at);
  at += 4;
  // Each query takes at least four bytes, so a count that lies ends at the end of the data.
  const queries: string[] = [];
  for (let index = 0; index < queriesCount; index += 1) {
    const query = readString();
    if (query === undefined) return undefined;
    queries.push(query);
  }
  return at === data.length ? { exportName, queries } : undefined;
}

export function encodeMetaContextQuery(exportName: string, queries: readonly string[]): Uint8Array {
  const texts = [exportName, ...queries].map(encodeText);
  const data = new Uint8Array(4 + texts.reduce((sum, text) => sum + 4 + text.length, 0));
  const view = viewOf(data);
  let at = 0;
  texts.forEach((text, index) => {
    view.setUint32(at, text.length);
    data.set(text, at + 4);
    at += 4 + text.length;
    if (index > 0) return;
    view.setUint32(at, queries.length);
    at += 4;
  });
  return data;
}
