/**
 * The witness as a process, for `vmpair witness run` and the program `src/witness/main`.
 *
 * Standard output: one line {"listening":{"host","port"}} once it accepts connections. Standard error: structured log.
 * SIGTERM and SIGINT end it cleanly, SIGHUP reads the certificates again. Exit codes are those of `witnessExits`.
 */
import { writeSync } from 'node:fs';
import pino from 'pino';
import { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { exitCodeUnusable } from '../platform/program-exit.ts';
import { Witness } from './witness.ts';

export const witnessExits = {
  /** It was asked to end. */
  asked: 0,
  /** The storage failed while it ran: start it again. */
  storageFailed: 70,
  /** The configuration, or what it names, cannot be used; starting again does not help. */
  unusable: exitCodeUnusable,
  /** The store was restored, copied or damaged; starting again does not help. */
  storeRestored: 79,
} as const;

/** How long what is under way may take to end after SIGTERM. */
const stopDeadlineMs = 2000;
const standardOutput = 1;
const standardError = 2;

function logToStandardError(): Log {
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: standardError, sync: true }),
  );
  return {
    debug: (event, fields) => logger.debug({ event, ...fields }),
    info: (event, fields) => logger.info({ event, ...fields }),
    warn: (event, fields) => logger.warn({ event, ...fields }),
    error: (event, fields) => logger.error({ event, ...fields }),
  };
}

async function start(configFile: string): Promise<void> {
  const log = logToStandardError();
  const witness = await Witness.start(configFile, log, (error) => {
    log.error('storage-failed', { because: error.message });
    process.exit(witnessExits.storageFailed);
  });
  const stop = (signal: NodeJS.Signals): void => {
    log.info('stopping', { signal });
    setTimeout(() => process.exit(witnessExits.asked), stopDeadlineMs).unref();
    void witness.close();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  process.on('SIGHUP', () => {
    try {
      witness.reload();
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      log.error('reload-refused', { code: error.code, because: error.message });
    }
  });
  const metrics = witness.metricsAddress === undefined ? {} : { metrics: witness.metricsAddress };
  writeSync(standardOutput, `${JSON.stringify({ listening: witness.address, ...metrics })}\n`);
}

/** Answers when the witness serves; ends the process, with the reason on standard error, when it cannot. */
export async function runWitness(configFile: string): Promise<void> {
  try {
    await start(configFile);
  } catch (error) {
    if (!(error instanceof WorldError)) throw error;
    writeSync(standardError, `${error.message}\n`);
    const { storeRestored, unusable, storageFailed } = witnessExits;
    process.exit(
      error.code === 'store-restored'
        ? storeRestored
        : error.code === 'storage-failed'
          ? storageFailed
          : unusable,
    );
  }
}
