/** A `QmpSession` over the unix socket of a monitor. QEMU serves one client per monitor; another one waits for its greeting. */
import { createConnection } from 'node:net';
import type { Clock } from '../../src/base/clock.ts';
import { WorldError } from '../../src/base/errors.ts';
import type { Wait } from '../port.ts';
import { type QmpEvent, QmpSession } from './qmp-session.ts';

export interface QmpClientHandler {
  event(event: QmpEvent): void;
  closed(because: string): void;
}

export interface QmpClient {
  /** The `return` value of the reply. Errors: `vm-action-failed`. */
  execute(name: string, commandArguments: object | undefined, wait: Wait): Promise<unknown>;
  /** Hangs up; `closed` is reported. Idempotent. */
  destroy(): void;
}

/** Connects and negotiates. The handler hears nothing unless this resolves. Errors: `hypervisor-unavailable`. */
export function connectQmp(
  socketPath: string,
  clock: Clock,
  wait: Wait,
  handler: QmpClientHandler,
): Promise<QmpClient> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(socketPath);
    let problem = 'the monitor hung up';
    let connected = false;
    const giveUp = (why: string) => {
      problem = why;
      socket.destroy();
    };
    const abort = () => giveUp('the caller gave up');
    const timer = clock.after(wait.timeoutMs, () => giveUp(`no greeting within ${wait.timeoutMs} ms`));
    const disarm = () => {
      timer.cancel();
      wait.signal?.removeEventListener('abort', abort);
    };
    const port = { send: (text: string) => void socket.write(text), close: () => void socket.destroy() };
    const session = new QmpSession(port, clock, {
      ready: () => {
        connected = true;
        disarm();
        resolve({
          execute: (name, commandArguments, commandWait) =>
            session.execute(name, commandArguments, commandWait),
          destroy: () => giveUp('this side closed the connection'),
        });
      },
      event: (event) => {
        if (connected) handler.event(event);
      },
      closed: (because) => {
        disarm();
        if (connected) return handler.closed(because);
        reject(
          new WorldError('hypervisor-unavailable', {
            wanted: `the monitor at ${socketPath} to answer`,
            found: because,
            next: 'Look whether the VM runs, and whether another client holds its monitor.',
          }),
        );
      },
    });
    if (wait.signal?.aborted === true) abort();
    wait.signal?.addEventListener('abort', abort);
    socket.on('data', (bytes) => session.received(bytes));
    socket.on('error', (error) => {
      problem = error.message;
    });
    socket.on('close', () => session.closed(problem));
  });
}
