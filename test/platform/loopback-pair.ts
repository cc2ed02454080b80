/**
 * What the tests of links and witnesses stand on: identities of a cluster made at run time, and a recording
 * link handler.
 */
import { setTimeout } from 'node:timers/promises';
import type { WorldError } from '../../src/base/errors.ts';
import {
  type OpenedLinkTransport,
  type LinkTransportOptions,
  openLinkTransport,
} from '../../src/platform/link-transport.ts';
import {
  type CertificateAndKey,
  createClusterAuthority,
  issueCertificate,
  type Validity,
} from '../../src/platform/pki.ts';
import { makeIdentity, type TlsIdentity } from '../../src/platform/tls.ts';
import type { LinkConnection, LinkHandler } from '../../src/link/transport.ts';

export const loopback = '127.0.0.1';
const waitDeadlineMs = 5000;
const lookIntervalMs = 2;

export async function identityOf(
  authority: CertificateAndKey,
  role: 'node' | 'witness',
  name: string,
  validity?: Validity,
): Promise<TlsIdentity> {
  const issued = await issueCertificate(authority, role, name, validity);
  return makeIdentity(authority.certificatePem, issued.certificatePem, issued.keyPem);
}

export async function clusterOfTwo(clusterId = 'c1') {
  const authority = await createClusterAuthority(clusterId);
  return {
    authority,
    alpha: await identityOf(authority, 'node', 'alpha'),
    beta: await identityOf(authority, 'node', 'beta'),
  };
}

/** Waits until a condition holds, looked at often; fails after `waitDeadlineMs`. */
export async function until(what: () => string, holds: () => boolean): Promise<void> {
  const giveUpMs = performance.now() + waitDeadlineMs;
  while (!holds()) {
    if (performance.now() > giveUpMs) throw new Error(`this did not happen: ${what()}`);
    await setTimeout(lookIntervalMs);
  }
}

/** Records what a transport reports. */
export class RecordingHandler implements LinkHandler {
  readonly events: string[] = [];
  readonly bytes: number[] = [];
  connection: LinkConnection | undefined;

  opened(connection: LinkConnection): void {
    this.connection = connection;
    this.events.push(`opened ${connection.peer}`);
  }

  received(_connection: LinkConnection, bytes: Uint8Array): void {
    for (const byte of bytes) this.bytes.push(byte);
  }

  closed(_connection: LinkConnection, because: string): void {
    this.connection = undefined;
    this.events.push(`closed ${because}`);
  }

  failed(because: string): void {
    this.events.push(`failed ${because}`);
  }

  count(kind: string): number {
    return this.events.filter((event) => event.startsWith(kind)).length;
  }

  get text(): string {
    return Buffer.from(this.bytes).toString();
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    await until(() => `${what}; events: ${JSON.stringify(this.events)}`, holds);
  }
}

export interface PairOptions {
  readonly alpha: TlsIdentity;
  readonly beta: TlsIdentity;
  readonly alphaOptions?: Partial<LinkTransportOptions>;
  readonly betaOptions?: Partial<LinkTransportOptions>;
}

/** Two transports of one process over the loopback: beta listens, alpha dials. */
export async function linkPair(options: PairOptions) {
  const anyPort = { host: loopback, port: 0 };
  const beta = await openLinkTransport({
    self: 'beta',
    peer: 'alpha',
    listen: anyPort,
    peerAddress: anyPort,
    identity: options.beta,
    ...options.betaOptions,
  });
  const alpha = await openLinkTransport({
    self: 'alpha',
    peer: 'beta',
    listen: anyPort,
    peerAddress: beta.address ?? anyPort,
    identity: options.alpha,
    ...options.alphaOptions,
  });
  const handlers = { alpha: new RecordingHandler(), beta: new RecordingHandler() };
  return {
    alpha,
    beta,
    handlers,
    start(): void {
      beta.start(handlers.beta);
      alpha.start(handlers.alpha);
    },
    async close(): Promise<void> {
      await Promise.all([alpha, beta].map((transport: OpenedLinkTransport) => transport.close()));
    },
  };
}

/** The error that `work` rejects with; for `WorldError`s. */
export async function errorOf(work: Promise<unknown>): Promise<WorldError> {
  return await work.then(
    () => {
      throw new Error('no error where one was expected');
    },
    (error: WorldError) => error,
  );
}
