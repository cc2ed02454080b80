// The Debian packages that tests and demo need, and how they get there. Plain JavaScript: runs before anything is installed.
import { spawnSync } from 'node:child_process';

/** Program or file that is used -> package. */
export const debianPackages = [
  'qemu-system-x86',
  'qemu-utils',
  'fio',
  'libnbd-bin',
  'nbdkit',
  'linux-image-cloud-amd64',
  'busybox-static',
  'cpio',
  'e2fsprogs',
  'strace',
];

/** Packages that are not installed; `undefined` when this is no Debian system. */
function findMissing() {
  const format = '${Package} ${db:Status-Status}\n';
  const query = spawnSync('dpkg-query', ['-W', '-f', format, ...debianPackages], { encoding: 'utf8' });
  if (query.error !== undefined) return undefined;
  const installed = new Set(
    query.stdout
      .split('\n')
      .filter((line) => line.endsWith(' installed'))
      .map((line) => line.split(' ')[0]),
  );
  return debianPackages.filter((name) => !installed.has(name));
}

/** Installs what is missing. Returns a sentence when that is not possible. */
export function installDebianPackages() {
  const missing = findMissing();
  if (missing === undefined) return 'wanted a Debian system; found none (no dpkg-query)';
  if (missing.length === 0) return undefined;
  if (process.getuid() !== 0) {
    return `wanted the packages ${missing.join(' ')}; install them as root: apt-get install ${missing.join(' ')}`;
  }
  console.log(`installing ${missing.join(' ')}`);
  const options = { stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  const steps = [['update'], ['install', '-y', '--no-install-recommends', ...missing]];
  for (const args of steps) {
    const { status } = spawnSync('apt-get', args, options);
    if (status !== 0) return `"apt-get ${args.join(' ')}" failed with status ${status}`;
  }
  return undefined;
}
