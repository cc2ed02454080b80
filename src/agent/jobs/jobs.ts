/**
 * The jobs of this node: kept in one bounded file, so that an agent that was restarted still knows what was asked. Work is
 * done by the module, never by the agent: a job whose agent died is looked at again through the module's status.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { WorldError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { ModuleStatus } from '../../base/status.ts';
import { replaceFile } from '../../platform/durable-file.ts';
import { type Job, jobSchema, lookAtJob, outlastsItsAnswer } from './job.ts';

/** Jobs that are remembered; the oldest that have ended go first. */
export const jobsMax = 200;
/** Jobs that run at the same time. */
export const runningJobsMax = 64;
const idBytes = 6;

export interface JobsOptions {
  readonly file: string;
  readonly node: string;
  readonly wallTime: () => string;
  readonly log: Log;
  /** The state of a job has changed. */
  readonly changed: (job: Job) => void;
  /** A status of the module that is newer than the call; `undefined`: it does not answer. */
  readonly freshStatus: (module: string) => Promise<ModuleStatus | undefined>;
}

export interface JobRequest {
  readonly module: string;
  readonly action: string;
  readonly by: string;
}

export class Jobs {
  readonly #options: JobsOptions;
  /** Oldest first. */
  readonly #jobs = new Map<string, Job>();
  readonly #waiters = new Map<string, Set<() => void>>();
  #saving: Promise<void> | undefined;
  #saveAgain = false;

  /** Reads what an earlier process kept; its running jobs are interrupted until a status shows more. */
  static async open(options: JobsOptions): Promise<Jobs> {
    const self = new Jobs(options);
    for (const job of await readJobs(options.file, options.log)) self.#jobs.set(job.id, job);
    for (const job of self.#jobs.values()) {
      if (job.state !== 'running') continue;
      const because = 'the agent was restarted; the module goes on by itself';
      self.#set({ ...job, state: 'interrupted', because });
    }
    return self;
  }

  private constructor(options: JobsOptions) {
    this.#options = options;
  }

  /** Newest first. */
  list(): Job[] {
    return [...this.#jobs.values()].reverse();
  }

  get(id: string): Job | undefined {
    return this.#jobs.get(id);
  }

  /** Begins a job; what `work` answers or throws is how it ends. Resolves when the job is on disk. Throws `limit-reached`. */
  async start({ module, action, by }: JobRequest, work: () => Promise<unknown>): Promise<Job> {
    const running = this.list().filter(({ state }) => state === 'running').length;
    if (running >= runningJobsMax) {
      throw new WorldError('limit-reached', {
        wanted: `at most ${runningJobsMax} jobs at once`,
        found: 'one more',
        next: 'Wait for one of them; nothing was changed.',
      });
    }
    const { node, wallTime } = this.#options;
    const job: Job = {
      id: `${node}.${randomBytes(idBytes).toString('hex')}`,
      node,
      module,
      action,
      by,
      state: 'running',
      because: 'the module was asked',
      startedAt: wallTime(),
    };
    this.#set(job);
    void this.#run(job, work);
    // Who is told its id can ask for it later, whatever happens to this process.
    await this.#saving;
    return job;
  }

  /** The job when it has ended, or as it is after `waitMs`. */
  async wait(id: string, waitMs: number): Promise<Job | undefined> {
    if (this.#jobs.get(id)?.state === 'running' && waitMs > 0) {
      await new Promise<void>((resolve) => {
        const waiters = this.#waiters.get(id) ?? new Set();
        this.#waiters.set(id, waiters);
        const end = (): void => {
          clearTimeout(timer);
          waiters.delete(end);
          resolve();
        };
        const timer = setTimeout(end, waitMs);
        waiters.add(end);
      });
    }
    return this.#jobs.get(id);
  }

  /** A status of a module: shows how far the jobs are that go on without an answer to come. */
  observe(status: ModuleStatus): void {
    for (const job of this.#jobs.values()) {
      if (job.module !== status.module) continue;
      const isLooked = job.state === 'interrupted' || (job.state === 'running' && job.result !== undefined);
      if (isLooked) this.#look(job, status);
    }
  }

  /** Resolves when what is known is on disk. */
  async close(): Promise<void> {
    while (this.#saving !== undefined) await this.#saving;
  }

  async #run(job: Job, work: () => Promise<unknown>): Promise<void> {
    try {
      const result = (await work()) ?? null;
      const now = { ...job, result };
      if (!outlastsItsAnswer(job.action)) return this.#end(now, 'done', 'the module has done it');
      this.#set({ ...now, because: 'the module is at it' });
      const status = await this.#options.freshStatus(job.module);
      if (status !== undefined) this.observe(status);
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      const { code, wanted, found, next } = error;
      this.#end(
        { ...job, error: { code, wanted, found, next } },
        'failed',
        `wanted ${wanted}; found ${found}`,
      );
    }
  }

  #look(job: Job, status: ModuleStatus): void {
    const seen = lookAtJob(job.action, status);
    if (seen === undefined) return;
    if (seen.kind !== 'goes-on') return this.#end(job, seen.kind, seen.because);
    const { kind: _kind, ...progress } = seen;
    // Without progress nobody knows whether it goes on, or was given up while no agent was there.
    if (job.state === 'interrupted' && seen.percent === undefined) return;
    const now: Job = { ...job, ...progress, state: 'running', result: job.result ?? null };
    if (job.state === 'interrupted') this.#set(now);
    // Progress alone is not worth a write.
    else this.#jobs.set(job.id, now);
  }

  #end(job: Job, state: 'done' | 'failed', because: string): void {
    const { percent: _percent, etaMs: _etaMs, ...rest } = job;
    this.#set({ ...rest, state, because, endedAt: this.#options.wallTime() });
    for (const wake of this.#waiters.get(job.id) ?? []) wake();
    this.#waiters.delete(job.id);
  }

  #set(job: Job): void {
    this.#jobs.set(job.id, job);
    if (this.#jobs.size > jobsMax) {
      const old = [...this.#jobs.values()].find(({ state }) => state !== 'running');
      if (old !== undefined) this.#jobs.delete(old.id);
    }
    this.#options.changed(job);
    this.#save();
  }

  #save(): void {
    this.#saveAgain = true;
    this.#saving ??= this.#saveAll();
  }

  async #saveAll(): Promise<void> {
    while (this.#saveAgain) {
      this.#saveAgain = false;
      const text = `${JSON.stringify([...this.#jobs.values()])}\n`;
      await replaceFile(this.#options.file, text, 0o600).catch((error: unknown) =>
        this.#options.log.warn('jobs-not-kept', { because: String(error) }),
      );
    }
    this.#saving = undefined;
  }
}

async function readJobs(file: string, log: Log): Promise<Job[]> {
  const text = await readFile(file, 'utf8').catch(() => '[]');
  try {
    return z.array(jobSchema).parse(JSON.parse(text));
  } catch (error) {
    log.warn('jobs-unreadable', { file, because: String(error) });
    return [];
  }
}
