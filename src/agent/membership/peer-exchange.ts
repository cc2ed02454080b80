/** Asks the agent of the other node, as a node: over mutual TLS, with the files of this node as they are now. */
import { WorldError } from '../../base/errors.ts';
import { postJson } from '../../platform/json-exchange.ts';
import { readIdentity } from '../../platform/tls.ts';
import { dialParty } from '../../platform/tls-sockets.ts';
import { addressText } from './address.ts';
import { type ClusterMembers, type Member, membersOf } from './cluster-document.ts';
import type { NodeFiles } from './node-files.ts';

const dialDeadlineMs = 5000;
const answerDeadlineMs = 60_000;

/** Throws `cluster-unusable` while there is none. */
export function peerOf(cluster: ClusterMembers, self: string): Member {
  const peer = membersOf(cluster).find(({ name }) => name !== self);
  if (peer !== undefined) return peer;
  throw new WorldError('cluster-unusable', {
    wanted: `the other node of cluster ${cluster.name}`,
    found: 'none yet',
    next: 'let it join: `vmpair cluster token`, and `vmpair cluster join` there',
  });
}

/** The parsed JSON of its answer. Throws its error, `peer-unreachable` or `certificate-rejected`. */
export async function askPeer(
  { tls }: Pick<NodeFiles, 'tls'>,
  { name, agent }: Member,
  path: string,
  body: object,
): Promise<unknown> {
  const identity = readIdentity(tls);
  const expected = { clusterId: identity.self.clusterId, role: 'node', name } as const;
  const socket = await new Promise<Parameters<typeof postJson>[0]>((resolve, reject) => {
    dialParty({ address: agent, identity, expected, deadlineMs: dialDeadlineMs }, (result) => {
      if (result instanceof WorldError) reject(result);
      else resolve(result);
    });
  });
  socket.on('error', () => undefined);
  return postJson(socket, path, body, `the agent of node ${name} at ${addressText(agent)}`, answerDeadlineMs);
}
