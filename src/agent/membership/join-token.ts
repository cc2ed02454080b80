/**
 * The text that lets one server join the cluster once: where to go, whom to meet there (the SHA-256 of the authority's
 * certificate), and a secret. `vmpair1.ADDRESS.AUTHORITY.SECRET.CHECK`, each part base64url, without anything that a shell or a
 * line break could harm; the check finds a text that was not copied whole. Whoever has it may join until it is used or ends.
 */
import { createHash, randomBytes } from 'node:crypto';
import { WorldError } from '../../base/errors.ts';
import type { SocketAddress } from '../../platform/tls-sockets.ts';
import { addressText, parseAddress } from './address.ts';

const prefix = 'vmpair1';
const secretBytes = 32;
const digestBytes = 32;
const checkCharacters = 6;

export interface JoinToken {
  /** Of the agent that made it. */
  readonly address: SocketAddress;
  /** SHA-256 of the authority's certificate in DER, 64 hex digits. */
  readonly authority: string;
  /** 256 random bits, base64url. Only `hashOfSecret` of it is ever stored. */
  readonly secret: string;
}

export function newSecret(): string {
  return randomBytes(secretBytes).toString('base64url');
}

export function hashOfSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

function checkOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, checkCharacters);
}

export function encodeJoinToken({ address, authority, secret }: JoinToken): string {
  const place = Buffer.from(addressText(address)).toString('base64url');
  const text = `${prefix}.${place}.${Buffer.from(authority, 'hex').toString('base64url')}.${secret}`;
  return `${text}.${checkOf(text)}`;
}

/** Throws `join-refused` for a text that is no token, or not a whole one. */
export function parseJoinToken(text: string): JoinToken {
  const trimmed = text.trim();
  const [version, place = '', authority = '', secret = '', check, ...more] = trimmed.split('.');
  const body = trimmed.slice(0, trimmed.lastIndexOf('.'));
  const address = parseAddress(Buffer.from(place, 'base64url').toString());
  const digest = Buffer.from(authority, 'base64url');
  const whole = version === prefix && more.length === 0 && check === checkOf(body);
  if (
    whole &&
    address !== undefined &&
    digest.length === digestBytes &&
    Buffer.from(secret, 'base64url').length === secretBytes
  )
    return { address, authority: digest.toString('hex'), secret };
  throw new WorldError('join-refused', {
    wanted: 'a join token, as `vmpair cluster token` prints it',
    found: version === prefix ? 'a part of one' : 'another text',
    next: 'copy the whole line, or make a new token on the other node',
  });
}
