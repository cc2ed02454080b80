/**
 * `cluster.yaml` as membership sees it: who the two nodes are, which key each of them has, and which keys are revoked. What else
 * stands in the file, and its comments, are kept when it is changed here.
 */
import { type Document, parseDocument, stringify } from 'yaml';
import { z } from 'zod';
import { assertInvariant } from '../../base/assert.ts';
import { hexIdPattern, nodeNamePattern } from '../../base/identity.ts';
import { endpoint } from '../../config/link-config.ts';
import { membershipSections } from '../../config/membership-keys.ts';
import { parseYaml } from '../../config/yaml-document.ts';
import type { SocketAddress } from '../../platform/tls-sockets.ts';

const addresses = z
  .array(z.strictObject(endpoint), 'addresses of the agent')
  .min(1, 'addresses of the agent');

const schema = z.looseObject({
  version: z.literal(1, 'the format version 1'),
  cluster: z.string('a cluster id').regex(hexIdPattern, 'a cluster id of 32 hex digits'),
  name: z.string('a name'),
  nodes: z.record(z.string().regex(nodeNamePattern, 'a node name'), z.looseObject({ addresses })),
  ...membershipSections,
});

export type ClusterMembers = z.infer<typeof schema>;

export interface Member {
  readonly name: string;
  /** Where its agent is reached: the first of its addresses. */
  readonly agent: SocketAddress;
  /** Absent: its place is vacant, until new hardware joins. */
  readonly keyId: string | undefined;
}

/** Throws `config-invalid`; `file` is for messages. */
export function parseCluster(file: string, text: string): ClusterMembers {
  return parseYaml(file, text, schema);
}

export function membersOf({ nodes, keys }: ClusterMembers): readonly Member[] {
  return Object.entries(nodes).flatMap(
    ([
      name,
      {
        addresses: [agent],
      },
    ]) => (agent === undefined ? [] : [{ name, agent, keyId: keys[name] }]),
  );
}

export function newClusterText(cluster: string, name: string, { name: node, agent, keyId }: Member): string {
  const { host, port } = agent;
  const nodes = { [node]: { addresses: [{ host, port }] } };
  const content = { version: 1, cluster, name, nodes, keys: { [node]: keyId } };
  return `# What both nodes of the cluster share; identical on both.\n${stringify(content)}`;
}

/** The text with this member put in the place of the one of its name, or beside the other. */
export function withMember(text: string, { name, agent, keyId }: Member): string {
  const { host, port } = agent;
  return changed(text, (document) => {
    document.setIn(['nodes', name], document.createNode({ addresses: [{ host, port }] }));
    document.setIn(['keys', name], keyId);
  });
}

/** The text with the member's key revoked and its place vacant. Idempotent. */
export function withVacantPlace(text: string, { name, keyId }: Member): string {
  if (keyId === undefined) return text;
  const { revoked } = parseCluster('cluster.yaml', text);
  return changed(text, (document) => {
    document.deleteIn(['keys', name]);
    document.setIn(['revoked'], document.createNode([...new Set([...revoked, keyId])]));
  });
}

function changed(text: string, change: (document: Document) => void): string {
  const document = parseDocument(text);
  assertInvariant(document.errors.length === 0, 'a cluster document is parsed before it is changed');
  change(document);
  return document.toString();
}
