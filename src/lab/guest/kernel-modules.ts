/**
 * The kernel of the distribution and the files of its drivers in the order in which they must be loaded, from
 * `modules.dep` and `modules.builtin` (modules.dep(5)). Unpacks `.ko.xz`, `.ko.zst` and `.ko.gz`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { WorldError } from '../../base/errors.ts';
import { runTool } from '../../../hypervisors/run-tool.ts';

const unpackTimeoutMs = 10_000;

export interface GuestKernel {
  readonly version: string;
  readonly image: string;
  readonly modulesDirectory: string;
}

export interface KernelModule {
  /** File name without compression: `virtio_blk.ko`. */
  readonly name: string;
  readonly content: Uint8Array;
}

/** `virtio-rng` and `virtio_rng` name the same module. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

function directoryEntries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** The newest kernel that has both an image and drivers. Errors: `file-missing`. */
export function findGuestKernel(bootDirectory = '/boot', modulesRoot = '/lib/modules'): GuestKernel {
  const withModules = new Set(directoryEntries(modulesRoot));
  const versions = directoryEntries(bootDirectory)
    .filter((name) => name.startsWith('vmlinuz-'))
    .map((name) => name.slice('vmlinuz-'.length))
    .filter((version) => withModules.has(version))
    .toSorted((left, right) => left.localeCompare(right, 'en', { numeric: true }));
  const version = versions.at(-1);
  if (version === undefined) {
    throw new WorldError('file-missing', {
      wanted: 'a Linux kernel with its modules, for the guest',
      found: `no vmlinuz-VERSION in ${bootDirectory} with a directory VERSION in ${modulesRoot}`,
      next: 'Install a kernel of the distribution (Debian: linux-image-cloud-amd64).',
    });
  }
  const image = join(bootDirectory, `vmlinuz-${version}`);
  return { version, image, modulesDirectory: join(modulesRoot, version) };
}

/** Module name -> [its file, files it needs], as `modules.dep` has them. */
function parseDependencies(text: string): Map<string, readonly string[]> {
  const dependencies = new Map<string, readonly string[]>();
  for (const line of text.split('\n')) {
    const [file, needed = ''] = line.split(':');
    if (file === undefined || file === '') continue;
    dependencies.set(moduleName(file), [file, ...needed.split(' ').filter((one) => one !== '')]);
  }
  return dependencies;
}

/**
 * Files of `wanted` and of all that they need, relative to the modules directory, each after what it needs. Built-in ones
 * need no file. Throws `file-missing` for a wanted one that the kernel does not have; `optional` ones are left out.
 */
export function decideLoadOrder(
  dependencyText: string,
  builtinText: string,
  wanted: readonly string[],
  optional: readonly string[] = [],
): string[] {
  const dependencies = parseDependencies(dependencyText);
  const builtin = new Set(builtinText.split('\n').map(moduleName));
  const order: string[] = [];
  const visit = (name: string) => {
    const [file, ...needed] = dependencies.get(name) ?? [];
    if (file === undefined || order.includes(file)) return;
    for (const one of needed) visit(moduleName(one));
    order.push(file);
  };
  for (const name of wanted) {
    if (!dependencies.has(name) && !builtin.has(name)) {
      throw new WorldError('file-missing', {
        wanted: `the kernel module ${name}, for the guest`,
        found: 'a kernel without it',
        next: 'Install a kernel of the distribution with virtio drivers.',
      });
    }
    visit(name);
  }
  for (const name of optional) visit(name);
  return order;
}

async function unpack(file: string): Promise<Uint8Array> {
  const packed = readFileSync(file);
  if (file.endsWith('.gz')) return gunzipSync(packed);
  const program = file.endsWith('.xz') ? 'xz' : file.endsWith('.zst') ? 'zstd' : undefined;
  if (program === undefined) return packed;
  const { status, output, problem } = await runTool(program, ['-dc', file], unpackTimeoutMs);
  if (status === 0) return output;
  throw new WorldError('file-missing', {
    wanted: `to unpack the kernel module ${file}`,
    found: problem,
    next: `Install ${program}.`,
  });
}

/** Drivers of the guest in load order. Errors: `file-missing`. */
export async function readGuestModules(kernel: GuestKernel): Promise<KernelModule[]> {
  const text = (name: string) => readFileSync(join(kernel.modulesDirectory, name), 'utf8');
  const files = decideLoadOrder(
    text('modules.dep'),
    text('modules.builtin'),
    ['virtio_pci', 'virtio_blk', 'ext4', 'button', 'evdev'],
    // ext4 asks for this checksum by a name that only modprobe could resolve.
    ['crc32c_generic'],
  );
  const modules: KernelModule[] = [];
  for (const file of files) {
    const content = await unpack(join(kernel.modulesDirectory, file));
    modules.push({ name: `${moduleName(file)}.ko`, content });
  }
  return modules;
}
