/** A server session on a test bench: bytes in by hand, output collected; or joined to a client, cut into fragments. */
import { NbdClient } from '../../src/nbd/client.ts';
import type { ExportTable } from '../../src/nbd/export-table.ts';
import { encodeExportChoice, encodeMetaContextQuery } from '../../src/nbd/option-data.ts';
import {
  baseAllocation,
  encodeOption,
  encodeRequest,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
} from '../../src/nbd/protocol.ts';
import { ServerSession } from '../../src/nbd/server-session.ts';
import type { SessionPort } from '../../src/nbd/session-port.ts';
import { ManualClock } from './manual-clock.ts';

const noData = new Uint8Array(0);

export const clientFlags = (flags = NBD_FLAG_C_FIXED_NEWSTYLE): Uint8Array => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, flags);
  return bytes;
};

export interface RequestFields {
  readonly command: number;
  readonly cookie?: number;
  readonly flags?: number;
  readonly offsetBytes?: number;
  readonly lengthBytes?: number;
}

export const request = (fields: RequestFields): Uint8Array =>
  encodeRequest({
    command: fields.command,
    flags: fields.flags ?? 0,
    cookieHigh: 0xfedcba98,
    cookieLow: fields.cookie ?? 1,
    offsetBytes: fields.offsetBytes ?? 0,
    lengthBytes: fields.lengthBytes ?? 0,
  });

/** One session whose output is collected. */
export class SessionBench implements SessionPort {
  readonly clock = new ManualClock();
  readonly session: ServerSession;
  paused = false;
  pausesCount = 0;
  /** How the session ended the connection. */
  ended: { readonly how: 'closed' | 'destroyed'; readonly because: string } | undefined;
  /** What `queuedBytes` says; the output itself is always taken. */
  pretendedQueuedBytes = 0;
  #output: Uint8Array[] = [];

  constructor(exports: ExportTable) {
    this.session = new ServerSession(exports, this, this.clock);
  }

  send(header: Uint8Array, chunks: readonly Uint8Array[]): void {
    this.#output.push(header.slice(), ...chunks);
  }

  queuedBytes(): number {
    return this.pretendedQueuedBytes;
  }

  pause(): void {
    this.paused = true;
    this.pausesCount += 1;
  }

  resume(): void {
    this.paused = false;
  }

  close(because: string): void {
    this.ended ??= { how: 'closed', because };
  }

  destroy(because: string): void {
    this.ended ??= { how: 'destroyed', because };
  }

  /** What was sent since the last call. */
  takeOutput(): Buffer {
    const output = Buffer.concat(this.#output);
    this.#output = [];
    return output;
  }

  receive(...messages: readonly Uint8Array[]): void {
    for (const message of messages) this.session.received(message);
  }

  option(option: number, data: Uint8Array = noData): OptionReply[] {
    this.takeOutput();
    this.receive(encodeOption(option, data));
    return parseOptionReplies(this.takeOutput());
  }

  /** Negotiates up to the transmission phase. */
  enter(exportName: string, options: { readonly structured: boolean }): void {
    this.receive(clientFlags());
    if (options.structured) {
      this.receive(encodeOption(NBD_OPT_STRUCTURED_REPLY, noData));
      this.receive(
        encodeOption(NBD_OPT_SET_META_CONTEXT, encodeMetaContextQuery(exportName, [baseAllocation])),
      );
    }
    this.receive(encodeOption(NBD_OPT_GO, encodeExportChoice(exportName, [])));
    this.takeOutput();
  }
}

export interface OptionReply {
  readonly option: number;
  readonly replyType: number;
  readonly data: Buffer;
}

export function parseOptionReplies(bytes: Buffer): OptionReply[] {
  const replies: OptionReply[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.readBigUInt64BE(at) !== 0x3e889045565a9n) throw new Error('no option reply');
    const lengthBytes = bytes.readUInt32BE(at + 16);
    replies.push({
      option: bytes.readUInt32BE(at + 8),
      replyType: bytes.readUInt32BE(at + 12),
      data: bytes.subarray(at + 20, at + 20 + lengthBytes),
    });
    at += 20 + lengthBytes;
  }
  return replies;
}

export interface ChunkReply {
  readonly kind: 'simple' | number;
  readonly error: number;
  readonly cookie: number;
  readonly final: boolean;
  readonly payload: Buffer;
}

/** `readBytes`: payload of simple replies to reads by cookie. */
export function parseReplies(
  bytes: Buffer,
  readBytes: ReadonlyMap<number, number> = new Map(),
): ChunkReply[] {
  const replies: ChunkReply[] = [];
  for (let at = 0; at < bytes.length; ) {
    const magic = bytes.readUInt32BE(at);
    if (magic === 0x67446698) {
      const error = bytes.readUInt32BE(at + 4);
      const cookie = bytes.readUInt32BE(at + 12);
      const payloadBytes = error === 0 ? (readBytes.get(cookie) ?? 0) : 0;
      const payload = bytes.subarray(at + 16, at + 16 + payloadBytes);
      replies.push({ kind: 'simple', error, cookie, final: true, payload });
      at += 16 + payloadBytes;
    } else if (magic === 0x668e33ef) {
      const kind = bytes.readUInt16BE(at + 6);
      const payloadBytes = bytes.readUInt32BE(at + 16);
      const payload = bytes.subarray(at + 20, at + 20 + payloadBytes);
      const error = kind >= 0x8000 ? payload.readUInt32BE(0) : 0;
      const final = (bytes.readUInt16BE(at + 4) & 1) === 1;
      replies.push({ kind, error, cookie: bytes.readUInt32BE(at + 12), final, payload });
      at += 20 + payloadBytes;
    } else throw new Error(`no reply magic at ${at}`);
  }
  return replies;
}

export interface JoinOptions {
  readonly exportName: string;
  /** Longest piece in which bytes arrive; chosen anew for each piece by `pieceBytes`. */
  readonly pieceBytes?: () => number;
}

/** A client and a server session joined without sockets; bytes cross in later microtasks, in pieces. */
export function joinClient(exports: ExportTable, options: JoinOptions) {
  const clock = new ManualClock();
  const pieceBytes = options.pieceBytes ?? (() => 64 * 1024);
  const pipe = (deliver: (bytes: Uint8Array) => void) => {
    const queue: Uint8Array[] = [];
    let scheduled = false;
    let paused = false;
    const run = (): void => {
      scheduled = false;
      while (queue.length > 0 && !paused) {
        let bytes = queue.shift() ?? noData;
        while (bytes.length > 0) {
          const length = Math.max(1, pieceBytes());
          deliver(bytes.subarray(0, length));
          bytes = bytes.subarray(length);
        }
      }
    };
    const schedule = (): void => {
      if (scheduled) return;
      scheduled = true;
      queueMicrotask(run);
    };
    return {
      push(header: Uint8Array, chunks: readonly Uint8Array[]): void {
        queue.push(header.slice(), ...chunks);
        schedule();
      },
      pause(): void {
        paused = true;
      },
      resume(): void {
        paused = false;
        schedule();
      },
    };
  };
  let over = false;
  const end = (because: string): void => {
    if (over) return;
    over = true;
    queueMicrotask(() => {
      session.closed();
      client.closed(because);
    });
  };
  const toServer = pipe((bytes) => session.received(bytes));
  const toClient = pipe((bytes) => client.received(bytes));
  const session = new ServerSession(
    exports,
    {
      send: (header, chunks) => toClient.push(header, chunks),
      queuedBytes: () => 0,
      pause: () => toServer.pause(),
      resume: () => toServer.resume(),
      close: end,
      destroy: end,
    },
    clock,
  );
  const client: NbdClient = new NbdClient(
    { send: (header, chunks) => toServer.push(header, chunks), close: end, destroy: end },
    clock,
    {
      exportName: options.exportName,
      address: 'the test bench',
      handshakeTimeoutMs: 1000,
      requestTimeoutMs: 60_000,
    },
  );
  return { client, session, clock };
}
