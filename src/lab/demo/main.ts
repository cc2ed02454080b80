/**
 * Program: the demo. `main.js [--json] [--keep] [--simulated REASON]`. Tells the story on standard output; with --json the last
 * line is one JSON object with the figures. Exit code 1 when anything was lost or the copies differ.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { WorldError } from '../../base/errors.ts';
import { sizeText } from '../../base/size-text.ts';
import type { VmConfig } from '../../config/module-config.ts';
import { describeError } from '../../platform/program-exit.ts';
import { buildGuest, guestAppend, guestMemory } from '../guest/build-guest.ts';
import { createGuestDisk, qcow2VolumeBytes } from '../guest/guest-disk-image.ts';
import { createLabIssuer } from '../lab-identities.ts';
import { labVolume } from '../lab-layout.ts';
import { LabCluster } from '../pair.ts';
import { type DemoFigures, type DemoOptions, DemoStory } from './story.ts';

/** Size of the guest's disk. */
const guestDiskBytes = 512 * 1024 * 1024;
const serialFile = 'serial.log';

const { values } = parseArgs({
  options: { json: { type: 'boolean' }, keep: { type: 'boolean' }, simulated: { type: 'string' } },
});
const startedMs = performance.now();
const isTerminal = process.stdout.isTTY === true;

function tell(line: string): void {
  const at = ((performance.now() - startedMs) / 1000).toFixed(1).padStart(6);
  process.stdout.write(`${isTerminal ? '\r\x1b[K' : ''}${at} s  ${line}\n`);
}

/** A line that the next one replaces on a terminal. */
function progress(line: string): void {
  if (isTerminal) process.stdout.write(`\r\x1b[K          ${line}`);
  else process.stdout.write(`          ${line}\n`);
}

interface Plan {
  readonly guest: 'qemu' | 'simulated';
  readonly vm: VmConfig;
  readonly volumeBytes: number;
  readonly template: string | undefined;
}

async function planGuest(directory: string): Promise<Plan> {
  if (values.simulated !== undefined) {
    tell(`No QEMU guest here: ${values.simulated}.`);
    tell('The guest is simulated: a process that writes the same kind of journal over the same NBD socket.');
    const vm = { kind: 'simulated', recordsPerSecond: 20, serial: { file: serialFile } };
    return { guest: 'simulated', vm, volumeBytes: guestDiskBytes, template: undefined };
  }
  tell('Building a tiny Linux guest from the kernel and busybox of this distribution ...');
  const { kernel, initrd } = await buildGuest({ directory });
  const template = join(directory, 'template.qcow2');
  await createGuestDisk(template, guestDiskBytes);
  const vm = {
    kind: 'qemu',
    memory: guestMemory,
    kernel,
    initrd,
    append: guestAppend,
    disks: [{ volume: labVolume, format: 'qcow2' }],
    serial: { file: serialFile },
  };
  return { guest: 'qemu', vm, volumeBytes: await qcow2VolumeBytes(guestDiskBytes), template };
}

function table(figures: DemoFigures): string {
  const ms = (value: number): string => `${(value / 1000).toFixed(2)} s`;
  const rows: [string, string][] = [
    ['guest', figures.guest],
    ['records acknowledged', String(figures.acknowledged)],
    ['  of these before the power-off', String(figures.acknowledgedBeforeKill)],
    ['records lost', String(figures.lost)],
    ['power-off to VM process started on the peer', ms(figures.vmStartMs)],
    ['power-off to first new record (guest boot included)', ms(figures.firstRecordMs)],
    ['longest gap between two records', ms(figures.writeStallMs)],
    ['bytes examined by the resync', sizeText(figures.resyncExaminedBytes)],
    ['bytes sent by the resync', sizeText(figures.resyncSentBytes)],
    ['size of the disk', sizeText(figures.diskBytes)],
    ['swap back, to first new record', ms(figures.swapMs)],
    ['both images identical', figures.identical ? 'yes' : 'NO'],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n');
}

async function run(): Promise<number> {
  const home = mkdtempSync(join(tmpdir(), 'vmpair-demo-'));
  let lab: LabCluster | undefined;
  const stop = async (): Promise<void> => {
    await lab?.stop();
    rmSync(home, { recursive: true, force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void stop().finally(() => process.exit(1)));
  }
  let keep = values.keep === true;
  try {
    const plan = await planGuest(home);
    lab = await LabCluster.create({
      directory: join(home, 'lab'),
      sizeBytes: plan.volumeBytes,
      issuer: createLabIssuer,
      vm: plan.vm,
    });
    const options: DemoOptions = {
      lab,
      guest: plan.guest,
      serial: { A: join(lab.nodes.A.runtimeDir, serialFile), B: join(lab.nodes.B.runtimeDir, serialFile) },
      template: plan.template,
      diskBytes: plan.volumeBytes,
      tell,
      progress,
    };
    const figures = await new DemoStory(options).run();
    const good = figures.lost === 0 && figures.identical;
    tell(good ? 'Nothing was lost, and both copies are identical.' : 'SOMETHING WAS LOST OR DIFFERS.');
    process.stdout.write(`${table(figures)}\n`);
    if (keep) process.stdout.write(kept(lab.directory));
    if (values.json === true) process.stdout.write(`${JSON.stringify(figures)}\n`);
    return good ? 0 : 1;
  } catch (error) {
    if (lab === undefined) keep = false;
    throw error;
  } finally {
    if (!keep) await stop();
  }
}

function kept(directory: string): string {
  return [
    'The cluster keeps running until you stop it. Talk to it with:',
    `  npx vmpair lab status --dir ${directory}`,
    `  npx vmpair lab kill A --dir ${directory}`,
    `  npx vmpair lab start A --dir ${directory}`,
    `  npx vmpair lab stop --dir ${directory} && rm -r ${dirname(directory)}`,
    '',
  ].join('\n');
}

try {
  process.exitCode = await run();
} catch (error) {
  if (!(error instanceof WorldError)) throw error;
  process.stderr.write(`${error.code}\n${describeError(error)}`);
  process.exitCode = 1;
}
