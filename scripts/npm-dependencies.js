// The npm packages of package-lock.json, and how they get there. Plain JavaScript: runs before anything is installed.
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Whether every package of the lock file is installed in its version; optional ones depend on the platform. */
function dependenciesInstalled() {
  const installedFile = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installedFile)) return false;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages;
  return Object.entries(wanted).every(
    ([path, entry]) => path === '' || entry.optional === true || installed[path]?.version === entry.version,
  );
}

/** Installs what is missing. Returns a sentence when that is not possible. */
export function installDependencies(output = 'inherit') {
  if (dependenciesInstalled()) return undefined;
  const folder = lstatSync(join(root, 'node_modules'), { throwIfNoEntry: false });
  // Installing would change the folder that the link names, which belongs to another checkout.
  if (folder?.isSymbolicLink())
    return 'node_modules is a link to a folder that does not fit package-lock.json';
  console.error('installing npm packages');
  // Not "npm ci": it refuses a lock file without the binaries of every other platform, which some registries do not carry.
  const install = ['install', '--no-save', '--no-audit', '--no-fund'];
  const { status } = spawnSync('npm', install, { cwd: root, stdio: output });
  return status === 0 ? undefined : `"npm ${install.join(' ')}" failed with status ${status}`;
}
