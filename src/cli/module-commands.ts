/** Commands that talk to one process over its control socket: a module, or the supervisor of a node. */
import type { Command } from 'commander';
import type { ModuleStatus } from '../base/status.ts';
import { modulePaths } from '../config/runtime-paths.ts';
import { callOnce } from '../platform/control-client.ts';
import type { SupervisedStatus } from '../supervisor/supervised-module.ts';
import { printResult, usageError } from './outcome.ts';
import { decisionsText, moduleText, supervisedText } from './status-text.ts';

/** Deadline of a command that changes what runs, ms: longer than a guest may take to shut down. */
const commandDeadlineMs = 120_000;
/** Where the run-time files of this host's modules are, unless the command line says otherwise. */
const defaultRuntimeDir = '/run/vmpair';

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

interface ModuleOptions {
  readonly control?: string;
  readonly runtimeDir: string;
  readonly json?: boolean;
}

/** A command for one module of this host, named by its VM or by its control socket. */
function onModule(command: Command): Command {
  return command
    .argument('[vm]', 'name of the module')
    .option('--runtime-dir <directory>', 'run-time directory of the node', defaultRuntimeDir)
    .option('--control <path>', 'control socket of the module, instead of its name')
    .option('--json', 'print one JSON line');
}

function controlOf(vm: string | undefined, { control, runtimeDir }: ModuleOptions): string {
  if (control !== undefined) return control;
  if (vm === undefined) throw usageError('neither the name of a VM nor --control');
  return modulePaths(runtimeDir, vm).control;
}

export function addModuleCommands(program: Command): void {
  onModule(program.command('status').description('state of a module, with the reason')).action(
    async (vm: string | undefined, options: ModuleOptions) => {
      const status = (await callOnce(controlOf(vm, options), 'status')) as ModuleStatus;
      printResult(options.json ?? false, status, () => moduleText(status));
    },
  );
  onModule(program.command('explain').description('the last decisions of a module, newest first')).action(
    async (vm: string | undefined, options: ModuleOptions) => {
      const status = (await callOnce(controlOf(vm, options), 'status')) as ModuleStatus;
      printResult(options.json ?? false, status.decisions, () => decisionsText(status));
    },
  );
  for (const [verbName, description] of Object.entries(moduleVerbs)) {
    onModule(program.command(verbName).description(description)).action(
      async (vm: string | undefined, options: ModuleOptions) => {
        const result = await callOnce(controlOf(vm, options), verbName, {}, commandDeadlineMs);
        printResult(options.json ?? false, result, () => `${verbName}: done`);
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
