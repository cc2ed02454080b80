/**
 * `node dist/src/witness/main.js --config witness.yaml`: the witness as a program.
 *
 * Standard output: one line {"listening":{"host","port"}} once it accepts connections. Standard error:
 * structured log. SIGTERM and SIGINT end it cleanly. Exit codes: 0 asked to end; 78 the configuration, or
 * what it names, cannot be used (standard error has the reason); 70 the storage failed while it ran: start it
 * again.
 */
import { writeSync } from 'node:fs';
import { Command } from 'commander';
import pino from 'pino';
import { WorldError } from '../base/errors.ts';
import { readIdentity } from '../platform/tls.ts';
import { readWitnessConfig } from './config.ts';
import { RecordStore } from './record-store.ts';
import { startWitnessServer } from './server.ts';
import type { Log } from '../base/log.ts';

const exitUnusableConfig = 78;
const exitStorageFailed = 70;
/** How long what is under way may take to end after SIGTERM. */
const stopDeadlineMs = 2000;
const standardOutput = 1;
const standardError = 2;

function logToStandardError(): Log {
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination(standardError),
  );
  return {
    debug: (event, fields) => logger.debug({ event, ...fields }),
    info: (event, fields) => logger.info({ event, ...fields }),
    warn: (event, fields) => logger.warn({ event, ...fields }),
    error: (event, fields) => logger.error({ event, ...fields }),
  };
}

async function runWitness(configFile: string): Promise<void> {
  const log = logToStandardError();
  const config = readWitnessConfig(configFile);
  const identity = readIdentity(config.tls);
  if (identity.self.role !== 'witness') {
    throw new WorldError('certificate-rejected', {
      wanted: 'the certificate of a witness in tls.cert',
      found: `that of ${identity.self.role} ${identity.self.name}`,
      next: 'issue a certificate with the role witness',
    });
  }
  const store = await RecordStore.open(config.dataDir, (error) => {
    log.error('storage-failed', { because: error.message });
    process.exit(exitStorageFailed);
  });
  const server = await startWitnessServer({ listen: config.listen, identity, store, log });
  const stop = (signal: NodeJS.Signals): void => {
    log.info('stopping', { signal });
    setTimeout(() => process.exit(0), stopDeadlineMs).unref();
    void server.close().then(() => store.close());
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  writeSync(standardOutput, `${JSON.stringify({ listening: server.address })}\n`);
}

const command = new Command('witness')
  .description('keeps one record per protected VM, so that two nodes never go on alone both')
  .requiredOption('--config <file>', 'configuration of the witness, YAML')
  .action(async ({ config }: { config: string }) => {
    try {
      await runWitness(config);
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      writeSync(standardError, `${error.message}\n`);
      process.exit(exitUnusableConfig);
    }
  });
await command.parseAsync();
