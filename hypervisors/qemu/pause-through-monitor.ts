/**
 * Pausing a VM past its module: the supervisor's only power over a VM, through the monitor that only it uses.
 *
 * `stop` first halts the virtual CPUs and tells so in the event `STOP`; then it waits for the disk requests in flight and
 * only then replies. When the disk server is what hangs, the reply does not come, so the event is what counts.
 */
import type { Clock } from '../../src/base/clock.ts';
import { systemClock } from '../../src/platform/system-clock.ts';
import { actionFailed, causeText, Deadline } from '../deadline.ts';
import { connectQmp, type QmpClient } from './qmp-client.ts';
import { runsGuestCode, statusOf } from './run-status.ts';

/** Share of the deadline after which the reply to the first question is no longer waited for. */
const questionShare = 0.25;

/**
 * Resolves when no virtual CPU of the VM runs: it is paused now, was paused already, or no process listens at the socket.
 * Rejects with `vm-action-failed` when that is not known by the deadline, for example because QEMU itself hangs.
 */
export async function pauseThroughMonitor(
  socketPath: string,
  deadlineMs: number,
  clock: Clock = systemClock,
): Promise<void> {
  const deadline = new Deadline(clock, { timeoutMs: deadlineMs });
  let halted: () => void = () => {};
  const halt = new Promise<true>((resolve) => {
    halted = () => resolve(true);
  });
  let client: QmpClient | undefined;
  try {
    client = await connectQmp(socketPath, clock, deadline.part(deadlineMs), {
      event: (event) => {
        if (event.name === 'STOP') halted();
      },
      closed: () => {},
    });
    const status = await client
      .execute('query-status', undefined, deadline.part(deadlineMs * questionShare))
      .then(statusOf, () => undefined);
    if (status !== undefined && !runsGuestCode(status)) return;
    const reply = client.execute('stop', undefined, deadline.part(deadlineMs)).then(() => true as const);
    reply.catch(() => {});
    await Promise.race([halt, reply]);
  } catch (error) {
    if (nobodyListens(error)) return;
    throw actionFailed(
      `to pause the VM through ${socketPath} within ${deadlineMs} ms`,
      causeText(error),
      'Look whether the process of the VM hangs; if it does, end it.',
      error,
    );
  } finally {
    client?.destroy();
  }
}

/** Sockets of a process that is gone refuse; they do not time out. */
function nobodyListens(error: unknown): boolean {
  return error instanceof Error && /ECONNREFUSED|ENOENT/.test(error.message);
}
