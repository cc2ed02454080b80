/**
 * Who calls: over the local socket the administrator of this host; over TLS the bearer of a token, or else a node of this
 * cluster by its certificate, which is the other agent. A certificate that is not one of these is refused with the reason.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import { WorldError } from '../../base/errors.ts';
import { authenticate, type ExpectedParty, type TlsIdentity } from '../../platform/tls.ts';
import type { Access } from '../access/access.ts';
import type { Principal } from '../access/permissions.ts';
import { onBehalfHeader } from '../follow/peer-agent.ts';

/** Stands for the address of callers on the local socket. */
export const localAddress = 'this host';
const bearerPattern = /^Bearer (\S{1,200})$/i;
/** What another agent may say of whom it speaks for. */
const onBehalfPattern = /^[\x20-\x7e]{1,100}$/;

/** The token of a call; `undefined`: it shows none that could be one. */
export function bearerOf({ authorization }: IncomingHttpHeaders): string | undefined {
  return bearerPattern.exec(authorization ?? '')?.[1];
}

/** On public routes, and until it is known. */
export const nobody: Principal = { kind: 'local', name: 'nobody', role: 'viewer', vms: [] };

const local: Principal = { kind: 'local', name: 'local', role: 'admin', vms: undefined };

/** The node of this cluster whose certificate the caller shows; `undefined`: none. */
export function nodeOfCall({ raw }: FastifyRequest, identity: TlsIdentity): string | undefined {
  const { socket } = raw;
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const party = authenticate(socket, identity, nodesOf(identity));
  return party instanceof WorldError ? undefined : party.name;
}

function nodesOf({ self }: TlsIdentity): ExpectedParty {
  return { clusterId: self.clusterId, role: 'node' };
}

/** Throws `not-authenticated`, `certificate-rejected` or `limit-reached`. */
export function principalOfCall(
  { raw, headers }: FastifyRequest,
  from: string,
  access: Access,
  identity: TlsIdentity,
): Principal {
  const { socket } = raw;
  if (!(socket instanceof TLSSocket)) return local;
  if (headers.authorization !== undefined) return access.principalOf(bearerOf(headers) ?? '', from);
  if (socket.getPeerX509Certificate() === undefined) {
    throw new WorldError('not-authenticated', {
      wanted: 'the header "authorization: Bearer TOKEN"',
      found: 'no token',
      next: 'Log in with POST /api/v1/login, or ask an administrator for a token (`vmpair token add`).',
    });
  }
  const party = authenticate(socket, identity, nodesOf(identity));
  if (party instanceof WorldError) throw party;
  const behalf = headers[onBehalfHeader];
  const said = typeof behalf === 'string' && onBehalfPattern.test(behalf) ? { onBehalfOf: behalf } : {};
  return { kind: 'peer', name: party.name, role: 'admin', vms: undefined, ...said };
}
