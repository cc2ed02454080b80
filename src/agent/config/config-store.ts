/**
 * The revisions of one node, durable: one file per revision, and `head.json` that names the newest one. A revision counts from the
 * instant in which `head.json` names it; its own file is durable before. What a crash leaves beside that is removed at the next
 * start. It keeps the newest `revisionsKept` revisions.
 *
 * `pending.json` is a revision that the peer was asked to commit and whose answer is missing. `applied.json` is the revision whose files
 * were written last. Every file is checked when it is read; one that is not what was written is refused by name, never guessed.
 */
import { z } from 'zod';
import { assertInvariant } from '../../base/assert.ts';
import { WorldError } from '../../base/errors.ts';
import type { Documents } from '../../config/configuration-set.ts';
import type { HeadFacts } from './compare-heads.ts';
import {
  type Digest,
  follows,
  type Revision,
  revisionIdPattern,
  revisionProblem,
  revisionSchema,
} from './revision.ts';
import type { RevisionFiles } from './revision-files.ts';

/** Revisions that are kept; the oldest are dropped. */
export const revisionsKept = 200;
const headFile = 'head.json';
const pendingFile = 'pending.json';
const appliedFile = 'applied.json';

const headSchema = z.strictObject({ number: z.int().min(1), id: z.string().regex(revisionIdPattern) });
const pendingSchema = z.strictObject({ token: z.string(), revision: revisionSchema });
const namePattern = /^(\d{8})-([0-9a-f]{64})\.json$/;

/** What the peer was asked to commit, and has not answered. */
export interface PendingRevision {
  /** Of the reservation at the peer. */
  readonly token: string;
  readonly revision: Revision;
}

/** What a list of revisions shows. */
export type RevisionEntry = Omit<Revision, 'documents'>;

export class ConfigStore {
  readonly #files: RevisionFiles;
  readonly #digest: Digest;
  readonly #kept: number;
  /** Oldest first. */
  #chain: RevisionEntry[] = [];
  #head: Revision | undefined;
  #pending: PendingRevision | undefined;
  #applied: Revision | undefined;

  /** Reads and checks everything. Throws `revision-damaged` by the name of the file. */
  static async open(files: RevisionFiles, digest: Digest, kept = revisionsKept): Promise<ConfigStore> {
    const store = new ConfigStore(files, digest, kept);
    await store.#load();
    return store;
  }

  private constructor(files: RevisionFiles, digest: Digest, kept: number) {
    this.#files = files;
    this.#digest = digest;
    this.#kept = kept;
  }

  /** `undefined`: this node has no configuration yet. */
  get head(): Revision | undefined {
    return this.#head;
  }
  get pending(): PendingRevision | undefined {
    return this.#pending;
  }
  /** The revision whose files were written last; its documents are empty before the first. */
  get applied(): Revision | undefined {
    return this.#applied;
  }
  /** Newest first. */
  get entries(): readonly RevisionEntry[] {
    return this.#chain.toReversed();
  }
  get facts(): HeadFacts {
    return { ids: this.#chain.map(({ id }) => id), number: this.#head?.number ?? 0 };
  }

  /** A revision that is kept. Throws `config-invalid` for another one, `revision-damaged`. */
  async revision(id: string): Promise<Revision> {
    const entry = this.#chain.find((each) => each.id === id);
    if (entry !== undefined) return this.#read(nameOf(entry));
    throw new WorldError('config-invalid', {
      wanted: `one of the ${this.#chain.length} revisions that are kept`,
      found: id,
      next: 'See `vmpair config history`.',
    });
  }

  /** The revisions after `id`, or all that are kept, oldest first, at most `count`. */
  async revisionsAfter(id: string | undefined, count: number): Promise<readonly Revision[]> {
    const from = id === undefined ? 0 : this.#chain.findIndex((each) => each.id === id) + 1;
    const found: Revision[] = [];
    for (const entry of this.#chain.slice(from, from + count)) found.push(await this.#read(nameOf(entry)));
    return found;
  }

  /** Makes a revision that follows the head the head, durably. Drops the oldest, and what was pending. */
  async append(revision: Revision): Promise<void> {
    assertInvariant(follows(revision, this.#head), `revision ${revision.number} follows the head`);
    await this.#write(nameOf(revision), revision);
    await this.#write(headFile, { number: revision.number, id: revision.id });
    this.#chain.push(entryOf(revision));
    this.#head = revision;
    await this.clearPending();
    await this.#dropOldest();
  }

  /**
   * Gives up every revision after `ancestor` for these, which follow it one after the other; `undefined`: gives up all. One write
   * decides: before it the old history counts, after it the new one.
   */
  async replaceAfter(ancestor: string | undefined, revisions: readonly Revision[]): Promise<void> {
    const last = revisions.at(-1);
    assertInvariant(last !== undefined, 'a history is replaced by one that is not empty');
    const keptCount = this.#chain.findIndex(({ id }) => id === ancestor) + 1;
    for (const revision of revisions) await this.#write(nameOf(revision), revision);
    await this.#write(headFile, { number: last.number, id: last.id });
    const given = this.#chain.slice(keptCount);
    this.#chain = [...this.#chain.slice(0, keptCount), ...revisions.map(entryOf)];
    this.#head = last;
    await this.clearPending();
    for (const entry of given) {
      if (!this.#chain.some(({ id }) => id === entry.id)) await this.#files.remove(nameOf(entry));
    }
    await this.#dropOldest();
  }

  async setPending(pending: PendingRevision): Promise<void> {
    await this.#write(pendingFile, pending);
    this.#pending = pending;
  }

  async clearPending(): Promise<void> {
    if (this.#pending === undefined) return;
    await this.#files.remove(pendingFile);
    this.#pending = undefined;
  }

  /** The files of this revision were written. */
  async setApplied(revision: Revision): Promise<void> {
    await this.#write(appliedFile, revision);
    this.#applied = revision;
  }

  /** Documents of the revision that was applied last. */
  get appliedDocuments(): Documents {
    return this.#applied?.documents ?? {};
  }

  async #load(): Promise<void> {
    const names = await this.#files.list();
    const head = this.#parse(headFile, await this.#files.read(headFile), headSchema);
    const byId = new Map<string, string>();
    for (const name of names) {
      const [, , id] = namePattern.exec(name) ?? [];
      if (id !== undefined) byId.set(id, name);
    }
    const used = new Set<string>();
    let next: string | undefined = head?.id;
    while (next !== undefined) {
      const name = byId.get(next);
      if (name === undefined) {
        if (this.#chain.length > 0) break;
        throw damaged(`${this.#files.directory}/${headFile}`, `the head ${next}, which is not there`);
      }
      const revision: Revision = await this.#read(name);
      const child = this.#chain[0];
      if (child !== undefined && !follows(child, revision))
        throw damaged(
          `${this.#files.directory}/${name}`,
          `revision ${revision.number} before ${child.number}`,
        );
      this.#head ??= revision;
      used.add(name);
      this.#chain.unshift(entryOf(revision));
      next = revision.parent;
    }
    this.#applied = this.#checked(
      appliedFile,
      await this.#files.read(appliedFile),
      revisionSchema,
      (value) => value,
    );
    const pending = this.#checked(
      pendingFile,
      await this.#files.read(pendingFile),
      pendingSchema,
      ({ revision }) => revision,
    );
    // Committed or overtaken before the crash: what is pending follows the head.
    if (pending !== undefined && follows(pending.revision, this.#head)) this.#pending = pending;
    else if (pending !== undefined) await this.#files.remove(pendingFile);
    for (const name of byId.values()) if (!used.has(name)) await this.#files.remove(name);
    await this.#dropOldest();
  }

  async #dropOldest(): Promise<void> {
    while (this.#chain.length > this.#kept) {
      const [oldest] = this.#chain;
      // The name first: a chain that is cut by a crash in between begins later, and is whole.
      await this.#files.remove(nameOf(oldest as RevisionEntry));
      this.#chain.shift();
    }
  }

  async #read(name: string): Promise<Revision> {
    const found = this.#checked(name, await this.#files.read(name), revisionSchema, (value) => value);
    if (found === undefined) throw damaged(`${this.#files.directory}/${name}`, 'no file');
    if (nameOf(found) !== name) throw damaged(`${this.#files.directory}/${name}`, `revision ${found.id}`);
    return found;
  }

  /** A file that holds a revision, checked; `undefined`: there is no file. */
  #checked<Schema extends z.ZodType>(
    name: string,
    text: string | undefined,
    schema: Schema,
    revisionIn: (value: z.infer<Schema>) => unknown,
  ): z.infer<Schema> | undefined {
    const value = this.#parse(name, text, schema);
    if (value === undefined) return undefined;
    const problem = revisionProblem(revisionIn(value), this.#digest);
    if (problem === undefined) return value;
    throw damaged(`${this.#files.directory}/${name}`, problem);
  }

  #parse<Schema extends z.ZodType>(
    name: string,
    text: string | undefined,
    schema: Schema,
  ): z.infer<Schema> | undefined {
    if (text === undefined) return undefined;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw damaged(
        `${this.#files.directory}/${name}`,
        error instanceof Error ? error.message : String(error),
      );
    }
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw damaged(
      `${this.#files.directory}/${name}`,
      `${issue?.path.join('.') || 'the whole'}: ${issue?.message ?? 'something else'}`,
    );
  }

  #write(name: string, value: object): Promise<void> {
    return this.#files.replace(name, `${JSON.stringify(value, null, 2)}\n`);
  }
}

function nameOf({ number, id }: Pick<Revision, 'number' | 'id'>): string {
  return `${String(number).padStart(8, '0')}-${id}.json`;
}

function entryOf({ documents: _documents, ...entry }: Revision): RevisionEntry {
  return entry;
}

function damaged(file: string, found: string): WorldError {
  return new WorldError('revision-damaged', {
    wanted: `${file}: what vmpair wrote`,
    found,
    next: 'Move its directory away and start the agent again: it takes the configuration over from the other node.',
  });
}
