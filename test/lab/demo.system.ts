/** The demo as a user runs it: one command, a real guest in QEMU, and figures on the last line. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const root = fileURLToPath(new URL('../..', import.meta.url));
const deadlineMs = 4 * 60_000;

function runDemo(...args: string[]): Promise<{ code: number | null; last: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['scripts/demo.js', '--json', ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: deadlineMs,
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      process.stdout.write(chunk);
    });
    child.on('close', (code) => resolve({ code, last: output.trim().split('\n').at(-1) ?? '' }));
  });
}

describe('npm run demo', function () {
  this.timeout(deadlineMs + 10_000);

  it('a real VM survives the power-off of its node with nothing lost, and both copies end identical', async () => {
    const { code, last } = await runDemo();
    expect(code, last).to.equal(0);
    const figures = JSON.parse(last) as Record<string, number | string | boolean>;
    expect(figures).to.include({ guest: 'qemu', lost: 0, identical: true });
    expect(figures['acknowledged']).to.be.at.least(300);
    expect(figures['vmStartMs']).to.be.at.most(10_000);
    expect(figures['resyncSentBytes']).to.be.at.most((figures['diskBytes'] as number) / 10);
  });

  it('without QEMU the same story is told by a simulated guest, and says so', async () => {
    const { code, last } = await runDemo('--simulated', 'asked for by a test');
    expect(code, last).to.equal(0);
    expect(JSON.parse(last)).to.include({ guest: 'simulated', lost: 0, identical: true });
  });
});
