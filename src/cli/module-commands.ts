/** Commands that talk to one process over its control socket: a module, or the supervisor of a node. */
import type { Command } from 'commander';
import type { ModuleStatus } from '../base/status.ts';
import { callOnce } from '../platform/control-client.ts';
import type { SupervisedStatus } from '../supervisor/supervised-module.ts';
import { printResult } from './outcome.ts';
import { moduleText, supervisedText } from './status-text.ts';

/** Deadline of a command that changes what runs, ms. */
const commandDeadlineMs = 60_000;

interface ControlOptions {
  readonly control: string;
  readonly json?: boolean;
}

/** Verb of a module's control socket -> what the help says. */
const moduleVerbs: Readonly<Record<string, string>> = {
  start: 'let the module start: it joins its peer, and runs the VM if it is to be primary',
  stop: 'stop the VM if it runs here, and leave the pair',
  prim: 'start as primary',
  second: 'start as secondary',
  swap: 'move the VM to the other node',
};

function onControlSocket(command: Command): Command {
  return command
    .requiredOption('--control <path>', 'control socket of the process')
    .option('--json', 'print one JSON line');
}

export function addModuleCommands(program: Command): void {
  onControlSocket(program.command('status').description('state of a module, with the reason')).action(
    async ({ control, json }: ControlOptions) => {
      const status = (await callOnce(control, 'status')) as ModuleStatus;
      printResult(json ?? false, status, () => moduleText(status));
    },
  );
  for (const [verbName, description] of Object.entries(moduleVerbs)) {
    onControlSocket(program.command(verbName).description(description)).action(
      async ({ control, json }: ControlOptions) => {
        const result = await callOnce(control, verbName, {}, commandDeadlineMs);
        printResult(json ?? false, result, () => `${verbName}: done`);
      },
    );
  }
}

/** Verb of a supervisor's control socket for one module -> what the help says. */
const supervisorVerbs: Readonly<Record<string, string>> = {
  start: 'start the process of a module',
  stop: 'end the process of a module and keep it ended',
  restart: 'end the process of a module and start it again',
};

export function addSupervisorCommands(program: Command): void {
  const supervisor = program.command('supervisor').description('the processes of the modules of a node');
  onControlSocket(supervisor.command('list').description('modules and their processes')).action(
    async ({ control, json }: ControlOptions) => {
      const list = (await callOnce(control, 'list')) as SupervisedStatus[];
      printResult(json ?? false, list, () => supervisedText(list));
    },
  );
  for (const [verbName, description] of Object.entries(supervisorVerbs)) {
    onControlSocket(supervisor.command(`${verbName} <module>`).description(description)).action(
      async (module: string, { control, json }: ControlOptions) => {
        const status = (await callOnce(control, verbName, { module }, commandDeadlineMs)) as SupervisedStatus;
        printResult(json ?? false, status, () => supervisedText([status]));
      },
    );
  }
  onControlSocket(supervisor.command('shutdown').description('end the supervisor; the modules run on'))
    .option('--stop-modules', 'end the module processes too')
    .action(async ({ control, json, stopModules }: ControlOptions & { readonly stopModules?: boolean }) => {
      const args = { stopModules: stopModules ?? false };
      const result = await callOnce(control, 'shutdown', args, commandDeadlineMs);
      printResult(json ?? false, result, () => 'shutdown: done');
    });
}
