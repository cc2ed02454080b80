/**
 * `vmpair witness`: the witness on the machine where it runs. `run` is the witness itself; `status` and `reload` ask the one
 * that runs over its control socket; the others work on its files. None of them speaks to a node.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { WorldError } from '../base/errors.ts';
import { callOnce } from '../platform/control-client.ts';
import { acceptRestored } from '../witness/accept-restored.ts';
import { checkWitness } from '../witness/check.ts';
import { readWitnessConfig } from '../witness/config.ts';
import { initWitness } from '../witness/init.ts';
import { modulesOf, refusedOf, type WitnessStatus } from '../witness/status.ts';
import { inspectStore } from '../witness/store-directory.ts';
import type { ReloadReport } from '../witness/witness.ts';
import { exitCodes, printResult } from './outcome.ts';
import { acceptedText, checkText, initText, recordsText, reloadText, statusText } from './witness-text.ts';

const defaultDirectory = '/etc/vmpair-witness';
const defaultConfig = join(defaultDirectory, 'witness.yaml');
const defaultDataDir = '/var/lib/vmpair-witness';
const defaultPort = 7300;
const portMax = 65_535;

const runExitCodes = `
Exit codes: 0 it was asked to end, 70 its storage failed (start it again), 78 its configuration or certificates cannot
be used, 79 its store was restored, copied or damaged (vmpair witness accept-restored).`;

interface ConfigOptions {
  readonly config: string;
  readonly json?: boolean;
}

interface InitOptions {
  readonly dir: string;
  readonly dataDir: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly json?: boolean;
}

function withConfig(command: Command): Command {
  return command
    .option('--config <file>', 'configuration of the witness', defaultConfig)
    .option('--json', 'print one JSON line');
}

function parseListen(text: string): InitOptions['listen'] {
  const match = /^(.+?)(?::(\d{1,5}))?$/.exec(text);
  const port = Number(match?.[2] ?? defaultPort);
  if (match?.[1] === undefined || port < 1 || port > portMax)
    throw new InvalidArgumentError('wanted ADDRESS or ADDRESS:PORT');
  return { host: match[1], port };
}

export function addWitnessCommands(program: Command): void {
  const witness = program.command('witness').description('the witness, on the third machine');
  witness
    .command('run')
    .description('be the witness, until it is asked to end')
    .option('--config <file>', 'configuration of the witness', defaultConfig)
    .addHelpText('after', runExitCodes)
    .action(async ({ config }: ConfigOptions) => {
      // Not loaded for the other commands: it brings the server and its metrics.
      const { runWitness } = await import('../witness/program.ts');
      await runWitness(resolve(config));
    });
  witness
    .command('init')
    .description('write a commented configuration, and say what is to be done next')
    .option('--dir <directory>', 'where the configuration is to be', defaultDirectory)
    .option('--data-dir <directory>', 'where the records are to be', defaultDataDir)
    .option(
      '--listen <address>',
      'address of this machine that the nodes reach, ADDRESS[:PORT]',
      parseListen,
      {
        host: '0.0.0.0',
        port: defaultPort,
      },
    )
    .option('--json', 'print one JSON line')
    .action(async ({ dir, dataDir, listen, json }: InitOptions) => {
      const made = await initWitness(resolve(dir), resolve(dataDir), listen);
      printResult(json ?? false, made, () => initText(made));
    });
  withConfig(
    witness
      .command('check')
      .description(
        'say what is wrong with the configuration, the certificates and the records; changes nothing',
      ),
  ).action(async ({ config, json }: ConfigOptions) => {
    const report = await checkWitness(resolve(config));
    printResult(json ?? false, report, () => checkText(report));
    if (report.problems.length > 0) process.exitCode = exitCodes.failed;
  });
  withConfig(witness.command('status').description('what the running witness serves and how it is')).action(
    async ({ config, json }: ConfigOptions) => {
      const status = (await askWitness(config, 'status')) as WitnessStatus;
      printResult(json ?? false, status, () => statusText(status));
    },
  );
  withConfig(
    witness
      .command('reload')
      .description('let the running witness read its certificates again; the same as SIGHUP'),
  ).action(async ({ config, json }: ConfigOptions) => {
    const report = (await askWitness(config, 'reload')) as ReloadReport;
    printResult(json ?? false, report, () => reloadText(report));
    if (report.refused.length > 0) process.exitCode = exitCodes.failed;
  });
  withConfig(
    witness.command('records').description('list the records, also while the witness does not run'),
  ).action(async ({ config, json }: ConfigOptions) => {
    const { dataDir } = readWitnessConfig(resolve(config));
    requireStore(dataDir);
    const { problem, records, store } = await inspectStore(dataDir);
    if (problem !== undefined) throw problem;
    const list = { store: store ?? null, modules: modulesOf(records), refused: refusedOf(records) };
    printResult(json ?? false, list, () => recordsText(list));
  });
  withConfig(
    witness
      .command('accept-restored')
      .description('make a restored or damaged store a new one; its records are dropped'),
  )
    .option(
      '--after-snapshot',
      'a snapshot of the whole machine or volume was put back, which can not be seen',
    )
    .action(async ({ config, json, afterSnapshot }: ConfigOptions & { readonly afterSnapshot?: boolean }) => {
      const { dataDir } = readWitnessConfig(resolve(config));
      requireStore(dataDir);
      const accepted = await acceptRestored(dataDir, afterSnapshot ?? false);
      printResult(json ?? false, accepted, () => acceptedText(accepted));
    });
}

/** Throws `control-unreachable` with what to do on the machine of a witness, which has no supervisor. */
async function askWitness(config: string, verbName: string): Promise<unknown> {
  try {
    return await callOnce(readWitnessConfig(resolve(config)).controlSocket, verbName);
  } catch (error) {
    if (!(error instanceof WorldError) || error.code !== 'control-unreachable') throw error;
    const { code, wanted, found } = error;
    const next = 'Start the witness; "vmpair witness check" and its log say why it does not run.';
    throw new WorldError(code, { wanted, found, next }, error);
  }
}

function requireStore(dataDir: string): void {
  if (existsSync(dataDir)) return;
  throw new WorldError('file-missing', {
    wanted: `the store of the witness in ${dataDir}`,
    found: 'no such directory',
    next: 'Correct dataDir in the configuration, or start the witness, which makes it.',
  });
}
