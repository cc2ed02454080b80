/** `vmpair cluster token` and the part of `vmpair node replace` that lets new hardware in: on a node of the cluster, by its root. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { WorldError } from '../../base/errors.ts';
import { pinOf } from '../../platform/pinned-dial.ts';
import { parseAuthorities, signerOf } from '../../platform/tls.ts';
import { membersOf, parseCluster } from './cluster-document.ts';
import { encodeJoinToken, hashOfSecret, newSecret } from './join-token.ts';
import { readClusterText, type NodeFiles } from './node-files.ts';
import { TokenStore } from './token-store.ts';

export const tokenHoursDefault = 1;
export const tokenHoursMax = 24;
const hourMs = 60 * 60 * 1000;

export interface MadeToken {
  readonly token: string;
  readonly expires: string;
  /** The only name that it is good for. */
  readonly node: string | undefined;
}

export interface TokenOptions {
  readonly files: NodeFiles;
  /** Name of this node. */
  readonly self: string;
  readonly hours: number;
  /** Binds the token to this name. */
  readonly node?: string | undefined;
  readonly nowMs: number;
}

/** Throws `cluster-unusable`. */
export async function makeToken({ files, self, hours, node, nowMs }: TokenOptions): Promise<MadeToken> {
  const cluster = parseCluster(files.clusterFile, await readClusterText(files.clusterFile));
  const own = membersOf(cluster).find(({ name }) => name === self);
  const authority = signerOf(
    new X509Certificate(await readFile(files.tls.cert)),
    parseAuthorities(await readFile(files.tls.ca, 'utf8')),
  );
  if (own === undefined || authority === undefined) {
    throw new WorldError('cluster-unusable', {
      wanted: `node ${self} in ${files.clusterFile}, with a certificate of the cluster`,
      found: own === undefined ? 'other nodes' : 'a certificate of another authority',
      next: 'see `vmpair cluster certificates`',
    });
  }
  const secret = newSecret();
  const expiresMs = nowMs + hours * hourMs;
  const tokens = new TokenStore(files.stateDir);
  await tokens.forgetOld(nowMs);
  await tokens.put(hashOfSecret(secret), { version: 1, expiresMs, ...(node === undefined ? {} : { node }) });
  const token = encodeJoinToken({ address: own.agent, authority: pinOf(authority), secret });
  return { token, expires: new Date(expiresMs).toISOString(), node };
}
