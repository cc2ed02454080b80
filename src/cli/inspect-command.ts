/** `vmpair inspect FILE`: shows what a metadata file holds, damaged ones too, or a side file. Opens it for reading only and takes no lock. */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Command } from 'commander';
import { WorldError } from '../base/errors.ts';
import {
  inspectMetadata,
  type MetadataReader,
  type MetadataReport,
  renderMetadataReport,
} from '../disk/inspect.ts';
import {
  decodeDescription,
  decodeHead,
  isSideFile,
  sideFileDataOffsetBytes,
  type SideFileDescription,
} from '../disk/side-file.ts';
import { sizeText } from '../base/size-text.ts';
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

export interface SideFileReport extends SideFileDescription {
  /** Ranges whose content is not what was kept. */
  readonly damaged: readonly number[];
}

/** Reads a side file and checks every range of it. Throws `file-missing` when it cannot be read; a string says what is wrong. */
export function inspectSideFile(file: string): SideFileReport | string {
  const fd = openSync(file, 'r');
  try {
    const reader = readerOf(fd);
    const head = decodeHead(reader.read(0, sideFileDataOffsetBytes));
    if (typeof head === 'string') return head;
    const described = decodeDescription(
      head,
      reader.read(head.descriptionOffsetBytes, head.descriptionBytes),
    );
    if (typeof described === 'string') return described;
    const damaged = described.ranges.flatMap(({ offsetBytes, lengthBytes, sha256 }) => {
      const bytes = reader.read(sideFileDataOffsetBytes + offsetBytes, lengthBytes);
      return createHash('sha256').update(bytes).digest('hex') === sha256 ? [] : [offsetBytes];
    });
    return { ...described, damaged };
  } finally {
    closeSync(fd);
  }
}

function startsAsSideFile(file: string): boolean {
  const fd = openSync(file, 'r');
  try {
    return isSideFile(readerOf(fd).read(0, sideFileDataOffsetBytes));
  } finally {
    closeSync(fd);
  }
}

function sideFileText(report: SideFileReport): string {
  const { volume, sizeBytes, node, kept, since, seenAt, madeAt, ranges, damaged } = report;
  const keptBytes = ranges.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  const lines = [
    `side file of volume ${volume} (${sizeText(sizeBytes)}) of module ${report.moduleId}`,
    `  blocks of the copy of ${node} that was given up for that of ${kept}, made at ${madeAt}`,
    `  went on alone at ${since ?? 'an unknown time'}, the split was seen at ${seenAt ?? 'an unknown time'}`,
    `  ${sizeText(keptBytes)} in ${ranges.length} ${ranges.length === 1 ? 'range' : 'ranges'}; byte N of the volume is at ${sideFileDataOffsetBytes} + N`,
    ...ranges.map(
      ({ offsetBytes, lengthBytes }) =>
        `    at ${offsetBytes}, ${sizeText(lengthBytes)}${damaged.includes(offsetBytes) ? ': DAMAGED' : ''}`,
    ),
  ];
  return lines.join('\n');
}

function showSideFile(file: string, json: boolean): void {
  const report = inspectSideFile(file);
  if (typeof report === 'string') {
    printResult(json, { problem: report }, () => `${file}: ${report}`);
    process.exitCode = exitCodes.failed;
    return;
  }
  printResult(json, report, () => sideFileText(report));
  if (report.damaged.length > 0) process.exitCode = exitCodes.failed;
}

export function addInspectCommand(program: Command): void {
  program
    .command('inspect <file>')
    .description(
      'decode a metadata file, or a side file of a split brain, without changing it; exit code 1 when it is damaged',
    )
    .option('--json', 'print one JSON line')
    .action((file: string, { json }: { readonly json?: boolean }) => {
      const report = inspectFile(file);
      if (startsAsSideFile(file)) return showSideFile(file, json ?? false);
      printResult(json ?? false, report, () => renderMetadataReport(report));
      if (report.copies.some((copy) => copy.verdict === 'valid')) return;
      process.exitCode = exitCodes.failed;
      process.stderr.write(`${hintForInvalid(file)}\n`);
    });
}
