/**
 * Tokens of programs and of sessions: `vmpair_ID_SECRET`. The id is no secret and names the token in lists and in the audit
 * log; of the secret, 256 random bits, only the SHA-256 is kept, which needs no salt because nobody can guess it.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

const idBytes = 4;
const secretBytes = 32;
const tokenPattern = /^vmpair_([0-9a-f]{8})_([A-Za-z0-9_-]{43})$/;

export interface NewToken {
  readonly id: string;
  /** Shown once. */
  readonly text: string;
  /** SHA-256 of the secret, hex. */
  readonly hash: string;
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

export function newToken(): NewToken {
  const id = randomBytes(idBytes).toString('hex');
  const secret = randomBytes(secretBytes).toString('base64url');
  return { id, text: `vmpair_${id}_${secret}`, hash: hashOf(secret).toString('hex') };
}

/** `undefined`: text that no token is. */
export function parseToken(text: string): { readonly id: string; readonly secret: string } | undefined {
  const [, id, secret] = tokenPattern.exec(text) ?? [];
  return id === undefined || secret === undefined ? undefined : { id, secret };
}

export function isSecret(hash: string, secret: string): boolean {
  const wanted = Buffer.from(hash, 'hex');
  const found = hashOf(secret);
  return wanted.length === found.length && timingSafeEqual(wanted, found);
}
