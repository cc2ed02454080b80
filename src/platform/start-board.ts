/**
 * The board of starts as files in the run-time directory of a node: one notice per module, and one lock file per slot.
 *
 * Files and not control sockets: 25 modules that come to their start in the same second read 25 small files each, without an answer
 * of a process that may be busy, hung or about to be restarted. What a file says counts only while the process that wrote it lives,
 * recognised by pid, start time and boot; what an earlier process or an earlier boot left counts for nothing. A slot is a lock on
 * an open file: the kernel frees it with the process, however that ends.
 *
 * A board that cannot be used (no room, no right) never keeps a VM from being started: there is a slot then, and the log says why.
 */
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Log } from '../base/log.ts';
import { parseNotice, type StartNotice } from '../starts/start-notice.ts';
import type { Slot, SlotState, StartBoard, VmStartRecord } from '../starts/start-ports.ts';
import { hostNowMs } from './host-clock.ts';
import { isLockedElsewhere, lockWholeFile } from './libc.ts';
import {
  isAlive,
  parseProcessIdentity,
  type ProcessIdentity,
  readProcessIdentity,
} from './process-identity.ts';

/** Notices that are read; a node runs 64 modules at most. */
const noticesMax = 256;
const noticeSuffix = '.notice.json';

const recordSchema = z.strictObject({
  id: z.string().max(64),
  startedWith: z.record(z.string(), z.string().max(64)),
});
const holderSchema = z.object({ module: z.string(), sinceMs: z.number(), process: z.unknown() });

export interface StartBoardOptions {
  readonly directory: string;
  readonly module: string;
  /** File with the last cold start of the VM. */
  readonly vmStartFile: string;
  readonly log: Log;
  /** Process in whose name it is written; default: this one. */
  readonly process?: ProcessIdentity | undefined;
}

export class FileStartBoard implements StartBoard {
  readonly #options: StartBoardOptions;
  readonly #process: ProcessIdentity | undefined;
  #published = '';
  #vmStart: VmStartRecord | undefined;
  #problem = '';

  constructor(options: StartBoardOptions) {
    this.#options = options;
    this.#process = options.process ?? readProcessIdentity(process.pid);
    this.#attempt('make the directory', undefined, () =>
      mkdirSync(options.directory, { recursive: true, mode: 0o700 }),
    );
    const record = recordSchema.safeParse(readJson(options.vmStartFile));
    this.#vmStart = record.success ? record.data : undefined;
  }

  nowMs(): number {
    return hostNowMs();
  }

  publish(notice: StartNotice): void {
    const text = JSON.stringify({ process: this.#process, notice });
    if (text === this.#published) return;
    this.#attempt('publish a notice', undefined, () => {
      replaceText(join(this.#options.directory, `${notice.module}${noticeSuffix}`), text);
      this.#published = text;
    });
  }

  others(): readonly StartNotice[] {
    const { directory, module } = this.#options;
    const names = this.#attempt('read the notices', [], () => readdirSync(directory));
    return names
      .filter((name) => name.endsWith(noticeSuffix) && name !== `${module}${noticeSuffix}`)
      .slice(0, noticesMax)
      .flatMap((name) => {
        const found = readJson(join(directory, name)) as { process?: unknown; notice?: unknown } | undefined;
        const writer = parseProcessIdentity(found?.process);
        const notice = writer !== undefined && isAlive(writer) ? parseNotice(found?.notice) : undefined;
        return notice === undefined ? [] : [notice];
      });
  }

  slots(count: number): readonly SlotState[] {
    return Array.from({ length: count }, (_none, index) =>
      this.#attempt('look at a slot', { taken: false, holder: undefined }, () => this.#slot(index)),
    );
  }

  takeSlot(count: number): Slot | undefined {
    const unusable: Slot = { release: () => {} };
    return this.#attempt('take a slot', unusable, () => {
      for (let index = 0; index < count; index += 1) {
        const fd = openSync(this.#slotFile(index), 'a+', 0o600);
        if (lockWholeFile(fd)) return this.#holdSlot(fd);
        closeSync(fd);
      }
      return undefined;
    });
  }

  vmStart(): VmStartRecord | undefined {
    return this.#vmStart;
  }

  recordVmStart(record: VmStartRecord): void {
    this.#vmStart = record;
    this.#attempt('record the start of the VM', undefined, () =>
      replaceText(this.#options.vmStartFile, JSON.stringify(record)),
    );
  }

  #slotFile(index: number): string {
    return join(this.#options.directory, `slot-${index + 1}.lock`);
  }

  #slot(index: number): SlotState {
    const fd = openSync(this.#slotFile(index), 'a+', 0o600);
    try {
      if (!isLockedElsewhere(fd)) return { taken: false, holder: undefined };
      const holder = holderSchema.safeParse(parseJson(readFileSync(fd, 'utf8')));
      const writer = holder.success ? parseProcessIdentity(holder.data.process) : undefined;
      // What a holder before left says nothing of the one that has just taken the lock.
      if (!holder.success || writer === undefined || !isAlive(writer))
        return { taken: true, holder: undefined };
      const { module, sinceMs } = holder.data;
      return { taken: true, holder: { module, sinceMs } };
    } finally {
      closeSync(fd);
    }
  }

  #holdSlot(fd: number): Slot {
    const { module } = this.#options;
    ftruncateSync(fd);
    writeSync(fd, JSON.stringify({ module, sinceMs: hostNowMs(), process: this.#process }));
    let holds = true;
    return {
      release: () => {
        if (!holds) return;
        holds = false;
        ftruncateSync(fd);
        closeSync(fd);
      },
    };
  }

  /** Says once what does not work; `otherwise` is the answer then. */
  #attempt<T>(what: string, otherwise: T, work: () => T): T {
    try {
      return work();
    } catch (error) {
      const because = error instanceof Error ? error.message : String(error);
      if (because !== this.#problem) this.#options.log.warn('start-board-unusable', { what, because });
      this.#problem = because;
      return otherwise;
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readJson(file: string): unknown {
  try {
    return parseJson(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Replaces a file as a whole, so that a reader never sees a half; not durably, because it need not outlive the host's boot. */
function replaceText(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
