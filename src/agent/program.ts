/**
 * The agent as a process, for `vmpair agent` and the program `src/agent/main`. SIGTERM and SIGINT end it cleanly. Exit codes:
 * 0 it was asked to end, 2 wrong command line, 78 its configuration, files or addresses cannot be used.
 */
import { readNodeConfig } from '../config/node-config.ts';
import { createJsonLog } from '../platform/json-log.ts';
import { readVersion } from '../platform/program-path.ts';
import { systemClock } from '../platform/system-clock.ts';
import { Agent } from './agent.ts';

/** How long what is under way may take to end after SIGTERM, ms. */
const stopDeadlineMs = 3000;

/** Resolves when the agent serves; the process ends with a signal. Throws `WorldError` when it cannot serve. */
export async function runAgent(nodeFile: string): Promise<void> {
  const config = readNodeConfig(nodeFile);
  const log = createJsonLog({ base: { program: 'agent', node: config.node } });
  const agent = await Agent.start({ config, version: readVersion(), clock: systemClock, log });
  const stop = (signal: NodeJS.Signals): void => {
    log.info('agent-ends', { signal });
    setTimeout(() => process.exit(0), stopDeadlineMs).unref();
    void agent.close().then(() => process.exit(0));
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  log.info('agent-ready', { socket: config.agent.socket, ports: agent.ports.map(String) });
}
