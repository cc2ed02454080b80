/** `witness.yaml`: where the witness listens, with which certificate, and where it keeps its records. */
import path from 'node:path';
import { z } from 'zod';
import { parseYaml, readYamlFile } from '../config/yaml-file.ts';

const portMax = 65535;
const pathText = z.string('a path').min(1, 'a path');
const host = z.string('a host name or address').min(1, 'a host name or address');
const port = z.int('a port, 0 to 65535').min(0, 'a port, 0 to 65535').max(portMax, `a port, 0 to ${portMax}`);

const configShape = z.strictObject({
  /** Optional, so that files from before it was a key stay valid. */
  version: z.literal(1, 'the format version 1').optional(),
  /** Port 0: any free one, which the `listening` line then names. */
  listen: z.strictObject({ host, port }),
  /** PEM files. Relative paths, here and below, start at the directory of the configuration file. */
  tls: z.strictObject({ ca: pathText, cert: pathText, key: pathText }),
  /** Holds one file per module; used by one witness at a time. */
  dataDir: pathText,
});

type Document = z.infer<typeof configShape>;

export type WitnessConfig = Omit<Document, 'version'>;

function resolved(file: string, { listen, tls, dataDir }: Document): WitnessConfig {
  const at = (relative: string): string => path.resolve(path.dirname(file), relative);
  return { listen, tls: { ca: at(tls.ca), cert: at(tls.cert), key: at(tls.key) }, dataDir: at(dataDir) };
}

/** Throws `WorldError` config-invalid with every problem. `file` is for messages and relative paths. */
export function parseWitnessConfig(file: string, text: string): WitnessConfig {
  return resolved(file, parseYaml(file, text, configShape));
}

/** Reads and checks the file. Throws `WorldError` file-missing or config-invalid. */
export function readWitnessConfig(file: string): WitnessConfig {
  return resolved(file, readYamlFile(file, configShape));
}
