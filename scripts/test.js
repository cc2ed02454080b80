// `npm test`: everything that must pass, from a fresh checkout: dependencies, packages of the system, build, checks, unit
// tests, system tests. Plain JavaScript, because nothing is installed yet. A step that fails counts as one failure; skipped
// tests fail the run. The last line is "N passed, N failed, N skipped".
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { demoPackages, installDebianPackages, testPackages } from './debian-packages.js';
import { installDependencies } from './npm-dependencies.js';

const root = fileURLToPath(new URL('..', import.meta.url));
/** Longest time that one mocha run may take, ms. */
const mochaDeadlineMs = 45 * 60_000;
const checkSteps = ['types', 'pure-core types', 'lint', 'format', 'tidy'];

const total = { passed: 0, failed: 0, skipped: 0 };
const scratch = mkdtempSync(join(tmpdir(), 'vmpair-test-'));

/** Runs a command with its output on the console; returns whether it succeeded. */
function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error !== undefined) console.log(`${command}: ${error.message}`);
  return status === 0;
}

function finish() {
  rmSync(scratch, { recursive: true, force: true });
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exit(total.failed === 0 && total.skipped === 0 && total.passed > 0 ? 0 : 1);
}

/** Ends the run: without this step the following ones say nothing. */
function giveUp(what) {
  console.log(`FAIL  ${what}`);
  total.failed += 1;
  finish();
}

/** Runs one mocha configuration and adds its counts. */
function mocha(name, config) {
  console.log(`\n== ${name} tests`);
  const file = join(scratch, `${name}.json`);
  const reporter = [
    '--reporter',
    join(root, 'scripts', 'counting-reporter.cjs'),
    '--reporter-option',
    `file=${file}`,
  ];
  const succeeded = run(
    process.execPath,
    [join(root, 'node_modules/mocha/bin/mocha.js'), '--config', config, ...reporter],
    {
      timeout: mochaDeadlineMs,
    },
  );
  const counts = existsSync(file)
    ? JSON.parse(readFileSync(file, 'utf8'))
    : { passed: 0, failed: 0, skipped: 0 };
  // A run that ended badly without a failed test: a crash, or nothing to count.
  if (!succeeded && counts.failed === 0) counts.failed += 1;
  for (const key of Object.keys(total)) total[key] += counts[key];
}

const problem = installDependencies() ?? installDebianPackages([...demoPackages, ...testPackages]);
if (problem !== undefined) giveUp(problem);
rmSync(join(root, 'dist'), { recursive: true, force: true });
if (!run('npm', ['run', '--silent', 'build'])) giveUp('build');
if (!run(process.execPath, [join(root, 'scripts', 'check.js'), ...checkSteps])) {
  console.log('FAIL  check');
  total.failed += 1;
}
mocha('unit', '.mocharc.json');
mocha('system', '.mocharc.system.json');
finish();
