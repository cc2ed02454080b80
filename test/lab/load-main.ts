/**
 * Program: a guest that writes without pause through NBD and journals what it knows (write-journal.ts). Several writes are in
 * flight; each lane owns a region, so that no two of them overlap. A lost connection is made again at once, and what was not
 * acknowledged is sent again, as a hypervisor does for its guest. `end` on standard input ends it in good order.
 */
import { openSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { WorldError } from '../../src/base/errors.ts';
import type { NbdClient } from '../../src/nbd/client.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import {
  blockContent,
  guestWritesInFlight,
  journalBlockBytes,
  monotonicMs,
  WriteJournal,
} from './write-journal.ts';

/** Part of the volume that one lane writes, bytes. */
const laneBytes = 2 * 1024 * 1024;
/** A write has 1 to this many blocks; most are small. */
const blocksMax = 16;
const fuaEvery = 61;
const flushEvery = 500;
/** Pause between two attempts to connect, ms. */
const retryMs = 10;

const { values } = parseArgs({
  options: {
    socket: { type: 'string' },
    export: { type: 'string' },
    size: { type: 'string' },
    first: { type: 'string', default: '0' },
    'think-ms': { type: 'string', default: '0' },
    journal: { type: 'string' },
  },
});
const socketPath = String(values.socket);
const exportName = String(values.export);
const journalFile = String(values.journal);
/** Between two writes of a lane. */
const thinkMs = Number(values['think-ms']);
/** What is before it belongs to somebody else. */
const firstBytes = Number(values.first);
const strideBytes =
  Math.floor((Number(values.size) - firstBytes) / guestWritesInFlight / laneBytes) * laneBytes;

const journal = openSync(journalFile, 'a');
let sequence = new WriteJournal(journalFile).update().lastSequence;
let ending = false;
let connection: Promise<NbdClient> | undefined;

function note(line: string): void {
  writeSync(journal, `${line}\n`);
}

function failureText(error: unknown): string {
  return error instanceof WorldError ? `${error.code}: ${error.found}` : String(error);
}

async function connect(): Promise<NbdClient> {
  for (;;) {
    try {
      const client = await connectNbd({ path: socketPath }, exportName, { clock: systemClock });
      note(`o ${monotonicMs()}`);
      return client;
    } catch (error) {
      note(`x ${monotonicMs()} ${failureText(error)}`);
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}

/** Runs a request until it is acknowledged, on as many connections as that takes. */
async function insist(request: (client: NbdClient) => Promise<void>): Promise<void> {
  for (;;) {
    connection ??= connect();
    const used = connection;
    const client = await used;
    try {
      return await request(client);
    } catch (error) {
      const refused = error instanceof WorldError && error.code === 'nbd-request-failed';
      if (connection === used || refused) {
        note(`${refused ? 'e' : 'x'} ${monotonicMs()} ${failureText(error)}`);
        connection = undefined;
        client.destroy();
      }
    }
  }
}

function contentOf(writeSequence: number, firstBlock: number, blocks: number): Uint8Array {
  const bytes = new Uint8Array(blocks * journalBlockBytes);
  for (let index = 0; index < blocks; index += 1) {
    const words = blockContent(writeSequence, firstBlock + index);
    bytes.set(new Uint8Array(words.buffer), index * journalBlockBytes);
  }
  return bytes;
}

async function runLane(lane: number): Promise<void> {
  const laneBlocks = laneBytes / journalBlockBytes;
  while (!ending) {
    sequence += 1;
    const mine = sequence;
    const blocks = 1 + Math.floor(blocksMax * Math.random() ** 3);
    const firstBlock =
      (firstBytes + lane * strideBytes) / journalBlockBytes +
      Math.floor(Math.random() * (laneBlocks - blocks + 1));
    const bytes = contentOf(mine, firstBlock, blocks);
    const fua = mine % fuaEvery === 0;
    const offsetBytes = firstBlock * journalBlockBytes;
    note(`i ${mine} ${offsetBytes} ${bytes.length}`);
    await insist((client) => client.write(offsetBytes, bytes, { fua }));
    note(`c ${mine} ${monotonicMs()}`);
    if (thinkMs > 0) await new Promise((resolve) => setTimeout(resolve, thinkMs));
    if (mine % flushEvery !== 0) continue;
    await insist((client) => client.flush());
    note(`f ${monotonicMs()}`);
  }
}

process.stdin.on('data', () => {
  ending = true;
});
await Promise.all(Array.from({ length: guestWritesInFlight }, (_, lane) => runLane(lane)));
await insist((client) => client.flush());
await (await connection)?.disconnect();
process.exit(0);
