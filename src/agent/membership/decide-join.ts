/**
 * Whether a server may join: one literal table, evaluated from top to bottom; the first row that holds decides. Pure.
 *
 * Why in this order: who has no token learns nothing of the cluster; a repetition of a join that was granted is granted again,
 * also after the token's end, because only the holder of the same private key can repeat it.
 */

export interface JoinFacts {
  /** `used`: by another node or key; `used-by-this`: by this name with this key. */
  readonly token: 'unknown' | 'fresh' | 'expired' | 'used' | 'used-by-this';
  /** Whether the token is good for this name. */
  readonly nameFits: boolean;
  readonly keyRevoked: boolean;
  /**
   * Of the name: this node itself; free; named in the cluster and vacant; held with the same key; held with another key; or both
   * places are others'.
   */
  readonly place: 'self' | 'free' | 'vacant' | 'same-key' | 'other-key' | 'full';
}

export type JoinAction = 'refuse' | 'admit' | 'repeat';

export interface JoinVerdict {
  readonly action: JoinAction;
  readonly rule: string;
  readonly because: string;
  /** What the operator does next; empty unless refused. */
  readonly next: string;
}

interface Row {
  readonly rule: string;
  readonly holds: (facts: JoinFacts) => boolean;
  readonly action: JoinAction;
  readonly because: string;
  readonly next: string;
}

const newToken = 'make a new token on the other node: vmpair cluster token';

export const joinTable: readonly Row[] = [
  {
    rule: 'token-unknown',
    holds: ({ token }) => token === 'unknown',
    action: 'refuse',
    because: 'a token that was not made on this node, or was forgotten a week after its end',
    next: newToken,
  },
  {
    rule: 'join-repeated',
    holds: ({ token, place, keyRevoked }) => token === 'used-by-this' && place === 'same-key' && !keyRevoked,
    action: 'repeat',
    because: 'the same server asks once more with its token',
    next: '',
  },
  {
    rule: 'token-used',
    holds: ({ token }) => token === 'used',
    action: 'refuse',
    because: 'a token that another server has used',
    next: `${newToken}; if you do not know that server, look at the audit log and replace the node that joined`,
  },
  {
    rule: 'token-expired',
    holds: ({ token }) => token === 'expired',
    action: 'refuse',
    because: 'a token that has ended',
    next: newToken,
  },
  {
    rule: 'token-for-another-name',
    holds: ({ nameFits }) => !nameFits,
    action: 'refuse',
    because: 'a token that is bound to another node name',
    next: 'give --node the name that the token was made for, or make a new token',
  },
  {
    rule: 'name-of-this-node',
    holds: ({ place }) => place === 'self',
    action: 'refuse',
    because: 'the name of the node that made the token',
    next: 'give the joining server a name of its own with --node',
  },
  {
    rule: 'key-revoked',
    holds: ({ keyRevoked }) => keyRevoked,
    action: 'refuse',
    because: 'a key that was revoked when this node was replaced',
    next: 'remove the directory tls of its configuration on the joining server, so that it makes a new key',
  },
  {
    rule: 'two-nodes',
    holds: ({ place }) => place === 'full',
    action: 'refuse',
    because: 'two nodes already: a cluster is two nodes',
    next: 'make a cluster of its own for a third server, or replace a node with vmpair node replace',
  },
  {
    rule: 'name-taken',
    holds: ({ place }) => place === 'other-key',
    action: 'refuse',
    because: 'a node of that name with another key',
    next: 'if its hardware was replaced: vmpair node replace, on the other node',
  },
  {
    rule: 'key-known',
    holds: ({ place }) => place === 'same-key',
    action: 'repeat',
    because: 'this server is a member already and gets its certificate anew',
    next: '',
  },
  {
    rule: 'place-free',
    holds: () => true,
    action: 'admit',
    because: 'its place in the cluster is free',
    next: '',
  },
];

export function decideJoin(facts: JoinFacts): JoinVerdict {
  const row = joinTable.find(({ holds }) => holds(facts));
  if (row === undefined) throw new Error('the last row holds always');
  const { action, rule, because, next } = row;
  return { action, rule, because, next };
}
