/** Jobs: how they end, what an agent that was restarted makes of them, and that their number is bounded. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { type Job, lookAtJob } from '../../src/agent/jobs/job.ts';
import { Jobs, jobsMax } from '../../src/agent/jobs/jobs.ts';
import { WorldError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import type { ModuleStatus, VerifyReport } from '../../src/base/status.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';
import { sampleStatus } from './sample-status.ts';

const verify = (change: Partial<VerifyReport>): VerifyReport => ({
  outcome: 'running',
  because: 'it runs',
  volumes: ['disk0'],
  startedAt: '',
  endedAt: undefined,
  elapsedMs: 1,
  totalBytes: 100,
  examinedBytes: 40,
  ranges: [],
  rangesOmitted: 0,
  etaMs: 5000,
  ...change,
});

describe('jobs', () => {
  let directory: TempDirectory;
  let status: ModuleStatus;
  let opened: Jobs[];
  const request = { module: 'vm1', action: 'stop', by: 'local' };
  beforeEach(() => {
    directory = makeTempDirectory('in-memory');
    status = sampleStatus();
    opened = [];
  });
  afterEach(async () => {
    for (const jobs of opened) await jobs.close();
    directory.remove();
  });

  async function open(changed: (job: Job) => void = () => {}): Promise<Jobs> {
    const jobs = await Jobs.open({
      file: directory.file('jobs.json'),
      node: 'A',
      wallTime: () => '2026-01-01T00:00:00.000Z',
      log: silentLog,
      changed,
      freshStatus: async () => status,
    });
    opened.push(jobs);
    return jobs;
  }

  it('ends with what the module answered, and who waits for it gets it at once', async () => {
    const jobs = await open();
    const { id } = await jobs.start(request, async () => ({ done: true }));
    expect(await jobs.wait(id, 5000)).to.include({ state: 'done', node: 'A' });
    expect(id).to.match(/^A\.[0-9a-f]{12}$/);
  });

  it('ends with the refusal of the module', async () => {
    const jobs = await open();
    const refusal = new WorldError('control-refused', { wanted: 'w', found: 'f', next: 'n' });
    const { id } = await jobs.start(request, () => Promise.reject(refusal));
    const job = await jobs.wait(id, 5000);
    expect(job?.state).to.equal('failed');
    expect(job?.error).to.deep.equal({ code: 'control-refused', wanted: 'w', found: 'f', next: 'n' });
  });

  it('a verify goes on after the module has answered, with progress, until its report ends', async () => {
    status = { ...status, verify: verify({}) };
    const jobs = await open();
    const { id } = await jobs.start({ ...request, action: 'verify' }, async () => ({ done: true }));
    await until('progress', () => jobs.get(id)?.percent !== undefined);
    expect(jobs.get(id)).to.include({ state: 'running', percent: 40, etaMs: 5000 });
    jobs.observe({ ...status, verify: verify({ outcome: 'complete', because: 'nothing differs' }) });
    expect(jobs.get(id)).to.include({ state: 'done', because: 'nothing differs' });
    expect(jobs.get(id)).to.not.have.property('percent');
  });

  it('an agent that was restarted says interrupted, and ends the job when the status shows the end', async () => {
    const first = await open();
    const { id } = await first.start(request, () => new Promise(() => {}));
    await first.close();
    const kept = readFileSync(directory.file('jobs.json'), 'utf8');
    expect(kept).to.contain('"running"');
    const second = await open();
    expect(second.get(id)).to.include({
      state: 'interrupted',
      because: 'the agent was restarted; the module goes on by itself',
    });
    second.observe({ ...status, module: 'vm2', axes: { ...status.axes, run: 'stopped' } });
    second.observe(status);
    expect(second.get(id)?.state).to.equal('interrupted');
    second.observe({ ...status, axes: { ...status.axes, run: 'stopped' }, because: 'stopped by command' });
    expect(second.get(id)).to.include({ state: 'done', because: 'stopped by command' });
  });

  it('an agent that was restarted goes on with a verify where the module is', async () => {
    status = { ...status, verify: verify({}) };
    const first = await open();
    const { id } = await first.start({ ...request, action: 'verify' }, async () => ({ done: true }));
    await until('progress', () => first.get(id)?.percent !== undefined);
    await first.close();
    const second = await open();
    expect(second.get(id)?.state).to.equal('interrupted');
    second.observe({ ...status, verify: verify({ examinedBytes: 70 }) });
    expect(second.get(id)).to.include({ state: 'running', percent: 70 });
    second.observe({ ...status, verify: verify({ outcome: 'complete', because: 'nothing differs' }) });
    expect(second.get(id)).to.include({ state: 'done', because: 'nothing differs' });
  });

  it('what cannot be read is left out, and the number of jobs is bounded', async () => {
    writeFileSync(directory.file('jobs.json'), '[{"id": 1}]');
    const jobs = await open();
    expect(jobs.list()).to.deep.equal([]);
    for (let index = 0; index < jobsMax + 20; index += 1)
      await jobs.wait((await jobs.start(request, async () => null)).id, 1000);
    expect(jobs.list()).to.have.length(jobsMax);
  });

  it('the status of a node shows the end of each action that it can show', () => {
    const swapped = sampleStatus({ state: 'SECOND', because: 'now secondary' });
    expect(lookAtJob('swap', status)?.kind).to.equal('goes-on');
    expect(lookAtJob('swap', swapped)).to.deep.equal({ kind: 'done', because: 'now secondary' });
    expect(lookAtJob('start', status)?.kind).to.equal('done');
    expect(lookAtJob('resolve', { ...status, split: { seenAt: '', because: '', sides: [] } })?.kind).to.equal(
      'goes-on',
    );
    expect(lookAtJob('resolve', status)?.kind).to.equal('done');
    expect(lookAtJob('verify', status)?.kind).to.equal('failed');
    expect(lookAtJob('verify', { ...status, verify: verify({ outcome: 'interrupted' }) })?.kind).to.equal(
      'failed',
    );
    expect(lookAtJob('prim', status)).to.equal(undefined);
    expect(lookAtJob('constructor', status)).to.equal(undefined);
  });
});
