/** Commands that talk to one process over its control socket: a module, or the supervisor of a node. */
import type { Command } from 'commander';
import type { Reconfigured } from '../../modules/mirror/reconfigure.ts';
import type { ModuleStatus } from '../base/status.ts';
import { isModuleName } from '../config/module-config.ts';
import { modulePaths, supervisorSocket } from '../config/runtime-paths.ts';
import { callOnce } from '../platform/control-client.ts';
import type { ReloadReport } from '../supervisor/reload.ts';
import type { SupervisedStatus } from '../supervisor/supervised-module.ts';
import { printResult, usageError } from './outcome.ts';
import { moduleText, reconfiguredText, reloadText, supervisedText } from './status-text.ts';

/** Deadline of a command that changes what runs, ms: longer than a guest may take to shut down. */
const commandDeadlineMs = 120_000;
/** Of `resolve`, ms: everything that one node wrote is copied first. */
const resolveDeadlineMs = 6 * 3_600_000;
/** Where the run-time files of this host's modules are, unless the command line says otherwise. */
const defaultRuntimeDir = '/run/vmpair';

export interface ControlOptions {
  readonly control?: string;
  readonly runtimeDir: string;
  readonly json?: boolean;
}

interface PrimOptions extends ControlOptions {
  readonly fromKeptImage?: boolean;
  readonly acceptOutdated?: boolean;
  readonly acceptInconsistent?: boolean;
  readonly withoutArbiter?: boolean;
  readonly loseSince?: string;
  readonly peerIsOff?: string;
}

interface ResolveOptions extends ControlOptions {
  readonly keep: string;
  readonly loseSince?: string;
}

interface SecondOptions extends ControlOptions {
  readonly full?: boolean;
  readonly giveUp?: string;
}

/** Option of `prim` that names what is forced -> argument of the verb. */
const forces = {
  fromKeptImage: 'kept-image',
  acceptOutdated: 'outdated',
  acceptInconsistent: 'inconsistent',
  withoutArbiter: 'without-arbiter',
} as const;

/** Arguments of the verb. Throws `usage-wrong` for options that do not go together. */
export function primArguments(options: Omit<PrimOptions, keyof ControlOptions>): Record<string, string> {
  const { loseSince, peerIsOff } = options;
  const chosen = (Object.keys(forces) as (keyof typeof forces)[]).filter((name) => options[name] === true);
  if (chosen.length > 1)
    throw usageError('two of --from-kept-image, --accept-outdated, --accept-inconsistent, --without-arbiter');
  const [force] = chosen;
  if (loseSince !== undefined && (force === undefined || force === 'withoutArbiter'))
    throw usageError('--lose-since without --from-kept-image, --accept-outdated or --accept-inconsistent');
  return {
    ...(force === undefined ? {} : { force: forces[force] }),
    ...(loseSince === undefined ? {} : { loseSince }),
    ...(peerIsOff === undefined ? {} : { peerIsOff }),
  };
}

/** Verb of a module's control socket -> what the help says. */
const moduleVerbs: Readonly<Record<string, string>> = {
  start: 'let the module start: it joins its peer, and runs the VM if it is to be primary',
  stop: 'shut the VM down if it runs here, and leave the pair; a peer in sync goes on, and starts it',
  'accept-disk': 'use a disk in doubt as it is, after you have checked it',
  swap: 'on the primary: shut the VM down here, and start it on the other node',
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

/** The wish is durable; what comes of it, the peer and the arbiter have a say in. */
function asked(command: string, vm = 'VM'): string {
  return `${command}: noted; \`vmpair status ${vm}\` says what comes of it`;
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
  onModule(program.command('prim').description('start as primary; what would lose data has to be named'))
    .option(
      '--from-kept-image',
      'from the image before an unfinished resync; gives up what the guest wrote since',
    )
    .option('--accept-outdated', 'with an outdated copy; gives up what only the newer one has')
    .option('--accept-inconsistent', 'with a half-resynchronised copy, on which file systems may not mount')
    .option('--without-arbiter', 'although neither the peer nor the arbiter answers: two VMs may write')
    .option('--lose-since <time>', 'give up what the guest wrote since; the command without it says the time')
    .option('--peer-is-off <node>', 'the other node is off and stays off; if not, two VMs may write')
    .action(async (vm: string | undefined, options: PrimOptions) => {
      const args = primArguments(options);
      const result = await callOnce(controlOf(vm, options), 'prim', args, commandDeadlineMs);
      printResult(options.json ?? false, result, () => asked('prim', vm));
    });
  onModule(
    program.command('second').description('start as secondary: do not take over before the pair was in sync'),
  )
    .option(
      '--full',
      'give the copy of this node up, with all that only it has; every block is copied from the peer',
    )
    .option('--give-up <node>', 'with --full: the name of this node')
    .action(async (vm: string | undefined, options: SecondOptions) => {
      const { full, giveUp } = options;
      if (full !== true && giveUp !== undefined) throw usageError('--give-up without --full');
      const args = { ...(full === true ? { full } : {}), ...(giveUp === undefined ? {} : { giveUp }) };
      const result = await callOnce(controlOf(vm, options), 'second', args, commandDeadlineMs);
      printResult(options.json ?? false, result, () => asked('second', vm));
    });
  onModule(
    program.command('resolve').description('end a split brain: keep one copy, and give the other one up'),
  )
    .requiredOption('--keep <node>', 'the node whose copy is kept; the command may be given on either node')
    .option(
      '--lose-since <time>',
      'give up what the other one wrote since; the command without it says the time',
    )
    .action(async (vm: string | undefined, options: ResolveOptions) => {
      const { keep, loseSince } = options;
      const args = { keep, ...(loseSince === undefined ? {} : { loseSince }) };
      const result = await callOnce(controlOf(vm, options), 'resolve', args, resolveDeadlineMs);
      printResult(options.json ?? false, result, () => `resolve: the copy of ${keep} is kept`);
    });
  for (const [verbName, description] of Object.entries(moduleVerbs)) {
    onModule(program.command(verbName).description(description)).action(
      async (vm: string | undefined, options: ControlOptions) => {
        const result = await callOnce(controlOf(vm, options), verbName, {}, commandDeadlineMs);
        printResult(options.json ?? false, result, () => `${verbName}: done`);
      },
    );
  }
  onModule(
    program
      .command('reconfigure')
      .description('read the file of the module again: what counts without a restart counts at once'),
  ).action(async (vm: string | undefined, options: ControlOptions) => {
    const answer = (await callOnce(
      controlOf(vm, options),
      'reconfigure',
      {},
      commandDeadlineMs,
    )) as Reconfigured;
    printResult(options.json ?? false, answer, () => reconfiguredText(answer));
  });
}

/** Verb of a supervisor's control socket for one module -> what the help says. */
const supervisorVerbs: Readonly<Record<string, string>> = {
  start: 'start the process of a module',
  stop: 'end the process of a module and keep it ended',
  restart: 'end the process of a module and start it again; its VM runs on',
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
  onSupervisor(
    supervisor
      .command('reload')
      .description('take up added, removed and changed modules of the configuration'),
  ).action(async (options: ControlOptions) => {
    const report = (await callOnce(supervisorOf(options), 'reload', {}, commandDeadlineMs)) as ReloadReport;
    printResult(options.json ?? false, report, () => reloadText(report));
  });
  onSupervisor(supervisor.command('shutdown').description('end the supervisor; the modules run on'))
    .option('--stop-modules', 'end the module processes too; then nobody serves the VMs')
    .action(async (options: ControlOptions & { readonly stopModules?: boolean }) => {
      const args = { stopModules: options.stopModules ?? false };
      const result = await callOnce(supervisorOf(options), 'shutdown', args, commandDeadlineMs);
      printResult(options.json ?? false, result, () => 'shutdown: done');
    });
}
