/** The service files of supervisor and agent: systemd understands them, and they say what must not be forgotten. Needs systemd-analyze. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

const names = ['vmpair-supervisor', 'vmpair-agent'] as const;

describe('service files of a node', () => {
  let directory: TempDirectory;
  const units = new Map<string, string>();
  before(() => {
    directory = makeTempDirectory();
    for (const name of names) {
      const source = new URL(`../../templates/systemd/${name}.service`, import.meta.url);
      const unit = readFileSync(fileURLToPath(source), 'utf8');
      const text = unit.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`);
      units.set(name, text);
      writeFileSync(directory.file(`${name}.service`), text);
    }
  });
  after(() => directory.remove());

  for (const name of names) {
    it(`${name}.service is one that systemd understands`, () => {
      const { status, stdout, stderr } = spawnSync(
        'systemd-analyze',
        ['verify', directory.file(`${name}.service`)],
        {
          encoding: 'utf8',
        },
      );
      expect(stdout + stderr).to.equal('');
      expect(status).to.equal(0);
      expect(units.get(name)).to.match(/^RestartPreventExitStatus=78$/m);
      expect(units.get(name), 'sockets of what runs on stay').to.match(/^RuntimeDirectoryPreserve=yes$/m);
    });
  }

  it('the end of the supervisor leaves modules and VMs running, and the agent has no rights that it does not need', () => {
    expect(units.get('vmpair-supervisor')).to.match(/^KillMode=process$/m);
    expect(units.get('vmpair-agent')).to.match(/^CapabilityBoundingSet=CAP_NET_BIND_SERVICE$/m);
    expect(units.get('vmpair-agent')).to.match(/^NoNewPrivileges=yes$/m);
  });
});
