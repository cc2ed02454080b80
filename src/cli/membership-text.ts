/** What the commands of a cluster print for people. */
import type { ClusterStatus } from '../agent/membership/cluster-status.ts';
import { addressText } from '../agent/membership/address.ts';
import type { InitializedCluster } from '../agent/membership/init.ts';
import type { JoinedCluster } from '../agent/membership/join.ts';
import type { MadeToken } from '../agent/membership/make-token.ts';
import type { PreparedDisks } from '../agent/membership/prepare-disks.ts';
import type { ModuleInformed } from '../agent/membership/renew.ts';
import type { ReplacedNode } from '../agent/membership/replace-node.ts';
import type { RotatedStep } from '../agent/membership/rotate-authority.ts';
import type { RotationStep } from '../agent/membership/rotation-state.ts';

const theOther = 'on the other server';

function tokenLines({ token, expires, node }: MadeToken): string[] {
  const name = node ?? 'NAME';
  return [
    `good once, until ${expires}${node === undefined ? '' : `, for node ${node} only`}; keep it secret until it is used`,
    `${theOther}: vmpair cluster join ${token} --node ${name} --address ITS-ADDRESS`,
  ];
}

export function initializedText({
  cluster,
  name,
  node,
  address,
  nodeFile,
  witnessDir,
}: InitializedCluster): string {
  return [
    `cluster ${name} (${cluster}): this server is node ${node}, its agent is reached at ${addressText(address)}`,
    `node configuration: ${nodeFile}`,
    'next:',
    '  here: systemctl enable --now vmpair-supervisor vmpair-agent',
    '  here: vmpair cluster token, and on the other server the command that it prints',
    `  to the witness: copy ${witnessDir} into its clusters directory, vmpair witness reload there, and remove it here`,
  ].join('\n');
}

export function tokenText(made: MadeToken): string {
  return tokenLines(made).join('\n');
}

export function joinedText({ cluster, node, peer, nodeFile, modules }: JoinedCluster): string {
  return [
    `this server is node ${node} of cluster ${cluster}, beside ${peer}`,
    `node configuration: ${nodeFile}`,
    `modules: ${modules.join(', ') || 'none yet'}`,
    'next:',
    ...(modules.length === 0 ? [] : ['  vmpair node prepare-disks']),
    '  systemctl enable --now vmpair-supervisor vmpair-agent',
    ...modules.map((module) => `  vmpair start ${module}`),
  ].join('\n');
}

function problemLines(modules: readonly (ModuleInformed & { readonly node?: string })[]): string[] {
  return modules.flatMap(({ module, node, problem }) =>
    problem === undefined
      ? []
      : [
          `problem: module ${module}${node === undefined ? '' : ` of ${node}`} goes on with its old files: ${problem}`,
        ],
  );
}

export function renewedText(renewed: {
  readonly node: string;
  readonly expires: string;
  readonly modules: readonly ModuleInformed[];
}): string {
  const { node, expires, modules } = renewed;
  return [
    `node ${node}: a new certificate, until ${expires}; ${modules.length} modules use it from their next connection on`,
    ...problemLines(modules),
  ].join('\n');
}

const stepText: Readonly<Record<RotationStep, readonly [string, string]>> = {
  trust: ['both nodes trust a new authority beside the old one', 'vmpair cluster rotate-authority issue'],
  issue: ['both nodes have certificates of the new authority', 'vmpair cluster rotate-authority finish'],
  finish: ['the old authority is trusted no more', ''],
};

export function rotatedText({ step, modules, witnessDir }: RotatedStep): string {
  const [done, then] = stepText[step];
  return [
    `${step}: ${done}`,
    ...problemLines(modules),
    'next:',
    `  to the witness: copy ${witnessDir} over the directory of this cluster, vmpair witness reload there, and remove it here`,
    ...(then === '' ? [] : [`  then here: ${then}`]),
  ].join('\n');
}

export function clusterStatusText(status: ClusterStatus): string {
  const { cluster, name, node, nodes, revokedKeys, certificateUntil, authorityUntil, warnings } = status;
  return [
    `cluster ${name} (${cluster}), this is node ${node}`,
    ...nodes.map(
      (each) => `node ${each.name}: agent at ${each.agent}${each.vacant ? ', waits for new hardware' : ''}`,
    ),
    `certificate until ${certificateUntil}; authority until ${authorityUntil.join(' and ')}`,
    ...(revokedKeys === 0 ? [] : [`revoked keys: ${revokedKeys}`]),
    ...warnings.map((warning) => `warning: ${warning}`),
  ].join('\n');
}

export function replacedText(replaced: ReplacedNode): string {
  const { node, revokedKey, modules, witnessFile } = replaced;
  return [
    revokedKey === undefined
      ? `node ${node}: its place was vacant already`
      : `node ${node}: its key is revoked (${revokedKey}); the old machine is met by nobody any more`,
    ...problemLines(modules),
    ...tokenLines(replaced),
    `to the witness: copy ${witnessFile} beside the ca.pem of this cluster, vmpair witness reload there`,
    `if the old machine was stolen, it holds the key of the authority: also vmpair cluster rotate-authority, once ${node ?? ''} is back`,
  ].join('\n');
}

export function preparedText({ made, kept, missingDirectories }: PreparedDisks): string {
  return [
    ...made.map((file) => `made, empty: ${file}`),
    ...kept.map((file) => `is there: ${file}`),
    ...missingDirectories.map((directory) => `missing: ${directory}: mount or make it, and repeat`),
    ...(made.length + kept.length + missingDirectories.length === 0 ? ['no module, nothing to prepare'] : []),
  ].join('\n');
}
