/**
 * The join tokens that were made on this node: one file each, named after the hash of its secret, so that the command that makes
 * one and the agent that redeems it need no lock between them. A file is replaced as a whole and durably; it is removed
 * some time after its end, so that until then "expired" can be told from "unknown".
 */
import { mkdir, readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { replaceFile } from '../../platform/durable-file.ts';
import { privateDirectoryMode, privateFileMode } from '../../platform/pki.ts';

/** How long an ended token is remembered. */
const rememberedMs = 7 * 24 * 60 * 60 * 1000;
const fileSuffix = '.json';
const hashPattern = /^[0-9a-f]{64}$/;

const recordSchema = z.strictObject({
  version: z.literal(1),
  /** Milliseconds of the wall clock: a token outlives the agent's process. */
  expiresMs: z.number(),
  /** The only name that it is good for; absent: any. */
  node: z.string().optional(),
  /** Written before a certificate is handed out. */
  used: z.strictObject({ node: z.string(), keyId: z.string() }).optional(),
});

export type TokenRecord = z.infer<typeof recordSchema>;

export class TokenStore {
  readonly #directory: string;

  constructor(stateDir: string) {
    this.#directory = join(stateDir, 'join-tokens');
  }

  /** Durable when it resolves. */
  async put(hash: string, record: TokenRecord): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: privateDirectoryMode });
    await replaceFile(this.#file(hash), `${JSON.stringify(record)}\n`, privateFileMode);
  }

  /** `undefined` for a token that was never made here, or is forgotten. A damaged record counts as none. */
  async find(hash: string): Promise<TokenRecord | undefined> {
    if (!hashPattern.test(hash)) return undefined;
    try {
      return recordSchema.parse(JSON.parse(await readFile(this.#file(hash), 'utf8')));
    } catch {
      return undefined;
    }
  }

  /** Removes what ended long ago. */
  async forgetOld(nowMs: number): Promise<void> {
    const names = await readdir(this.#directory).catch(() => []);
    for (const name of names) {
      const hash = name.slice(0, -fileSuffix.length);
      const record = await this.find(hash);
      if (record !== undefined && record.expiresMs + rememberedMs < nowMs) await unlink(this.#file(hash));
    }
  }

  #file(hash: string): string {
    return join(this.#directory, `${hash}${fileSuffix}`);
  }
}
