/**
 * `vmpair certificates`: makes the authority of a new cluster and the certificates of its nodes and witness, as files to be
 * copied by hand. It never writes into a directory that holds something: an authority that was replaced by mistake would
 * lock both nodes out. It does not issue for a cluster that exists already, and does not renew or revoke.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { WorldError } from '../base/errors.ts';
import { hexIdPattern } from '../base/identity.ts';
import {
  createClusterAuthority,
  type IdentityFiles,
  issueCertificate,
  writeIdentity,
} from '../platform/pki.ts';
import { checkedName } from './cluster-place.ts';
import { printResult, usageError } from './outcome.ts';

export interface CertificateSet {
  readonly cluster: string;
  readonly directory: string;
  /** Key of the authority: needed for nothing that runs. */
  readonly authorityKey: string;
  /** Machine -> the files to copy to it. */
  readonly machines: Readonly<Record<string, IdentityFiles>>;
}

interface CertificatesOptions {
  readonly dir: string;
  readonly node: readonly string[];
  readonly witness: string;
  readonly cluster?: string;
  readonly json?: boolean;
}

const clusterIdBytes = 16;

/** Throws `file-exists` unless the directory is missing or empty. */
function refuseUsedDirectory(directory: string): void {
  if (!existsSync(directory)) return;
  if (statSync(directory).isDirectory() && readdirSync(directory).length === 0) return;
  throw new WorldError('file-exists', {
    wanted: `an empty or missing directory ${directory}`,
    found: 'something in it, which is never overwritten',
    next: 'Choose another directory.',
  });
}

/** Makes all in memory first, so that a name that cannot be used leaves no file behind. */
export async function makeCertificates(
  directory: string,
  cluster: string,
  nodes: readonly string[],
  witness: string,
): Promise<CertificateSet> {
  refuseUsedDirectory(directory);
  const authority = await createClusterAuthority(cluster);
  const issued = [];
  for (const name of nodes) {
    issued.push({ name, prefix: 'node', identity: await issueCertificate(authority, 'node', name) });
  }
  const identity = await issueCertificate(authority, 'witness', witness);
  issued.push({ name: witness, prefix: 'witness', identity });
  const { key: authorityKey } = await writeIdentity(directory, 'ca', authority, authority.certificatePem);
  const machines: Record<string, IdentityFiles> = {};
  for (const { name, prefix, identity: own } of issued) {
    machines[name] = await writeIdentity(join(directory, name), prefix, own, authority.certificatePem);
  }
  return { cluster, directory, authorityKey, machines };
}

function certificatesText({ cluster, directory, authorityKey, machines }: CertificateSet): string {
  const copies = Object.entries(machines).map(
    ([name, { ca, cert, key }]) => `copy to ${name}: ${ca} ${cert} ${key}`,
  );
  return [
    `cluster: "${cluster}" (the value of "cluster" in every module.yaml)`,
    ...copies,
    `keep offline: ${authorityKey}; then remove ${directory} from this machine`,
  ].join('\n');
}

function checkedCluster(text: string): string {
  if (hexIdPattern.test(text)) return text;
  throw new InvalidArgumentError('wanted 32 lower-case hex digits');
}

export function addCertificatesCommand(program: Command): void {
  program
    .command('certificates')
    .description('make the certificates of a new cluster, to be copied to its machines')
    .requiredOption('--dir <directory>', 'new directory for the files')
    .option(
      '--node <name>',
      'name of a node; give it twice',
      (text: string, names: readonly string[]) => [...names, checkedName(text)],
      [] as readonly string[],
    )
    .option('--witness <name>', 'name of the witness', checkedName, 'witness')
    .option('--cluster <id>', 'identifier of the cluster; default: a new one', checkedCluster)
    .option('--json', 'print one JSON line')
    .action(async ({ dir, node, witness, cluster, json }: CertificatesOptions) => {
      if (node.length !== 2 || new Set([...node, witness]).size !== node.length + 1) {
        throw usageError('not two --node, or two machines of one name');
      }
      const id = cluster ?? randomBytes(clusterIdBytes).toString('hex');
      const made = await makeCertificates(resolve(dir), id, node, witness);
      printResult(json ?? false, made, () => certificatesText(made));
    });
}
