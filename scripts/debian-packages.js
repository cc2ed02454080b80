// The Debian packages that tests and demo need, and how they get there. Plain JavaScript: runs before anything is installed.
import { spawnSync } from 'node:child_process';

/** For the demo: a VM, and a guest made of what the distribution ships. */
export const demoPackages = [
  'qemu-system-x86',
  'qemu-utils',
  'linux-image-cloud-amd64',
  'busybox-static',
  'e2fsprogs',
];

/**
 * For the tests, beside those of the demo: clients of other makers, tracing, networks, file systems, an arbiter,
 * power control, and a judge of service files.
 */
export const testPackages = [
  'btrfs-progs',
  'etcd-client',
  'etcd-server',
  'fio',
  'iproute2',
  'libnbd-bin',
  'nbdkit',
  'nftables',
  'strace',
  'systemd',
  'xfsprogs',
  'iputils-ping',
  'ipmitool',
  'openipmi',
  'openssh-client',
  'openssh-server',
];

/** Packages that are not installed; `undefined` when this is no Debian system. */
function findMissing(packages) {
  const format = '${Package} ${db:Status-Status}\n';
  const query = spawnSync('dpkg-query', ['-W', '-f', format, ...packages], { encoding: 'utf8' });
  if (query.error !== undefined) return undefined;
  const installed = new Set(
    query.stdout
      .split('\n')
      .filter((line) => line.endsWith(' installed'))
      .map((line) => line.split(' ')[0]),
  );
  return packages.filter((name) => !installed.has(name));
}

/** Installs what is missing, and says so first. Returns a sentence when that is not possible. */
export function installDebianPackages(packages, progress = 'inherit') {
  const missing = findMissing(packages);
  if (missing === undefined) return 'wanted a Debian system; found none (no dpkg-query)';
  if (missing.length === 0) return undefined;
  if (process.getuid() !== 0) {
    return `wanted the packages ${missing.join(' ')}; install them as root: apt-get install ${missing.join(' ')}`;
  }
  console.error(`installing Debian packages: ${missing.join(' ')}`);
  const options = { stdio: progress, env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  const steps = [['update'], ['install', '-y', '--no-install-recommends', ...missing]];
  for (const args of steps) {
    const { status } = spawnSync('apt-get', args, options);
    if (status !== 0) return `"apt-get ${args.join(' ')}" failed with status ${status}`;
  }
  return undefined;
}
