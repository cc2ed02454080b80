/**
 * Dials a node of a cluster that the dialler is no part of yet: what it knows is the SHA-256 of the authority's certificate. The
 * connection is handed out only when the other side proved that it is a node which that authority signed; until then no byte
 * of the caller's leaves.
 */
import type { X509Certificate } from 'node:crypto';
import tls from 'node:tls';
import { WorldError } from '../base/errors.ts';
import { describeParty, type Party, partyOf } from './certificate-identity.ts';
import { describeConnectionError, partySignedBy } from './tls.ts';
import type { SocketAddress } from './tls-sockets.ts';

/** SHA-256 of a certificate in DER, 64 hex digits. */
export function pinOf(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}

export interface PinnedConnection {
  readonly socket: tls.TLSSocket;
  readonly party: Party;
}

/** Throws `certificate-rejected` or `peer-unreachable`. `deadlineMs` is for connect and handshake together. */
export async function dialPinned(
  { host, port }: SocketAddress,
  pin: string,
  deadlineMs: number,
): Promise<PinnedConnection> {
  const what = `the node at ${host}:${port}`;
  // Node's own verdict would need the authority; `judge` takes its place.
  const socket = tls.connect({ host, port, minVersion: 'TLSv1.3', rejectUnauthorized: false });
  socket.setNoDelay(true);
  const deadline = setTimeout(
    () => socket.destroy(new Error(`no connection within ${deadlineMs} ms`)),
    deadlineMs,
  );
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', (error) => reject(describeConnectionError(error, what)));
    });
    const party = judge(socket.getPeerX509Certificate(), pin, what);
    socket.on('error', () => undefined);
    return { socket, party };
  } catch (error) {
    socket.on('error', () => undefined);
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(deadline);
  }
}

/** The party of a certificate that was shown together with its authority. */
function judge(certificate: X509Certificate | undefined, pin: string, what: string): Party {
  const refuse = (found: string, next: string): WorldError =>
    new WorldError('certificate-rejected', {
      wanted: `${what} to show a certificate of the cluster that made the token`,
      found,
      next,
    });
  const authority = certificate?.issuerCertificate;
  if (certificate === undefined || authority === undefined || pinOf(authority) !== pin) {
    throw refuse(
      `one of another authority (${describeParty(certificate && partyOf(certificate))})`,
      'check that the address of the token leads to the node that made it, and that nothing in between answers for it; nothing was sent',
    );
  }
  const party = partySignedBy(certificate, [authority]);
  if (party?.role !== 'node')
    throw refuse('one of no node', 'make a new token on a node of the cluster; nothing was sent');
  const nowMs = Date.now();
  if (nowMs < Date.parse(certificate.validFrom) || nowMs > Date.parse(certificate.validTo)) {
    const found = `one that is valid from ${certificate.validFrom} to ${certificate.validTo}`;
    throw refuse(
      found,
      'compare the clocks of both servers; renew with `vmpair cluster renew-certificates` there',
    );
  }
  return party;
}
