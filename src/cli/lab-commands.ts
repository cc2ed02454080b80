/** `vmpair lab`: a whole pair on this machine, to try things out. Thin over `LabCluster`. */
import { type Command, InvalidArgumentError } from 'commander';
import { networksMax } from '../config/link-config.ts';
import { parseSize, sizeAlignmentBytes } from '../config/size.ts';
import { createLabIssuer } from '../lab/lab-identities.ts';
import { type LabMachine, labMachines, type LabNode, labNodes } from '../lab/lab-layout.ts';
import { LabCluster } from '../lab/pair.ts';
import { printResult } from './outcome.ts';
import { labFactsText, labStatusText } from './status-text.ts';

interface LabCommandOptions {
  readonly dir: string;
  readonly json?: boolean;
}

interface PairOptions extends LabCommandOptions {
  readonly size: number;
  readonly timers: 'default' | 'fast';
  readonly networks: number;
  readonly agents?: boolean;
  readonly moduleProgram?: string;
  readonly witnessProgram?: string;
}

function sizeArgument(text: string): number {
  const bytes = parseSize(text);
  if (bytes !== undefined && bytes > 0 && bytes % sizeAlignmentBytes === 0) return bytes;
  throw new InvalidArgumentError(`wanted a size such as 2GiB, a multiple of ${sizeAlignmentBytes} bytes`);
}

function networkArgument(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 1 && number <= networksMax) return number;
  throw new InvalidArgumentError(`wanted a whole number from 1 to ${networksMax}`);
}

function oneOf<Choice extends string>(choices: readonly Choice[]): (text: string) => Choice {
  return (text) => {
    const found = choices.find((choice) => choice === text);
    if (found !== undefined) return found;
    throw new InvalidArgumentError(`wanted one of ${choices.join(', ')}`);
  };
}

/** Resolves with the first of the signals that end a foreground command. */
function untilEnded(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => resolve(signal));
  });
}

/** The started processes are on their own; only this one keeps the event loop from ending. */
const keepAliveIntervalMs = 60_000;

async function runPair(options: PairOptions): Promise<void> {
  const lab = await LabCluster.create({
    directory: options.dir,
    sizeBytes: options.size,
    issuer: createLabIssuer,
    timerProfile: options.timers,
    networks: options.networks,
    agents: options.agents,
    programs: {
      ...(options.moduleProgram === undefined ? {} : { module: options.moduleProgram }),
      ...(options.witnessProgram === undefined ? {} : { witness: options.witnessProgram }),
    },
  });
  const ended = untilEnded();
  const keepAlive = setInterval(() => {}, keepAliveIntervalMs);
  try {
    const signal = await Promise.race([ended, lab.start()]);
    if (signal !== undefined) return;
    const facts = lab.describe();
    const hint = '\nthe pair is in sync; end it with Ctrl-C';
    printResult(options.json ?? false, facts, () => labFactsText(facts) + hint);
    await ended;
  } finally {
    clearInterval(keepAlive);
    await lab.stop();
  }
}

function inLab(command: Command): Command {
  return command
    .requiredOption('--dir <directory>', 'directory of the lab')
    .option('--json', 'print one JSON line');
}

export function addLabCommands(program: Command): void {
  const lab = program.command('lab').description('a whole pair on this machine, to try things out');
  inLab(
    lab.command('pair').description('make a pair, bring it in sync and keep it until this command is ended'),
  )
    .option('--size <size>', 'size of the volume', sizeArgument, 2 * 1024 ** 3)
    .option('--timers <profile>', 'timer profile: default or fast', oneOf(['default', 'fast']), 'default')
    .option('--networks <count>', 'networks between the nodes', networkArgument, 1)
    .option('--agents', 'an agent on each node as well')
    .option('--module-program <path>', 'another program as the module process')
    .option('--witness-program <path>', 'another program as the witness')
    .action(async (options: PairOptions) => {
      await runPair(options);
      // A start that was interrupted may still be waiting for processes that are gone.
      process.exit();
    });
  const machine = oneOf(labMachines);
  inLab(
    lab.command('kill').description('power-off: every process of the machine at once, and another boot id'),
  )
    .argument('<machine>', `one of ${labMachines.join(', ')}`, machine)
    .option('--module', 'kill the module process alone; the supervisor restarts it')
    .action(async (name: LabMachine, options: LabCommandOptions & { readonly module?: boolean }) => {
      const cluster = LabCluster.open(options.dir);
      if (options.module === true) {
        if (name === 'witness') throw new InvalidArgumentError('the witness has no module');
        const pid = cluster.killModule(name);
        return printResult(
          options.json ?? false,
          { killed: name, pid },
          () => `killed module process ${pid}`,
        );
      }
      await cluster.powerOff(name);
      printResult(options.json ?? false, { killed: name }, () => `${name} is off`);
    });
  inLab(lab.command('start').description('power a machine on'))
    .argument('<machine>', `one of ${labMachines.join(', ')}`, machine)
    .action(async (name: LabMachine, options: LabCommandOptions) => {
      await LabCluster.open(options.dir).startMachine(name);
      printResult(options.json ?? false, { started: name }, () => `${name} is on`);
    });
  for (const action of ['cut', 'heal'] as const) {
    const description =
      action === 'cut' ? 'make the link between the nodes silent' : 'let the link work again';
    inLab(lab.command(action).description(description))
      .option('--from <node>', 'at this node only', oneOf(labNodes))
      .option('--network <number>', 'this network only, counted from 1', networkArgument)
      .action((options: LabCommandOptions & { readonly from?: LabNode; readonly network?: number }) => {
        const { from, network } = options;
        const nodes = from === undefined ? labNodes : [from];
        LabCluster.open(options.dir)[action](nodes, network);
        const what = network === undefined ? '' : `, network ${network}`;
        printResult(
          options.json ?? false,
          { [action]: nodes, ...(network === undefined ? {} : { network }) },
          () => `${action}: ${nodes.join(' and ')}${what}`,
        );
      });
  }
  inLab(lab.command('status').description('what runs and how it is')).action(
    async (options: LabCommandOptions) => {
      const status = await LabCluster.open(options.dir).status();
      printResult(options.json ?? false, status, () => labStatusText(status));
    },
  );
  inLab(lab.command('stop').description('end every process of a lab')).action(
    async (options: LabCommandOptions) => {
      await LabCluster.open(options.dir).stop();
      printResult(
        options.json ?? false,
        { stopped: options.dir },
        () => 'the lab is stopped; its files are kept',
      );
    },
  );
}
