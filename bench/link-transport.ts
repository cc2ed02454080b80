/**
 * How fast the link is between two processes on the loopback, TLS on: 1 MiB frames one way, and 4 KiB
 * messages there and back with 1 and with 16 under way. Run: node --import tsx bench/link-transport.ts
 * [seconds]
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { LinkConnection, LinkHandler } from '../src/link/transport.ts';
import { openLinkTransport } from '../src/platform/link-transport.ts';
import { createClusterAuthority, issueCertificate } from '../src/platform/pki.ts';
import { makeIdentity } from '../src/platform/tls.ts';

const loopback = { host: '127.0.0.1', port: 0 };
const messageBytes = 4096;
const frameBytes = 1024 * 1024;
const queuedBytesMax = 8 * frameBytes;
/** First byte of each header: what the far side does with the bytes behind it. */
const echoMark = 1;

interface Start {
  readonly port: number;
  readonly pems: readonly [string, string, string];
}

/**
 * Far side: answers each whole message with one of the same size; swallows frames and answers a byte count at
 * the end.
 */
async function farSide(): Promise<void> {
  const [{ pems }] = (await once(process, 'message')) as [Start];
  let echo = false;
  let gotBytes = 0;
  const reply = new Uint8Array(messageBytes);
  const handler: LinkHandler = {
    opened: () => undefined,
    failed: () => undefined,
    closed: () => process.disconnect(),
    received(connection, bytes) {
      if (gotBytes === 0) echo = bytes[0] === echoMark;
      gotBytes += bytes.length;
      while (echo && gotBytes >= messageBytes) {
        gotBytes -= messageBytes;
        connection.send(reply.subarray(0, 32), [reply.subarray(32)]);
      }
      if (!echo && gotBytes >= frameBytes) {
        gotBytes -= frameBytes;
        connection.send(reply.subarray(0, 1), []);
      }
    },
  };
  const identity = makeIdentity(...pems);
  const transport = await openLinkTransport({
    self: 'beta',
    peer: 'alpha',
    listen: loopback,
    peerAddress: loopback,
    identity,
  });
  transport.start(handler);
  process.send?.(transport.address);
  await once(process, 'disconnect');
  await transport.close();
}

async function nearSide(seconds: number): Promise<void> {
  const authority = await createClusterAuthority('bench');
  const [alpha, beta] = await Promise.all([
    issueCertificate(authority, 'node', 'alpha'),
    issueCertificate(authority, 'node', 'beta'),
  ]);
  const child = fork(fileURLToPath(import.meta.url), ['far'], { execArgv: ['--import', 'tsx'] });
  child.send({ port: 0, pems: [authority.certificatePem, beta.certificatePem, beta.keyPem] });
  const [address] = (await once(child, 'message')) as [typeof loopback];
  let connection: LinkConnection | undefined;
  let receive: (bytes: Uint8Array) => void = () => undefined;
  const identity = makeIdentity(authority.certificatePem, alpha.certificatePem, alpha.keyPem);
  const transport = await openLinkTransport({
    self: 'alpha',
    peer: 'beta',
    listen: loopback,
    peerAddress: address,
    identity,
  });
  await new Promise<void>((resolve) => {
    transport.start({
      opened(opened) {
        connection = opened;
        resolve();
      },
      received: (_from, bytes) => receive(bytes),
      closed: () => undefined,
      failed: (because) => console.error(because),
    });
  });
  const link = connection as unknown as LinkConnection;
  for (const depth of [1, 16]) {
    const rate = await roundTrips(link, depth, seconds * 1000, (handler) => {
      receive = handler;
    });
    console.log(`4 KiB there and back, ${depth} under way: ${Math.round(rate)} a second`);
  }
  const mibRate = await frames(link, seconds * 1000, (handler) => {
    receive = handler;
  });
  console.log(`1 MiB frames one way: ${Math.round(mibRate)} MiB/s`);
  await transport.close();
  await once(child, 'exit');
}

function roundTrips(
  link: LinkConnection,
  depth: number,
  durationMs: number,
  onReceive: (handler: (bytes: Uint8Array) => void) => void,
): Promise<number> {
  const header = new Uint8Array(32).fill(echoMark);
  const payload = new Uint8Array(messageBytes - header.length).fill(echoMark);
  const startedMs = performance.now();
  let gotBytes = 0;
  let done = 0;
  let underWay = 0;
  return new Promise((resolve) => {
    const send = (): void => {
      underWay += 1;
      link.send(header, [payload]);
    };
    onReceive((bytes) => {
      gotBytes += bytes.length;
      while (gotBytes >= messageBytes) {
        gotBytes -= messageBytes;
        underWay -= 1;
        done += 1;
        if (performance.now() - startedMs < durationMs) send();
      }
      if (underWay === 0) resolve((done * 1000) / (performance.now() - startedMs));
    });
    for (let index = 0; index < depth; index += 1) send();
  });
}

function frames(
  link: LinkConnection,
  durationMs: number,
  onReceive: (handler: (bytes: Uint8Array) => void) => void,
): Promise<number> {
  const header = new Uint8Array(32);
  const payload = [new Uint8Array(frameBytes - header.length)];
  const startedMs = performance.now();
  let sent = 0;
  let confirmed = 0;
  return new Promise((resolve) => {
    const fill = (): void => {
      const late = performance.now() - startedMs >= durationMs;
      while (!late && (sent - confirmed) * frameBytes < queuedBytesMax) {
        sent += 1;
        link.send(header, payload);
      }
      if (late && sent === confirmed) resolve((confirmed * 1000) / (performance.now() - startedMs));
    };
    onReceive((bytes) => {
      confirmed += bytes.length;
      fill();
    });
    fill();
  });
}

if (process.argv[2] === 'far') await farSide();
else await nearSide(Number(process.argv[2] ?? 3));
