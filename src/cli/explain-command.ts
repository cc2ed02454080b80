/**
 * `vmpair explain`: what a module decided, and the verdict that a handshake with its peer would come to now; or, from two
 * metadata files, what would happen if these two copies met. Changes nothing.
 */
import type { Command } from 'commander';
import { WorldError } from '../base/errors.ts';
import type { ModuleStatus } from '../base/status.ts';
import { type DryRun, dryRun, factsOfState, type KnownCopy, otherwise } from '../cluster/dry-run.ts';
import { chosenState } from '../disk/inspect.ts';
import { extentSizeBytes, type PersistentState } from '../disk/state.ts';
import { callOnce } from '../platform/control-client.ts';
import { inspectFile } from './inspect-command.ts';
import { controlOf, type ControlOptions, onModule } from './module-commands.ts';
import { printResult, usageError } from './outcome.ts';
import { decisionsText, moduleText } from './status-text.ts';

interface ExplainOptions extends ControlOptions {
  readonly mine?: string;
  readonly theirs?: string;
}

export interface FileMeeting extends DryRun {
  /** What the files cannot tell and what would come of it. */
  readonly otherwise: readonly string[];
}

interface FileCopy {
  readonly file: string;
  readonly state: PersistentState;
  readonly known: KnownCopy;
}

function readCopy(file: string): FileCopy {
  const report = inspectFile(file);
  const state = chosenState(report);
  if (state === undefined) {
    throw new WorldError('metadata-damaged', {
      wanted: `a valid superblock in ${file}`,
      found: `${report.verdict.rule}: ${report.verdict.because}`,
      next: `look at it with "vmpair inspect ${file}"`,
    });
  }
  // Bits and extents may overlap: an upper bound.
  const coveredBytes = report.volumes.reduce((sum, volume) => {
    if (volume === undefined) return sum;
    const hotBytes = volume.log.hotExtents.length * extentSizeBytes;
    return sum + Math.min(volume.sizeBytes, volume.bitmap.dirtyBytes + hotBytes);
  }, 0);
  return {
    file,
    state,
    known: { node: state.self, facts: factsOfState(state), origin: 'metadata-file', coveredBytes },
  };
}

/** What would happen if the copies of two metadata files met. Throws `metadata-damaged`, `metadata-mismatch`, `file-missing`. */
export function explainFiles(mineFile: string, theirsFile: string): FileMeeting {
  const [mine, theirs] = [readCopy(mineFile), readCopy(theirsFile)];
  const who = ({ state }: FileCopy, swapped: boolean): string => {
    const nodes = swapped ? [state.peer, state.self] : [state.self, state.peer];
    const volumes = state.volumes.map(({ name, sizeBytes }) => `${name} of ${sizeBytes} bytes`).join(', ');
    return `cluster ${state.clusterId}, module ${state.moduleId}, nodes ${nodes.join(' and ')}, ${volumes}`;
  };
  const [wanted, found] = [who(mine, false), who(theirs, true)];
  if (wanted !== found) {
    throw new WorldError('metadata-mismatch', {
      wanted: `the metadata of the peer of ${mine.file}: ${wanted}`,
      found: `in ${theirs.file}: ${found}`,
      next: 'name the metadata files of one module, one of each node',
    });
  }
  const preferMine = mine.state.self < mine.state.peer;
  const volumeBytes = mine.state.volumes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return {
    ...dryRun(mine.known, theirs.known, preferMine, volumeBytes),
    otherwise: otherwise(mine.known, theirs.known, preferMine),
  };
}

function meetingText(meeting: FileMeeting): string {
  return [
    meeting.sentence,
    'Both modules are taken to start anew, on hosts that were not rebooted, without a running VM.',
    ...meeting.otherwise,
  ].join('\n');
}

export function addExplainCommand(program: Command): void {
  onModule(
    program
      .command('explain')
      .description('the last decisions of a module, and what a handshake with its peer would decide now'),
  )
    .option('--mine <file>', 'instead: the metadata file of one node')
    .option('--theirs <file>', '... and that of the other: what if these two met')
    .action(async (vm: string | undefined, options: ExplainOptions) => {
      const { mine, theirs, json } = options;
      if (mine !== undefined || theirs !== undefined) {
        if (mine === undefined || theirs === undefined)
          throw usageError('only one of --mine and --theirs, which belong together');
        if (vm !== undefined) throw usageError(`both a VM (${vm}) and metadata files`);
        const meeting = explainFiles(mine, theirs);
        return printResult(json ?? false, meeting, () => meetingText(meeting));
      }
      const control = controlOf(vm, options);
      const status = (await callOnce(control, 'status')) as ModuleStatus;
      const answer = (await callOnce(control, 'explain')) as { readonly dryRun: DryRun };
      printResult(json ?? false, answer, () =>
        [moduleText(status), answer.dryRun.sentence, decisionsText(status)].join('\n'),
      );
    });
}
