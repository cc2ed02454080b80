/**
 * The side of a join that is asked. Plain functions from a request to an answer: who serves them over HTTPS, with this node's
 * certificate and without asking for one, is another part's.
 *
 * Order, for a crash between any two steps: the token is marked as used by this name and key, the member is in `cluster.yaml`,
 * the certificate is handed out. The same server may repeat each of them; no other can use the token any more.
 */
import { WorldError } from '../../base/errors.ts';
import { type Rate, TokenBucket } from '../../base/token-bucket.ts';
import { keyIdOf } from '../../platform/certificate-identity.ts';
import { certifyKey, keyOfRequest } from '../../platform/pki.ts';
import { type ClusterMembers, type Member, membersOf, parseCluster, withMember } from './cluster-document.ts';
import { decideJoin, type JoinFacts } from './decide-join.ts';
import { type JoinAnswer, type JoinRequest, joinRequestSchema } from './join-messages.ts';
import { hashOfSecret } from './join-token.ts';
import type { MembershipHost } from './membership-host.ts';
import type { TokenRecord } from './token-store.ts';

/** Attempts to join that are looked at, all callers together: a guess of 256 bits is hopeless, and should cost nobody anything. */
const attempts: Rate = { perSecond: 0.2, burst: 10 };
const nodesOfCluster = 2;

function refused(wanted: string, found: string, next: string): WorldError {
  return new WorldError('join-refused', { wanted, found, next });
}

function tokenFact(record: TokenRecord | undefined, node: string, keyId: string, nowMs: number) {
  if (record === undefined) return 'unknown';
  const { used, expiresMs } = record;
  if (used !== undefined) return used.node === node && used.keyId === keyId ? 'used-by-this' : 'used';
  return expiresMs <= nowMs ? 'expired' : 'fresh';
}

function placeFact(cluster: ClusterMembers, self: string, node: string, keyId: string): JoinFacts['place'] {
  if (node === self) return 'self';
  const members = membersOf(cluster);
  const member = members.find(({ name }) => name === node);
  if (member === undefined) return members.length < nodesOfCluster ? 'free' : 'full';
  if (member.keyId === undefined) return 'vacant';
  return member.keyId === keyId ? 'same-key' : 'other-key';
}

/** Whether the cluster says all this already. */
function isMember(cluster: ClusterMembers, { name, keyId, agent }: Member): boolean {
  const known = membersOf(cluster).find((each) => each.name === name);
  const { host, port } = known?.agent ?? {};
  return known?.keyId === keyId && host === agent.host && port === agent.port;
}

/** Answers joins one after the other. */
export class JoinDesk {
  readonly #host: MembershipHost;
  readonly #bucket: TokenBucket;
  #last: Promise<unknown> = Promise.resolve();

  constructor(host: MembershipHost) {
    this.#host = host;
    this.#bucket = new TokenBucket(attempts, host.nowMs());
  }

  /** `body`: parsed JSON of a stranger. Throws `join-refused`, `limit-reached`, `cluster-unusable`. */
  answer(body: unknown): Promise<JoinAnswer> {
    if (!this.#bucket.take(this.#host.nowMs())) {
      const next = 'wait a minute; look at the audit log for who tries';
      const problem = { wanted: 'to look at an attempt to join', found: 'too many within a minute', next };
      return Promise.reject(new WorldError('limit-reached', problem));
    }
    const parsed = joinRequestSchema.safeParse(body);
    if (!parsed.success) {
      const found = parsed.error.issues
        .map(({ path, message }) => `${path.join('.')}: ${message}`)
        .join('; ');
      const next = 'use the same version of vmpair on both servers';
      return Promise.reject(refused('a request to join', found, next));
    }
    const answered = this.#last.then(() => this.#answer(parsed.data));
    this.#last = answered.catch(() => undefined);
    return answered;
  }

  async #answer(request: JoinRequest): Promise<JoinAnswer> {
    const { node: self, tokens, documents } = this.#host;
    const { node, agent, secret } = request;
    const key = await keyOfRequest(request.request);
    if (key === undefined)
      throw refused('a certificate request that its own P-256 key signed', 'none', 'repeat the command');
    const keyId = keyIdOf(key);
    const text = await documents.cluster();
    const cluster = parseCluster('cluster.yaml', text);
    const hash = hashOfSecret(secret);
    const record = await tokens.find(hash);
    const verdict = decideJoin({
      token: tokenFact(record, node, keyId, this.#host.nowMs()),
      nameFits: record?.node === undefined || record.node === node,
      keyRevoked: cluster.revoked.includes(keyId),
      place: placeFact(cluster, self, node, keyId),
    });
    if (verdict.action === 'refuse' || record === undefined)
      throw refused(`${node} to join cluster ${cluster.name}`, verdict.because, verdict.next);
    const authority = await this.#host.authority();
    await tokens.put(hash, { ...record, used: { node, keyId } });
    const member = { name: node, agent, keyId };
    if (!isMember(cluster, member))
      await documents.replaceCluster(withMember(text, member), `node ${node} joins`);
    return {
      version: 1,
      cluster: cluster.cluster,
      peer: self,
      certificatePem: await certifyKey(authority.issuer, 'node', node, key),
      trustedPem: authority.trustedPem,
      authorityKeyPem: authority.issuer.keyPem,
      documents: await documents.all(),
    };
  }
}
