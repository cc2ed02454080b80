/**
 * The simulated guest: a program that takes the place of QEMU on machines without it. It connects to its volume over NBD,
 * keeps a journal there (`journal-guest.ts`), reports on its serial file, and is controlled as QEMU is: halted until
 * `cont`, `stop`, `system_powerdown`, events, two monitors, a guest agent, and a stop of the VM when the disk fails. SIGUSR2 hangs the guest:
 * it does nothing more and its agent is silent, while the VM runs and its monitors answer.
 *
 * Exit codes: 0 powered off or told to quit; 1 could not start (standard error says why).
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { systemClock } from '../../src/platform/system-clock.ts';
import { causeText } from '../deadline.ts';
import { serveAgent } from './agent-server.ts';
import { FileGuestDisk, type GuestDisk, NbdGuestDisk } from './guest-disk.ts';
import { JournalGuest } from './journal-guest.ts';
import { MonitorServer } from './monitor-server.ts';

/** How long requests wait for a disk server that went away before the guest is paused instead, ms. */
const reconnectDelayMs = 30_000;

interface GuestArguments {
  /** Marks the process; not used otherwise. */
  readonly mark: string;
  readonly monitors: readonly string[];
  readonly agent: string | undefined;
  readonly nbdSocket: string | undefined;
  readonly exportName: string;
  readonly diskFile: string | undefined;
  readonly serial: string | undefined;
  readonly intervalMs: number;
}

function parseGuestArguments(): GuestArguments {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      mark: text,
      monitor: { ...text, multiple: true },
      agent: text,
      'nbd-socket': text,
      export: text,
      'disk-file': text,
      serial: text,
      'interval-ms': text,
    },
  });
  return {
    mark: values.mark ?? '',
    monitors: values.monitor ?? [],
    agent: values.agent,
    nbdSocket: values['nbd-socket'],
    exportName: values.export ?? '',
    diskFile: values['disk-file'],
    serial: values.serial,
    intervalMs: Number(values['interval-ms'] ?? '0'),
  };
}

async function openDisk({ nbdSocket, exportName, diskFile }: GuestArguments): Promise<GuestDisk> {
  if (diskFile !== undefined) return FileGuestDisk.open(diskFile);
  if (nbdSocket === undefined) throw new Error('neither --nbd-socket nor --disk-file was given');
  return NbdGuestDisk.connect({ socketPath: nbdSocket, exportName, clock: systemClock, reconnectDelayMs });
}

async function main(): Promise<void> {
  const given = parseGuestArguments();
  const serial = given.serial === undefined ? undefined : openSync(given.serial, 'a', 0o600);
  const say = (report: string) => {
    if (serial !== undefined) writeSync(serial, `${(performance.now() / 1000).toFixed(2)} ${report}\n`);
  };
  const disk = await openDisk(given);
  let status: 'prelaunch' | 'running' | 'paused' | 'io-error' | 'shutdown' = 'prelaunch';

  const guest = new JournalGuest({
    disk,
    clock: systemClock,
    intervalMs: given.intervalMs,
    say,
    diskFailed: () => {
      if (status !== 'running') return;
      status = 'io-error';
      void monitor.tell('BLOCK_IO_ERROR', { device: '', operation: 'write', action: 'stop', nospace: false });
      void monitor.tell('STOP', {});
    },
  });

  let hangs = false;
  process.on('SIGUSR2', () => {
    hangs = true;
    void guest.pause();
  });

  const end = async (fromGuest: boolean) => {
    if (status === 'shutdown') return;
    status = 'shutdown';
    if (fromGuest) await guest.powerOff();
    disk.close();
    await monitor.tell('SHUTDOWN', {
      guest: fromGuest,
      reason: fromGuest ? 'guest-shutdown' : 'host-qmp-quit',
    });
    if (serial !== undefined) closeSync(serial);
    process.exit(0);
  };

  const commands: Readonly<Record<string, () => Promise<object>>> = {
    qmp_capabilities: async () => ({}),
    'query-status': async () => ({ status, running: status === 'running', singlestep: false }),
    cont: async () => {
      if (status === 'running' || status === 'shutdown') return {};
      status = 'running';
      void monitor.tell('RESUME', {});
      if (!hangs) guest.resume();
      return {};
    },
    stop: async () => {
      if (status !== 'running') return {};
      status = 'paused';
      void monitor.tell('STOP', {});
      await guest.pause();
      return {};
    },
    system_powerdown: async () => {
      void monitor.tell('POWERDOWN', {});
      if (status === 'running' && !hangs) setImmediate(() => void end(true));
      return {};
    },
    quit: async () => {
      setImmediate(() => void end(false));
      return {};
    },
  };

  const monitor = new MonitorServer(async (name) => {
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (command === undefined) throw new Error(`The command ${name} has not been found`);
    return command();
  });
  if (given.agent !== undefined) await serveAgent(given.agent, () => hangs || status !== 'running');
  for (const path of given.monitors) await monitor.listen(path);
}

main().catch((error: unknown) => {
  process.stderr.write(`simulated guest: ${causeText(error)}\n`);
  process.exit(1);
});
