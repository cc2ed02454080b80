/**
 * The metadata of a module in a real file, locked while it is open. Knows files and whose metadata it is; the content
 * is the business of disk/metadata-store.ts.
 */
import fs from 'node:fs';
import type { BlockError } from '../base/block-device.ts';
import { WorldError } from '../base/errors.ts';
import type { MetadataStorage } from '../disk/metadata-storage.ts';
import { createMetadata, metadataSizeBytes, openMetadata } from '../disk/metadata-store.ts';
import type { MetadataStore, OpenedMetadata } from '../disk/metadata-store.ts';
import type { PersistentState } from '../disk/state.ts';
import { DiskFile } from './disk-file.ts';
import { metadataThreads, ThreadShare } from './thread-share.ts';

/** Whose metadata a file must be. */
export type MetadataIdentity = Pick<PersistentState, 'clusterId' | 'moduleId' | 'self' | 'peer' | 'volumes'>;

export interface OpenMetadataFile extends OpenedMetadata {
  /** Waits for what is in flight and unlocks the file. */
  close(done: () => void): void;
}

class FileStorage implements MetadataStorage {
  readonly sizeBytes: number;
  readonly #file: DiskFile;

  constructor(file: DiskFile) {
    this.#file = file;
    this.sizeBytes = file.sizeBytes;
  }

  read(
    offsetBytes: number,
    lengthBytes: number,
    done: (error: BlockError | undefined, bytes: Uint8Array) => void,
  ): void {
    this.#file.read(offsetBytes, lengthBytes, {
      done: (error, chunks) => done(error, chunks[0] ?? new Uint8Array(0)),
    });
  }

  write(offsetBytes: number, bytes: Uint8Array, done: (error: BlockError | undefined) => void): void {
    this.#file.write(offsetBytes, bytes.length, [bytes], false, { done });
  }

  sync(done: (error: BlockError | undefined) => void): void {
    this.#file.flush({ done });
  }
}

/**
 * Creates the metadata file of a module; it must not exist. The answered store is open and durable. Errors:
 * `file-exists`, `file-missing`, `file-not-writable`, `metadata-io`; then the file is not there.
 */
export function createMetadataFile(
  filePath: string,
  state: PersistentState,
  done: (result: WorldError | (Pick<OpenMetadataFile, 'close'> & { readonly store: MetadataStore })) => void,
): void {
  let file: DiskFile;
  try {
    DiskFile.create(filePath, metadataSizeBytes(state.volumes));
    file = DiskFile.openWhole(filePath, new ThreadShare(metadataThreads));
  } catch (error) {
    return done(asWorldError(error));
  }
  createMetadata(new FileStorage(file), state, (error, store) => {
    if (error === undefined) return done({ store, close: (closed) => file.close(closed) });
    fs.unlinkSync(filePath);
    const problem = {
      wanted: `to write new metadata to ${filePath}`,
      found: error,
      next: error === 'no-space' ? 'make room' : 'look at the health of the disk and at the kernel log',
    };
    file.close(() => done(new WorldError('metadata-io', problem)));
  });
}

/**
 * Opens the metadata file of a module. A refused file is not changed. Errors: `file-missing`, `file-not-writable`,
 * `file-locked`, `metadata-damaged`, `metadata-version`, `metadata-mismatch`, `metadata-io`.
 */
export function openMetadataFile(
  filePath: string,
  expected: MetadataIdentity,
  done: (result: WorldError | OpenMetadataFile) => void,
): void {
  let file: DiskFile;
  try {
    file = DiskFile.openWhole(filePath, new ThreadShare(metadataThreads));
  } catch (error) {
    return done(asWorldError(error));
  }
  const judge = (state: PersistentState): WorldError | undefined => mismatch(filePath, state, expected);
  openMetadata(
    new FileStorage(file),
    (outcome) => {
      if (outcome.kind === 'opened')
        return done({ ...outcome.opened, close: (closed) => file.close(closed) });
      file.close(() => done(namingFile(outcome.error, filePath)));
    },
    judge,
  );
}

function mismatch(
  filePath: string,
  state: PersistentState,
  expected: MetadataIdentity,
): WorldError | undefined {
  const facts = (identity: MetadataIdentity): readonly string[] => [
    `cluster ${identity.clusterId}`,
    `module ${identity.moduleId}`,
    `node ${identity.self}`,
    `peer ${identity.peer}`,
    `volumes ${identity.volumes.map(({ name, sizeBytes }) => `${name} of ${sizeBytes} bytes`).join(', ')}`,
  ];
  const found = facts(state);
  const wanted = facts(expected);
  const differing = wanted.flatMap((fact, index) => (fact === found[index] ? [] : [index]));
  if (differing.length === 0) return undefined;
  return new WorldError('metadata-mismatch', {
    wanted: `${filePath} of ${differing.map((index) => wanted[index]).join('; ')}`,
    found: differing.map((index) => found[index]).join('; '),
    next: 'check the paths of metadata and volumes in the configuration of the module',
  });
}

/** The content knows no path; people need it. */
function namingFile(error: WorldError, filePath: string): WorldError {
  if (error.wanted.includes(filePath)) return error;
  return new WorldError(
    error.code,
    { wanted: `${filePath}: ${error.wanted}`, found: error.found, next: error.next },
    error,
  );
}

function asWorldError(error: unknown): WorldError {
  if (error instanceof WorldError) return error;
  throw error;
}
