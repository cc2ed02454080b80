/**
 * `node.yaml`: what belongs to one host: its name, where its run-time files and secrets are, and which modules its
 * supervisor keeps running. `docs/configuration.md` describes every key.
 */
import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { WorldError } from '../base/errors.ts';
import { type BootId, hexIdPattern, type NodeName, nodeNamePattern } from '../base/identity.ts';
import { supervisorSocket } from './runtime-paths.ts';
import { type StartsConfig, startsSchema } from './start-config.ts';
import { readYamlFile } from './yaml-file.ts';

const absolutePath = z.string('an absolute path').refine(isAbsolute, 'an absolute path');

/** Linux makes this file new with every boot. */
export const defaultBootIdFile = '/proc/sys/kernel/random/boot_id';

export interface NodeConfig {
  readonly node: NodeName;
  /** Sockets, process records and logs; on a file system that a boot empties (`/run`). */
  readonly runtimeDir: string;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly bootIdFile: string;
  /** Faults that a lab switches on from outside; absent in production. */
  readonly faults: { readonly cutMarkerFile?: string | undefined };
  /** Absolute paths of the `module.yaml` files of this node. */
  readonly modules: readonly string[];
  readonly supervisor: { readonly controlSocket: string };
  readonly starts: StartsConfig;
}

const nodeSchema = z
  .strictObject({
    version: z.literal(1, 'the format version 1'),
    node: z
      .string('a node name')
      .regex(nodeNamePattern, 'a node name of 1 to 31 letters, digits, "-" or "_", not "both" or "none"'),
    runtimeDir: absolutePath,
    tls: z.strictObject({ ca: absolutePath, cert: absolutePath, key: absolutePath }),
    bootIdFile: absolutePath.default(defaultBootIdFile),
    faults: z.strictObject({ cutMarkerFile: absolutePath.optional() }).default({}),
    modules: z.array(absolutePath, 'a list of absolute paths').default([]),
    supervisor: z.strictObject({ controlSocket: absolutePath.optional() }).default({}),
    starts: startsSchema.prefault({}),
  })
  .transform(
    ({ version: _version, supervisor, ...rest }): NodeConfig => ({
      ...rest,
      supervisor: {
        controlSocket: supervisor.controlSocket ?? supervisorSocket(rest.runtimeDir),
      },
    }),
  );

/** Reads a `node.yaml`. Throws `file-missing` or `config-invalid`. */
export function readNodeConfig(file: string): NodeConfig {
  return readYamlFile(file, nodeSchema);
}

/** The current boot id of the host, as 32 hex digits. Throws `file-missing` or `config-invalid`. */
export function readBootId(file: string): BootId {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    const next = 'Correct bootIdFile in the node configuration.';
    throw new WorldError('file-missing', { wanted: `the boot id in ${file}`, found, next }, error);
  }
  const id = text.trim().replaceAll('-', '').toLowerCase();
  if (hexIdPattern.test(id)) return id;
  throw new WorldError('config-invalid', {
    wanted: `a boot id of 32 hex digits in ${file}`,
    found: JSON.stringify(text.slice(0, 60)),
    next: 'Correct bootIdFile in the node configuration.',
  });
}
