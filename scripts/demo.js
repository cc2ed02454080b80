// `npm run demo`: does everything on a fresh machine. Plain JavaScript, because nothing is installed yet: installs the npm
// packages and what the guest is made of, builds, and hands over to the compiled demo. Options: --json, --keep.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { demoPackages, installDebianPackages } from './debian-packages.js';
import { installDependencies } from './npm-dependencies.js';

const root = fileURLToPath(new URL('..', import.meta.url));
// Standard output belongs to the story, and with --json its last line to programs.
const toStandardError = ['ignore', 2, 2];

const problem = installDependencies(toStandardError);
if (problem !== undefined) {
  console.error(problem);
  process.exit(1);
}
const guestProblem = installDebianPackages(demoPackages, toStandardError);
const fallback = guestProblem === undefined ? [] : ['--simulated', guestProblem];
const built = spawnSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: toStandardError });
if (built.status !== 0) {
  console.error('the build failed');
  process.exit(1);
}
const demo = join(root, 'dist', 'src', 'lab', 'demo', 'main.js');
const { status } = spawnSync(process.execPath, [demo, ...fallback, ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
