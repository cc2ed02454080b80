import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { findVmProcess, vmMark } from '../../hypervisors/vm-process.ts';
import { readProcessIdentity } from '../../src/platform/process-identity.ts';
import { makeTempDirectory } from '../temp-directory.ts';

describe('process of a VM', () => {
  it('is found by its mark without a record, and with a damaged one', async () => {
    const directory = makeTempDirectory();
    const files = {
      mark: vmMark('vm 1', directory.path),
      recordFile: directory.file('vm.json'),
      logFile: directory.file('vm.log'),
    };
    expect(files.mark).to.match(/^vmpair-vm_1-[0-9a-f]{16}$/);
    expect(findVmProcess(files)).to.equal(undefined);
    const child = spawn(process.execPath, [
      '-e',
      'setInterval(() => {}, 1e6)',
      '--',
      `guest=${files.mark},x`,
    ]);
    try {
      await once(child, 'spawn');
      expect(findVmProcess(files)?.pid).to.equal(child.pid);
      writeFileSync(files.recordFile, '{"pid": 1');
      expect(findVmProcess(files)?.pid).to.equal(child.pid);
      expect(findVmProcess({ ...files, mark: `${files.mark}0` })).to.equal(undefined);
      const self = readProcessIdentity(process.pid);
      writeFileSync(files.recordFile, JSON.stringify({ ...self, startTicks: '1' }));
      expect(findVmProcess(files)?.pid).to.equal(child.pid);
    } finally {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
      expect(findVmProcess(files)).to.equal(undefined);
      directory.remove();
    }
  });

  it('two run-time directories have different marks', () => {
    expect(vmMark('vm1', '/a/run')).to.not.equal(vmMark('vm1', '/b/run'));
    expect(vmMark('vm1', '/a/run/')).to.equal(vmMark('vm1', '/a/run'));
  });
});
