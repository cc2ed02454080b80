/** Commands that talk to one process over its control socket: a module, or the supervisor of a node. */
import type { Command } from 'commander';
import type { ModuleStatus } from '../base/status.ts';
import { isModuleName } from '../config/module-config.ts';
import { modulePaths, supervisorSocket } from '../config/runtime-paths.ts';
import { callOnce } from '../platform/control-client.ts';
import type { SupervisedStatus } from '../supervisor/supervised-module.ts';
import { printResult, usageError } from './outcome.ts';
import { moduleText, supervisedText } from './status-text.ts';

/** Deadline of a command that changes what runs, ms: longer than a guest may take to shut down. */
const commandDeadlineMs = 120_000;
/** Where the run-time files of this host's modules are, unless the command line says otherwise. */
const defaultRuntimeDir = '/run/vmpair';

export interface ControlOptions {
  readonly control?: string;
  readonly runtimeDir: string;
  readonly json?: boolean;
}

interface PrimOptions extends ControlOptions {
  readonly fromKeptImage?: boolean;
  readonly loseSince?: string;
  readonly peerIsOff?: string;
}

/** Verb of a module's control socket -> what the help says. */
const moduleVerbs: Readonly<Record<string, string>> = {
  start: 'let the module start: it joins its peer, and runs the VM if it is to be primary',
  stop: 'stop the VM if it runs here, and leave the pair',
  second: 'start as secondary',
  'accept-disk': 'use a disk in doubt as it is, after you have checked it',
  swap: 'move the VM to the other node',
};

function onSupervisor(command: Command): Command {
  return command
    .option('--runtime-dir <directory>', 'run-time directory of the node', defaultRuntimeDir)
    .option('--control <path>', 'control socket of the supervisor, if it is elsewhere')
    .option('--json', 'print one JSON line');
}

/** A command for one module of this host, named by its VM or by its control socket. */
export function onModule(command: Command): Command {
  return command
    .argument('[vm]', 'name of the module')
    .option('--runtime-dir <directory>', 'run-time directory of the node', defaultRuntimeDir)
    .option('--control <path>', 'control socket of the module, instead of its name')
    .option('--json', 'print one JSON line');
}

export function controlOf(vm: string | undefined, { control, runtimeDir }: ControlOptions): string {
  if (control !== undefined) return control;
  if (vm === undefined) throw usageError('neither the name of a VM nor --control');
  if (!isModuleName(vm)) throw usageError(`a name that no VM can have: ${JSON.stringify(vm)}`);
  return modulePaths(runtimeDir, vm).control;
}

function supervisorOf({ control, runtimeDir }: ControlOptions): string {
  return control ?? supervisorSocket(runtimeDir);
}

export function addModuleCommands(program: Command): void {
  onModule(program.command('status').description('state of a module, with the reason')).action(
    async (vm: string | undefined, options: ControlOptions) => {
      const status = (await callOnce(controlOf(vm, options), 'status')) as ModuleStatus;
      printResult(options.json ?? false, status, () => moduleText(status));
    },
  );
  onModule(program.command('prim').description('start as primary'))
    .option('--from-kept-image', 'from the image before an unfinished resync whose source is lost for good')
    .option(
      '--lose-since <time>',
      'with it: give up what the guest wrote since; `vmpair status` shows the time',
    )
    .option('--peer-is-off <node>', 'with it: the other node is off and stays off')
    .action(async (vm: string | undefined, options: PrimOptions) => {
      const { fromKeptImage, loseSince, peerIsOff } = options;
      if (fromKeptImage !== true && (loseSince !== undefined || peerIsOff !== undefined))
        throw usageError('--lose-since or --peer-is-off without --from-kept-image');
      const consent = {
        ...(loseSince === undefined ? {} : { loseSince }),
        ...(peerIsOff === undefined ? {} : { peerIsOff }),
      };
      const control = controlOf(vm, options);
      const result =
        fromKeptImage === true
          ? await callOnce(control, 'prim-from-kept-image', consent, commandDeadlineMs)
          : await callOnce(control, 'prim', {}, commandDeadlineMs);
      printResult(options.json ?? false, result, () => 'prim: done');
    });
  for (const [verbName, description] of Object.entries(moduleVerbs)) {
    onModule(program.command(verbName).description(description)).action(
      async (vm: string | undefined, options: ControlOptions) => {
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
  onSupervisor(supervisor.command('list').description('modules and their processes')).action(
    async (options: ControlOptions) => {
      const list = (await callOnce(supervisorOf(options), 'list')) as SupervisedStatus[];
      printResult(options.json ?? false, list, () => supervisedText(list));
    },
  );
  for (const [verbName, description] of Object.entries(supervisorVerbs)) {
    onSupervisor(supervisor.command(`${verbName} <module>`).description(description)).action(
      async (module: string, options: ControlOptions) => {
        const answer = await callOnce(supervisorOf(options), verbName, { module }, commandDeadlineMs);
        const status = answer as SupervisedStatus;
        printResult(options.json ?? false, status, () => supervisedText([status]));
      },
    );
  }
  onSupervisor(supervisor.command('shutdown').description('end the supervisor; the modules run on'))
    .option('--stop-modules', 'end the module processes too')
    .action(async (options: ControlOptions & { readonly stopModules?: boolean }) => {
      const args = { stopModules: options.stopModules ?? false };
      const result = await callOnce(supervisorOf(options), 'shutdown', args, commandDeadlineMs);
      printResult(options.json ?? false, result, () => 'shutdown: done');
    });
}
