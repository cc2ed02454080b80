/** The order of starts between processes that die, hang and come back. One VM starts at a time here. */
import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

const program = fileURLToPath(new URL('start-worker.ts', import.meta.url));
const deadlineMs = 20_000;

class Worker {
  readonly said: string[] = [];
  readonly #child: ChildProcess;

  constructor(directory: string, module: string, priority: number) {
    this.#child = fork(program, [directory, module, String(priority)], { execArgv: ['--import', 'tsx'] });
    this.#child.on('message', (word: string) => this.said.push(word));
  }

  tell(word: 'want' | 'runs'): void {
    this.#child.send(word);
  }

  says(word: string): Promise<true> {
    return until(word, () => this.said.includes(word), deadlineMs) as Promise<true>;
  }

  async kill(signal: 'SIGKILL' | 'SIGSTOP'): Promise<void> {
    const { pid } = this.#child;
    this.#child.kill(signal);
    const state = () => readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.[0];
    if (signal === 'SIGSTOP') await until('it is stopped', () => state() === 'T', deadlineMs);
    else await until('it is gone', () => this.#child.signalCode !== null, deadlineMs);
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}

describe('the order of starts between processes', function () {
  this.timeout(60_000);
  let directory: TempDirectory;
  let workers: Worker[];

  const worker = async (module: string, priority = 50): Promise<Worker> => {
    const made = new Worker(directory.path, module, priority);
    workers.push(made);
    await made.says('ready');
    return made;
  };
  /** Its VM starts, and is about to run. */
  const starts = async (module: string): Promise<Worker> => {
    const made = await worker(module);
    made.tell('want');
    await made.says('starts');
    return made;
  };
  const queued = async (module: string, priority = 50): Promise<Worker> => {
    const made = await worker(module, priority);
    made.tell('want');
    await made.says('wanted');
    expect(made.said).to.not.include('starts');
    return made;
  };

  beforeEach(() => {
    directory = makeTempDirectory();
    workers = [];
  });

  afterEach(() => {
    for (const each of workers) each.end();
    directory.remove();
  });

  it('the next one starts when the VM of the first runs, the highest of those that wait', async () => {
    const first = await starts('vm1');
    const low = await queued('vm2', 10);
    const high = await queued('vm3', 90);
    first.tell('runs');
    await high.says('starts');
    expect(low.said).to.not.include('starts');
    high.tell('runs');
    await low.says('starts');
  });

  it('the holder of the slot is killed: the next one starts', async () => {
    const first = await starts('vm1');
    const next = await queued('vm2');
    await first.kill('SIGKILL');
    await next.says('starts');
  });

  it('one that waits with a high priority is killed: the others do not wait for it', async () => {
    const first = await starts('vm1');
    const high = await queued('vm2', 90);
    const low = await queued('vm3', 10);
    await high.kill('SIGKILL');
    first.tell('runs');
    await low.says('starts');
  });

  it('one that waits is killed and started again: it is queued anew', async () => {
    const first = await starts('vm1');
    await (await queued('vm2')).kill('SIGKILL');
    const again = await queued('vm2');
    first.tell('runs');
    await again.says('starts');
  });

  it('the holder is killed and started again: it has no slot, and takes one like any other', async () => {
    await (await starts('vm1')).kill('SIGKILL');
    const again = await starts('vm1');
    const next = await queued('vm2');
    again.tell('runs');
    await next.says('starts');
  });

  it('files of another boot are there: nobody waits for them', async () => {
    const first = await starts('vm1');
    const high = await queued('vm2', 90);
    await Promise.all([first.kill('SIGKILL'), high.kill('SIGKILL')]);
    for (const module of ['vm1', 'vm2']) {
      const file = directory.file(`starts/${module}.notice.json`);
      const said = JSON.parse(readFileSync(file, 'utf8')) as { process: object };
      // The same pid and start time, as it may happen after a boot.
      const here = readFileSync('/proc/self/stat', 'latin1').split(') ')[1]?.split(' ')[19];
      const process_ = { pid: process.pid, startTicks: here, hostBoot: 'another boot' };
      writeFileSync(file, JSON.stringify({ ...said, process: process_ }));
    }
    await starts('vm3');
  });

  it('the holder hangs before its time is over: the others wait, and go on when it is killed', async () => {
    const first = await starts('vm1');
    await first.kill('SIGSTOP');
    const next = await queued('vm2');
    await next.says('slots-taken');
    await first.kill('SIGKILL');
    await next.says('starts');
  });
});
