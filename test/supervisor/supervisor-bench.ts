/** The real supervisor process on a directory of its own, with a stand-in for the module process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { callOnce } from '../../src/platform/control-client.ts';
import { killVerified, readProcessIdentity } from '../../src/platform/process-identity.ts';
import { programPath } from '../../src/platform/program-path.ts';
import type { SupervisedStatus } from '../../src/supervisor/supervised-module.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

const standIn = fileURLToPath(new URL('stand-in-module.js', import.meta.url));

export class Bench {
  readonly directory: TempDirectory = makeTempDirectory();
  readonly control = this.directory.file('supervisor.control.sock');
  readonly module = this.directory.file('vm1.control.sock');
  #supervisors: ChildProcess[] = [];

  constructor() {
    const { directory } = this;
    const secret = directory.file('secret.pem');
    writeFileSync(
      directory.file('node.yaml'),
      `version: 1\nnode: A\nruntimeDir: ${directory.path}\ntls: {ca: ${secret}, cert: ${secret}, key: ${secret}}\n` +
        `modules: [${directory.file('vm1.yaml')}]\n`,
    );
    writeFileSync(
      directory.file('vm1.yaml'),
      `version: 1\ncluster: ${'1a'.repeat(16)}\nmodule: {id: ${'2b'.repeat(16)}, name: vm1}\n` +
        'nodes:\n  A: {link: {host: 127.0.0.1, port: 7001}}\n  B: {link: {host: 127.0.0.2, port: 7001}}\n' +
        'arbiter: {kind: none}\n' +
        'volumes:\n  - {name: disk0, size: 1MiB, file: /nowhere/0.img}\n  - {name: disk1, size: 1MiB, file: /nowhere/1.img}\n' +
        'metadata: /nowhere/vm1.meta\n' +
        'timers: {profile: fast}\n',
    );
  }

  start(): ChildProcess {
    const args = [programPath('src/supervisor/main'), '--node', this.directory.file('node.yaml')];
    const child = spawn(process.execPath, [...args, '--module-program', standIn], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#supervisors.push(child);
    return child;
  }

  async status(): Promise<SupervisedStatus> {
    return (await callOnce(this.control, 'status', { module: 'vm1' })) as SupervisedStatus;
  }

  /** Resolves when a module process other than `notPid` answers. */
  async running(notPid?: number): Promise<SupervisedStatus> {
    return until('the module runs', async () => {
      const status = await this.status();
      return status.state === 'running' && status.pid !== notPid && status;
    });
  }

  /** What a client of a volume's socket is told. */
  async served(volume: string): Promise<number> {
    const socket = connect(this.directory.file(`vm1.${volume}.nbd.sock`)).setEncoding('utf8');
    let text = '';
    socket.on('data', (part: string) => {
      text += part;
    });
    await once(socket, 'close');
    return Number(/^served by (\d+)\n$/.exec(text)?.[1]);
  }

  async end(): Promise<void> {
    await callOnce(this.control, 'shutdown', { stopModules: true }, 15_000).catch(() => {});
    for (const child of this.#supervisors) child.kill('SIGKILL');
    const record = /"pid":(\d+)/.exec(this.#record())?.[1];
    const left = record === undefined ? undefined : readProcessIdentity(Number(record));
    if (left !== undefined) killVerified(left, 'SIGKILL');
    this.directory.remove();
  }

  #record(): string {
    try {
      return readFileSync(this.directory.file('vm1.process.json'), 'utf8');
    } catch {
      return '';
    }
  }
}
