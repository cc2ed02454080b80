/** `witness.yaml`: where the witness listens, which clusters it serves, and where it keeps its records. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { WorldError } from '../base/errors.ts';
import { parseYaml } from '../config/yaml-document.ts';
import { readYamlFile } from '../config/yaml-file.ts';
import type { IdentitySource } from './cluster-identities.ts';

const portMax = 65535;
const pathText = z.string('a path').min(1, 'a path');
const host = z.string('a host name or address').min(1, 'a host name or address');
const port = z.int('a port, 0 to 65535').min(0, 'a port, 0 to 65535').max(portMax, `a port, 0 to ${portMax}`);
const address = z.strictObject({ host, port });
const identityFiles = z.strictObject({ ca: pathText, cert: pathText, key: pathText });

/** The three ways to say which clusters are served. */
const clusterKeys = ['tls', 'clusters', 'clustersDir'] as const;

const configShape = z
  .strictObject({
    /** Optional, so that files from before it was a key stay valid. */
    version: z.literal(1, 'the format version 1').optional(),
    /** Port 0: any free one, which the `listening` line then names. */
    listen: address,
    /** PEM files of one cluster. Relative paths, here and below, start at the directory of the configuration file. */
    tls: identityFiles.optional(),
    clusters: z.array(identityFiles, 'a list of { ca, cert, key }').min(1, 'at least one').optional(),
    /** Holds one directory per cluster, with the files that `vmpair certificates` makes for a witness. */
    clustersDir: pathText.optional(),
    /** Holds one file per module; used by one witness at a time. */
    dataDir: pathText,
    /** Of the running witness, for `vmpair witness status`. */
    controlSocket: pathText.optional(),
    /** Prometheus metrics and /healthz, in the clear; absent: none. */
    metrics: address.optional(),
  })
  .check((context) => {
    const given = clusterKeys.filter((key) => context.value[key] !== undefined);
    if (given.length === 1) return;
    const message = `exactly one of ${clusterKeys.join(', ')}, found ${given.join(' and ') || 'none'}`;
    context.issues.push({ code: 'custom', message, input: context.value, path: [given[1] ?? 'tls'] });
  });

type Document = z.infer<typeof configShape>;
type Address = z.infer<typeof address>;

/** All paths absolute. */
export interface WitnessConfig {
  readonly listen: Address;
  readonly identities:
    | { readonly kind: 'files'; readonly sources: readonly IdentitySource[] }
    | { readonly kind: 'directory'; readonly directory: string };
  readonly dataDir: string;
  readonly controlSocket: string;
  readonly metrics: Address | undefined;
}

/** In `dataDir`, unless the configuration names another. */
const controlSocketName = 'control.sock';
/** Names of the files in each directory of `clustersDir`; those that `vmpair certificates` and `vmpair cluster` write. */
const directoryFiles = {
  ca: 'ca.pem',
  cert: 'witness.pem',
  key: 'witness.key.pem',
  revoked: 'revoked',
} as const;

function resolved(file: string, document: Document): WitnessConfig {
  const at = (relative: string): string => path.resolve(path.dirname(file), relative);
  const { listen, tls, clusters, clustersDir, metrics } = document;
  const sources = [
    ...(tls === undefined ? [] : [{ name: 'tls', files: tls }]),
    ...(clusters ?? []).map((files, index) => ({ name: `clusters[${index}]`, files })),
  ].map(({ name, files: { ca, cert, key } }) => ({ name, ca: at(ca), cert: at(cert), key: at(key) }));
  const dataDir = at(document.dataDir);
  return {
    listen,
    identities:
      clustersDir === undefined
        ? { kind: 'files', sources }
        : { kind: 'directory', directory: at(clustersDir) },
    dataDir,
    controlSocket:
      document.controlSocket === undefined
        ? path.join(dataDir, controlSocketName)
        : at(document.controlSocket),
    metrics,
  };
}

/** Throws `WorldError` config-invalid with every problem. `file` is for messages and relative paths. */
export function parseWitnessConfig(file: string, text: string): WitnessConfig {
  return resolved(file, parseYaml(file, text, configShape));
}

/** Reads and checks the file. Throws `WorldError` file-missing or config-invalid. */
export function readWitnessConfig(file: string): WitnessConfig {
  return resolved(file, readYamlFile(file, configShape));
}

/** The sets of certificate files that there are now. Throws `WorldError` file-missing. */
export function listIdentitySources({ identities }: WitnessConfig): readonly IdentitySource[] {
  if (identities.kind === 'files') return identities.sources;
  const { directory } = identities;
  let names: string[];
  try {
    names = readdirSync(directory, { withFileTypes: true })
      .filter((entry) => !entry.isFile() && !entry.name.startsWith('.'))
      .map(({ name }) => name)
      .toSorted();
  } catch (error) {
    const problem = {
      wanted: `to read the directory ${directory}, which holds one directory per cluster`,
      found: error instanceof Error ? error.message : String(error),
      next: 'create it, or correct clustersDir',
    };
    throw new WorldError('file-missing', problem, error);
  }
  return names.map((name) => {
    const at = (file: string): string => path.join(directory, name, file);
    const { ca, cert, key, revoked } = directoryFiles;
    return {
      name: path.join(directory, name),
      ca: at(ca),
      cert: at(cert),
      key: at(key),
      revoked: at(revoked),
    };
  });
}
