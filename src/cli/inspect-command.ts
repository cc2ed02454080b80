/** `vmpair inspect FILE`: shows what a metadata file holds, damaged ones too. Opens it for reading only and takes no lock. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Command } from 'commander';
import { WorldError } from '../base/errors.ts';
import {
  inspectMetadata,
  type MetadataReader,
  type MetadataReport,
  renderMetadataReport,
} from '../disk/inspect.ts';
import { exitCodes, printResult } from './outcome.ts';

const readFailures: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EISDIR: 'a directory',
  EACCES: 'no right to read it',
};

/** Reads the report of one file. Throws `file-missing` when it cannot be read. */
export function inspectFile(file: string): MetadataReport {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'r');
    return inspectMetadata(readerOf(fd));
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw new WorldError(
      'file-missing',
      {
        wanted: `to read the metadata file ${file}`,
        found: readFailures[String('code' in error ? error.code : '')] ?? error.message,
        next: 'Name the metadata file of a module: the "metadata" of its module.yaml.',
      },
      error,
    );
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function readerOf(fd: number): MetadataReader {
  return {
    sizeBytes: fstatSync(fd).size,
    read(offsetBytes, lengthBytes) {
      const bytes = new Uint8Array(lengthBytes);
      let done = 0;
      while (done < lengthBytes) {
        const count = readSync(fd, bytes, done, lengthBytes - done, offsetBytes + done);
        // The file may shrink meanwhile; what is missing reads as zeroes, which no record is.
        if (count === 0) break;
        done += count;
      }
      return bytes;
    },
  };
}

function hintForInvalid(file: string): string {
  return `${file} is no metadata file of vmpair, or it is destroyed; docs/setup.md says what to do then`;
}

export function addInspectCommand(program: Command): void {
  program
    .command('inspect <file>')
    .description(
      'decode a metadata file, damaged ones too, without changing it; exit code 1 when no copy is valid',
    )
    .option('--json', 'print one JSON line')
    .action((file: string, { json }: { readonly json?: boolean }) => {
      const report = inspectFile(file);
      printResult(json ?? false, report, () => renderMetadataReport(report));
      if (report.copies.some((copy) => copy.verdict === 'valid')) return;
      process.exitCode = exitCodes.failed;
      process.stderr.write(`${hintForInvalid(file)}\n`);
    });
}
