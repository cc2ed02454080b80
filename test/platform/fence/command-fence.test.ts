/** A program as a fence: what counts as proof, and that neither it nor its children outlive the deadline. */
import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import type { FenceAnswer, FenceTest } from '../../../src/arbiter/fence.ts';
import { CommandFence } from '../../../src/platform/fence/command-fence.ts';
import { isAlive, readProcessIdentity } from '../../../src/platform/process-identity.ts';
import { makeTempDirectory, type TempDirectory } from '../../temp-directory.ts';
import { until } from '../../until.ts';

const shell = '/bin/sh';
const patientMs = 20_000;

function fence(off: readonly string[], deadlineMs = patientMs, test?: readonly string[]): CommandFence {
  return new CommandFence(
    { kind: 'command', off, test },
    { node: 'B', self: 'A', module: 'vm1', deadlineMs },
  );
}

const script = (text: string): readonly string[] => [shell, '-c', text];
const answerOf = (off: readonly string[], deadlineMs?: number): Promise<FenceAnswer> =>
  new Promise((resolve) => void fence(off, deadlineMs).proveOff(resolve));

describe('a program as a fence', () => {
  let temp: TempDirectory;
  before(() => (temp = makeTempDirectory()));
  after(() => temp.remove());

  it('proves with exit code 0, and shows what it printed', async () => {
    const answer = await answerOf(script('echo outlet 3 is off'));
    expect(answer).to.deep.equal({ kind: 'off', because: `${shell}: exit code 0: outlet 3 is off` });
  });

  it('proves nothing with any other exit code', async () => {
    for (const code of [1, 2, 127, 255]) {
      const answer = await answerOf(script(`echo no route >&2; exit ${code}`));
      expect(answer).to.deep.equal({ kind: 'no-proof', because: `${shell}: exit code ${code}: no route` });
    }
  });

  it('proves nothing when a signal ends it or it cannot be started', async () => {
    expect((await answerOf(script('kill -9 $$'))).because).to.equal(`${shell}: ended by SIGKILL`);
    const missing = await answerOf(['/no/such/program']);
    expect(missing.kind).to.equal('no-proof');
    expect(missing.because).to.contain('it could not be started');
    expect((await answerOf(['bad\0name'])).kind).to.equal('no-proof');
  });

  it('is told which node to switch off', async () => {
    const { because } = await answerOf(script('echo "$VMPAIR_FENCE_NODE $VMPAIR_NODE $VMPAIR_MODULE"'));
    expect(because).to.contain('B A vm1');
  });

  it('that hangs is killed at its deadline with its children, and proves nothing', async () => {
    const file = temp.file('pids');
    const hanging = script(`sleep 1000 & echo $! $$ > ${file}; wait`);
    const answer = await answerOf(hanging, 1000);
    expect(answer.kind).to.equal('no-proof');
    expect(answer.because).to.contain('no end within 1.0 s');
    const pids = readFileSync(file, 'utf8').trim().split(' ').map(Number);
    expect(pids).to.have.length(2);
    await until('both are gone', () => pids.every((pid) => readProcessIdentity(pid) === undefined));
  });

  it('whose children keep its output open is not waited for', async () => {
    const file = temp.file('child');
    const answer = await answerOf(script(`sleep 1000 & echo $! > ${file}; exit 0`));
    expect(answer.kind).to.equal('off');
    const left = readProcessIdentity(Number(readFileSync(file, 'utf8')));
    if (left !== undefined && isAlive(left)) process.kill(left.pid, 'SIGKILL');
  });

  it('that floods its output shows the end of it', async () => {
    const { because, kind } = await answerOf(script('yes flood | head -c 3000000; echo the end'));
    expect(kind).to.equal('off');
    expect(because).to.match(/flood the end$/);
    expect(because.length).to.be.below(400);
  });

  it('that is given up answers once, without proof, and is gone', async () => {
    const file = temp.file('given-up');
    const answers: FenceAnswer[] = [];
    const attempt = fence(script(`echo $$ > ${file}; sleep 1000`)).proveOff((answer) => answers.push(answer));
    await until('it runs', () => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'));
    attempt.abandon();
    attempt.abandon();
    await until('it answers', () => answers.length > 0);
    const pid = Number(readFileSync(file, 'utf8'));
    await until('it is gone', () => readProcessIdentity(pid) === undefined);
    expect(answers.map(({ kind }) => kind)).to.deep.equal(['no-proof']);
  });

  it('is tested by another program, which switches nothing; without one it cannot be tested', async () => {
    const file = temp.file('switched');
    const off = script(`touch ${file}`);
    const testOf = (test?: readonly string[]): Promise<FenceTest> =>
      new Promise((resolve) => fence(off, patientMs, test).test(resolve));
    expect((await testOf(script('true'))).kind).to.equal('answers');
    expect(await testOf(script('echo wrong password; exit 3'))).to.deep.equal({
      kind: 'no-answer',
      because: `${shell}: exit code 3: wrong password`,
    });
    expect((await testOf()).kind).to.equal('not-testable');
    expect(existsSync(file)).to.equal(false);
  });
});
