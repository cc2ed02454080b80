/** Reads YAML files, and checks them as yaml-document.ts does. Reads only: a bad file changes nothing. Files have a size limit. */
import { readFileSync, statSync } from 'node:fs';
import type { z } from 'zod';
import { WorldError } from '../base/errors.ts';
import { configBytesMax, configError, parseYaml } from './yaml-document.ts';

/** Text of a configuration file. Throws `file-missing`, or `config-invalid` for one that is too long. */
export function readConfigText(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > configBytesMax) {
      const wanted = `at most ${configBytesMax} bytes`;
      throw configError([{ file, line: 1, column: 1, path: '', wanted, found: `${size} bytes` }]);
    }
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof WorldError) throw error;
    throw new WorldError(
      'file-missing',
      {
        wanted: `to read the configuration file ${file}`,
        found: error instanceof Error ? error.message : String(error),
        next: 'Check the path and the rights of the file.',
      },
      error,
    );
  }
}

/** Reads and checks a YAML file. Throws `file-missing` or `config-invalid`. */
export function readYamlFile<Schema extends z.ZodType>(file: string, schema: Schema): z.infer<Schema> {
  return parseYaml(file, readConfigText(file), schema);
}
