#!/usr/bin/env node
/**
 * Program: the command line. It decides nothing: each command asks a process over its control socket, or drives a lab.
 * Errors are three lines on standard error, or one JSON line with `--json`; exit codes are in outcome.ts.
 */
import { Command, CommanderError } from 'commander';
import { WorldError } from '../base/errors.ts';
import { readVersion } from '../platform/program-path.ts';
import { addAccessCommands } from './access-commands.ts';
import { addAgentCommands } from './agent-commands.ts';
import { addArbiterCommand } from './arbiter-command.ts';
import { addCertificatesCommand } from './certificates-command.ts';
import { addClusterCommands } from './cluster-commands.ts';
import { addConfigCommand } from './config-command.ts';
import { addExplainCommand } from './explain-command.ts';
import { addFenceCommand } from './fence-command.ts';
import { addInspectCommand } from './inspect-command.ts';
import { addLabCommands } from './lab-commands.ts';
import { addMaintenanceCommand } from './maintenance-command.ts';
import { addModuleCommands, addSupervisorCommands } from './module-commands.ts';
import { addNodeCommands } from './node-commands.ts';
import { addVerifyCommand } from './verify-command.ts';
import { addWitnessCommands } from './witness-commands.ts';
import { exitCodeFor, exitCodes, renderError, systemError, usageError } from './outcome.ts';

const exitCodeHelp = `
Exit codes: 0 done, 1 failed, 2 wrong command line, 3 the process does not answer, 4 it refused.`;

function buildProgram(): Command {
  const program = new Command('vmpair')
    .description('two-node high availability for virtual machines without shared storage')
    .version(readVersion())
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .addHelpText('after', exitCodeHelp);
  addModuleCommands(program);
  addExplainCommand(program);
  addMaintenanceCommand(program);
  addVerifyCommand(program);
  addFenceCommand(program);
  addArbiterCommand(program);
  addSupervisorCommands(program);
  addClusterCommands(program);
  addNodeCommands(program);
  addAgentCommands(program);
  addAccessCommands(program);
  addCertificatesCommand(program);
  addConfigCommand(program);
  addInspectCommand(program);
  addWitnessCommands(program);
  addLabCommands(program);
  return program;
}

/** What commander throws: help and version are no errors; everything else is a wrong command line. */
function commandLineError(error: CommanderError): WorldError | undefined {
  if (error.exitCode === 0) return undefined;
  const message = error.code === 'commander.help' ? 'no command' : error.message.replace(/^error: /, '');
  return usageError(message);
}

const json = process.argv.includes('--json');
try {
  await buildProgram().parseAsync();
} catch (error) {
  const known = error instanceof CommanderError ? commandLineError(error) : (systemError(error) ?? error);
  if (known instanceof WorldError) {
    process.stderr.write(renderError(known, json));
    process.exitCode = exitCodeFor(known);
  } else if (known !== undefined) {
    throw known;
  } else {
    process.exitCode = exitCodes.done;
  }
}
