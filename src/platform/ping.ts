/**
 * Whether any of some addresses answers: over TCP where a port is named (a refusal is an answer too), else with the `ping` program of
 * the system. All are asked at once.
 */
import { connect } from 'node:net';
import type { Surroundings } from '../arbiter/fence.ts';
import { pingDeadlineMs } from '../cluster/isolation.ts';
import { runBounded } from './fence/bounded-program.ts';

export interface PingAddress {
  readonly host: string;
  /** `undefined`: an ICMP echo. */
  readonly port?: number | undefined;
}

export function createSurroundings(addresses: readonly PingAddress[]): Surroundings {
  return {
    addresses: addresses.map(({ host, port }) => (port === undefined ? host : `${host}:${port}`)),
    reachAny: (answered) => {
      let open = addresses.length;
      let said = false;
      const one = (reached: boolean): void => {
        open -= 1;
        if (said || (!reached && open > 0)) return;
        said = true;
        answered(reached);
      };
      for (const address of addresses) reach(address, one);
    },
  };
}

function reach({ host, port }: PingAddress, answered: (reached: boolean) => void): void {
  if (port === undefined) {
    runBounded('ping', ['-n', '-q', '-c', '1', '-W', '1', host], { deadlineMs: pingDeadlineMs }, ({ code }) =>
      answered(code === 0),
    );
    return;
  }
  const socket = connect({ host, port });
  const settle = (reached: boolean): void => {
    clearTimeout(timer);
    socket.removeAllListeners();
    socket.on('error', () => {});
    socket.destroy();
    answered(reached);
  };
  const timer = setTimeout(() => settle(false), pingDeadlineMs);
  socket.on('connect', () => settle(true));
  socket.on('error', (error: NodeJS.ErrnoException) => settle(error.code === 'ECONNREFUSED'));
}
