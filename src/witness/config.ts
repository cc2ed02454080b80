/**
 * The configuration file of the witness: YAML, checked as a whole; each problem names the path of the value.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { WorldError } from '../base/errors.ts';

const portMax = 65535;

const configShape = z.strictObject({
  /** Port 0: any free one, which the `listening` line then names. */
  listen: z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(portMax) }),
  /** PEM files; relative paths start at the directory of the configuration file. */
  tls: z.strictObject({ ca: z.string().min(1), cert: z.string().min(1), key: z.string().min(1) }),
  /** Holds one file per module; used by one witness at a time. */
  dataDir: z.string().min(1),
});

export type WitnessConfig = z.infer<typeof configShape>;

function invalid(file: string, found: string): WorldError {
  const next = `correct ${file} and start the witness again`;
  return new WorldError('config-invalid', { wanted: 'a witness configuration', found, next });
}

/**
 * Throws `WorldError` config-invalid with every problem, each with its path. `file` is for messages and
 * relative paths.
 */
export function parseWitnessConfig(file: string, text: string): WitnessConfig {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw invalid(file, `text that is not YAML: ${error instanceof Error ? error.message : String(error)}`);
  }
  const result = configShape.safeParse(value);
  if (!result.success) {
    const problems = result.error.issues.map(
      (issue) => `${issue.path.join('.') || 'the file'}: ${issue.message}`,
    );
    throw invalid(file, problems.join('; '));
  }
  const at = (relative: string): string => path.resolve(path.dirname(file), relative);
  const { listen, tls, dataDir } = result.data;
  return { listen, tls: { ca: at(tls.ca), cert: at(tls.cert), key: at(tls.key) }, dataDir: at(dataDir) };
}

/** Reads and checks the file. Throws `WorldError` file-missing or config-invalid. */
export function readWitnessConfig(file: string): WitnessConfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const next = 'write the file, or correct the path after --config';
    const problem = { wanted: `to read the configuration ${file}`, found: String(error), next };
    throw new WorldError('file-missing', problem, error);
  }
  return parseWitnessConfig(file, text);
}
