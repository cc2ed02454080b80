/**
 * The files under the configuration directory: writes those of a revision, durably, and finds what somebody changed by hand. A file
 * that was changed by hand is never overwritten or removed without being asked; until then nothing is applied.
 */
import { mkdir, readdir, readFile, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { WorldError } from '../../base/errors.ts';
import { clusterDocument, type Documents, moduleDocument } from '../../config/configuration-set.ts';
import { flushDirectory, replaceFile } from '../../platform/durable-file.ts';
import type { ConfigStore } from './config-store.ts';
import { type DocumentState, documentStates } from './drift.ts';
import type { Revision } from './revision.ts';

const fileMode = 0o600;
const modulesDirectory = 'modules';
/** Files of one directory that are looked at. */
const filesMax = 1000;

export class AppliedFiles {
  readonly #directory: string;
  readonly #store: ConfigStore;

  /** `directory`: `configDir` of the node configuration. */
  constructor(directory: string, store: ConfigStore) {
    this.#directory = directory;
    this.#store = store;
  }

  /** Where a document is on this host. */
  pathOf(document: string): string {
    return join(this.#directory, document);
  }

  /** State of every document if these, by default the head's, are the configuration: as configured, to be written, or changed by hand. */
  async states(documents: Documents = this.#store.head?.documents ?? {}): Promise<readonly DocumentState[]> {
    return documentStates(documents, this.#store.appliedDocuments, await this.read());
  }

  /** The documents as they are on disk: what `adopt` would make a revision of. */
  async read(): Promise<Documents> {
    const documents: Record<string, string> = {};
    const cluster = await textOf(this.pathOf(clusterDocument));
    if (cluster !== undefined) documents[clusterDocument] = cluster;
    for (const name of await namesIn(join(this.#directory, modulesDirectory))) {
      const path = moduleDocument(name.slice(0, -'.yaml'.length));
      const text = await textOf(this.pathOf(path));
      if (text !== undefined) documents[path] = text;
    }
    return documents;
  }

  /**
   * Writes the files of a revision, removes those that it does not have, and notes that it was applied. Idempotent. Throws
   * `config-drifted` for a file that was changed by hand, unless `overwrite`; then nothing was written.
   */
  async write(revision: Revision, overwrite = false): Promise<void> {
    const states = await this.states(revision.documents);
    const drifted = states.filter(({ state }) => state === 'drifted');
    if (drifted.length > 0 && !overwrite) throw driftError(drifted);
    await mkdir(join(this.#directory, modulesDirectory), { recursive: true, mode: 0o700 });
    for (const { path, state } of states) {
      if (state === 'current') continue;
      const file = this.pathOf(path);
      const text = revision.documents[path];
      if (text === undefined) await removeDurably(file);
      else await replaceFile(file, text, fileMode);
    }
    if (this.#store.applied?.id !== revision.id) await this.#store.setApplied(revision);
  }
}

/** What is said of files that were changed by hand, with both ways out. */
export function driftError(drifted: readonly DocumentState[]): WorldError {
  return new WorldError('config-drifted', {
    wanted: 'the files of the configuration as they were applied',
    found: drifted.map(({ because }) => because).join('; '),
    next: 'Make the change a revision (`vmpair config adopt`), or undo it (`vmpair config restore`).',
  });
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    const names = await readdir(directory);
    return names.filter((name) => /^[A-Za-z0-9][A-Za-z0-9_-]{0,30}\.yaml$/.test(name)).slice(0, filesMax);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

async function removeDurably(file: string): Promise<void> {
  await unlink(file).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });
  await flushDirectory(dirname(file));
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
