/** The command line as a process: wrong input ends it at once, with three lines, without a stack trace. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { programPath } from '../../src/platform/program-path.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

const commandDeadlineMs = 10_000;

describe('command line', () => {
  let directory: TempDirectory;
  beforeEach(() => {
    directory = makeTempDirectory();
  });
  afterEach(() => directory.remove());

  function run(...args: string[]) {
    const command = [programPath('src/cli/main'), ...args];
    const { status, stderr } = spawnSync(process.execPath, [...process.execArgv, ...command], {
      encoding: 'utf8',
      timeout: commandDeadlineMs,
      killSignal: 'SIGKILL',
    });
    expect(stderr).to.match(/^wanted: .*\nfound: {2}.*\nnext: {3}.*\n$/);
    return { status, stderr };
  }

  it('a lab in a directory that is used is refused and the command ends', () => {
    writeFileSync(directory.file('mine'), '');
    const { status, stderr } = run('lab', 'pair', '--dir', directory.path);
    expect(status).to.equal(1);
    expect(stderr).to.contain('a directory with files in it').and.not.contain('remove');
  });

  it('a lab in the place of a file is refused', () => {
    writeFileSync(directory.file('mine'), '');
    expect(run('lab', 'pair', '--dir', directory.file('mine')).stderr).to.contain('no directory');
  });

  it('a directory that cannot be made is said without a stack trace', () => {
    writeFileSync(directory.file('mine'), '');
    const { stderr } = run(
      'certificates',
      '--dir',
      `${directory.file('mine')}/in/it`,
      '--node',
      'A',
      '--node',
      'B',
    );
    expect(stderr).to.contain('ENOTDIR');
  });

  it('a supervisor that does not run is looked for in the run-time directory', () => {
    const { status, stderr } = run('supervisor', 'list', '--runtime-dir', directory.path);
    expect(status).to.equal(3);
    expect(stderr).to.contain(directory.file('supervisor.control.sock')).and.contain('no such socket');
  });

  it('a name that leads out of the run-time directory is refused', () => {
    expect(run('status', '../other').status).to.equal(2);
  });
});
