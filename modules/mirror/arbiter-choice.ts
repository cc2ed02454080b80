/** The arbiter that a module's configuration asks for. */
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Arbiter } from '../../src/arbiter/arbiter.ts';
import { WorldError } from '../../src/base/errors.ts';
import type { EtcdConfig } from '../../src/config/arbiter-config.ts';
import type { ModuleConfig } from '../../src/config/module-config.ts';
import { EtcdArbiter } from '../../src/platform/etcd-arbiter.ts';
import type { EtcdTls } from '../../src/platform/etcd-connection.ts';
import type { TlsIdentity } from '../../src/platform/tls.ts';
import { WitnessArbiter } from '../../src/platform/witness-client.ts';

export interface ChosenArbiter {
  readonly arbiter: Arbiter;
  /** Reads the files that the configuration names once more; what it answers puts them to use. Throws like `chooseArbiter`. */
  reread(): (identity: TlsIdentity) => void;
}

/**
 * `undefined`: none. Reads the files that the configuration names, so that a wrong one is found at start and not when the peer
 * is lost. Throws `WorldError` file-missing or config-invalid.
 */
export function chooseArbiter(config: ModuleConfig, identity: TlsIdentity): ChosenArbiter | undefined {
  const { arbiter, clusterId, moduleId } = config;
  switch (arbiter.kind) {
    case 'witness': {
      const witness = new WitnessArbiter({ address: arbiter, identity, moduleId });
      return { arbiter: witness, reread: () => (next) => witness.useIdentity(next) };
    }
    case 'etcd': {
      const etcd = new EtcdArbiter({
        endpoints: arbiter.endpoints.map((endpoint) => new URL(endpoint)),
        tls: readTls(arbiter),
        user: readUser(arbiter),
        key: arbiter.prefix ?? `/vmpair/${clusterId}/${moduleId}`,
      });
      const reread = () => {
        const tls = readTls(arbiter);
        return () => etcd.useTls(tls);
      };
      return { arbiter: etcd, reread };
    }
    case 'none':
      return undefined;
  }
}

function readTls({ tls }: EtcdConfig): EtcdTls {
  const read = (name: 'ca' | 'cert' | 'key'): string | undefined => {
    const file = tls?.[name];
    return file === undefined ? undefined : readConfigured(file, `arbiter.tls.${name}`);
  };
  const files = { ca: read('ca'), cert: read('cert'), key: read('key') };
  try {
    createSecureContext(files);
  } catch (error) {
    throw new WorldError(
      'config-invalid',
      {
        wanted: 'PEM files in `arbiter.tls`, and a key that belongs to the certificate',
        found: error instanceof Error ? error.message : String(error),
        next: 'correct the files that `ca`, `cert` and `key` name',
      },
      error,
    );
  }
  return files;
}

function readUser({ user, passwordFile }: EtcdConfig): { name: string; password: string } | undefined {
  if (user === undefined || passwordFile === undefined) return undefined;
  const password = readConfigured(passwordFile, 'arbiter.passwordFile').replace(/\r?\n$/, '');
  if (password !== '') return { name: user, password };
  throw new WorldError('config-invalid', {
    wanted: `a password in ${passwordFile}`,
    found: 'an empty file',
    next: 'write the password of the etcd user into it, on one line',
  });
}

function readConfigured(file: string, key: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new WorldError(
      'file-missing',
      {
        wanted: `to read ${file}`,
        found: error instanceof Error ? error.message : String(error),
        next: `write it, for root only, or correct \`${key}\` in the module configuration`,
      },
      error,
    );
  }
}
