/** Where users and tokens are kept. A port: a file of this node, or a document that both nodes share. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { WorldError } from '../../base/errors.ts';
import { replaceFile } from '../../platform/durable-file.ts';
import { passwordSchema } from './password.ts';
import { roles } from './permissions.ts';

const rights = {
  role: z.enum(roles),
  /** Absent: all VMs. */
  vms: z.array(z.string()).optional(),
  createdAt: z.string(),
};

export const accessSchema = z.object({
  version: z.literal(1),
  users: z.array(z.object({ name: z.string(), ...rights, password: passwordSchema })),
  tokens: z.array(
    z.object({
      id: z.string(),
      ...rights,
      note: z.string(),
      hash: z.string(),
      /** Absent: never. */
      expiresAt: z.string().optional(),
    }),
  ),
});

export type AccessDocument = z.infer<typeof accessSchema>;

export const emptyAccess: AccessDocument = { version: 1, users: [], tokens: [] };

export interface AccessStore {
  /** Throws `config-invalid` for a document that is damaged: access is not guessed. */
  load(): Promise<AccessDocument>;
  /** Durable when it resolves. */
  save(document: AccessDocument): Promise<void>;
}

/** In one file, readable by its owner only. */
export function accessFile(file: string): AccessStore {
  return {
    async load() {
      let text: string;
      try {
        text = await readFile(file, 'utf8');
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return emptyAccess;
        throw unusable(file, error instanceof Error ? error.message : String(error));
      }
      let value: unknown;
      try {
        value = JSON.parse(text);
      } catch {
        throw unusable(file, 'text that is no JSON');
      }
      const parsed = accessSchema.safeParse(value);
      if (parsed.success) return parsed.data;
      throw unusable(file, `at ${parsed.error.issues[0]?.path.join('.') ?? 'the document'}: something else`);
    },
    save: (document) => replaceFile(file, `${JSON.stringify(document, null, 2)}\n`, 0o600),
  };
}

function unusable(file: string, found: string): WorldError {
  return new WorldError('config-invalid', {
    wanted: `users and tokens in ${file}`,
    found,
    next: 'Restore the file, or move it away and add users and tokens again over the local socket.',
  });
}
