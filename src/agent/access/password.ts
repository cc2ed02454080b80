/**
 * Passwords as scrypt digests (RFC 7914) with a salt each. The parameters stand beside the digest, so that later ones can be
 * stronger. A comparison takes the same time for a user that does not exist.
 */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';

/** 32 MiB and about 0.1 s of one processor. */
const cost = { n: 2 ** 15, r: 8, p: 1 } as const;
const saltBytes = 16;
const digestBytes = 32;
/** `128 * n * r` and some more. */
const memoryBytesMax = 64 * 1024 * 1024;

export const passwordCharactersMin = 10;
export const passwordCharactersMax = 200;

export const passwordSchema = z.object({
  salt: z.base64url(),
  digest: z.base64url(),
  n: z.int().max(2 ** 20),
  r: z.int().max(32),
  p: z.int().max(16),
});
export type PasswordDigest = z.infer<typeof passwordSchema>;

function derive(
  password: string,
  salt: Buffer,
  { n, r, p }: { n: number; r: number; p: number },
): Promise<Buffer> {
  const options = { N: n, r, p, maxmem: memoryBytesMax };
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFKC'), salt, digestBytes, options, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

export async function digestPassword(password: string): Promise<PasswordDigest> {
  const salt = randomBytes(saltBytes);
  const digest = await derive(password, salt, cost);
  return { salt: salt.toString('base64url'), digest: digest.toString('base64url'), ...cost };
}

/** For users that do not exist: no password leads to it. */
const nobody: PasswordDigest = {
  salt: randomBytes(saltBytes).toString('base64url'),
  digest: randomBytes(digestBytes).toString('base64url'),
  ...cost,
};

/** `undefined`: there is no such user; takes as long as if there were. */
export async function isPassword(known: PasswordDigest | undefined, password: string): Promise<boolean> {
  const { salt, digest, ...parameters } = known ?? nobody;
  const derived = await derive(password, Buffer.from(salt, 'base64url'), parameters);
  const wanted = Buffer.from(digest, 'base64url');
  return derived.length === wanted.length && timingSafeEqual(derived, wanted) && known !== undefined;
}
