/**
 * `vmpair cluster join`: a bare server becomes the second node. Its private key is made here and never leaves; what it sends
 * is a request for a certificate and the secret of the token, and nothing before the other side proved that it belongs to
 * the authority which the token pins. The key is kept before the first question, so that a repeated command asks for the same.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WorldError } from '../../base/errors.ts';
import { replaceFile } from '../../platform/durable-file.ts';
import { postJson } from '../../platform/json-exchange.ts';
import { createCertificateRequest, createKeyPem, privateFileMode } from '../../platform/pki.ts';
import { dialPinned, pinOf } from '../../platform/pinned-dial.ts';
import { makeIdentity, parseAuthorities } from '../../platform/tls.ts';
import type { SocketAddress } from '../../platform/tls-sockets.ts';
import { addressText } from './address.ts';
import { findIssuer } from './authority.ts';
import { type JoinAnswer, joinAnswerSchema, joinPath, type JoinRequest } from './join-messages.ts';
import { type JoinToken, parseJoinToken } from './join-token.ts';
import { begin, finish, type NodeFiles, refuseMember } from './node-files.ts';

/** Connect, handshake and answer, each. */
const joinDeadlineMs = 30_000;

export interface JoinOptions {
  readonly files: NodeFiles;
  readonly token: string;
  readonly node: string;
  /** Where the agent of this server will be reached. */
  readonly address: SocketAddress;
}

export interface JoinedCluster {
  readonly cluster: string;
  readonly node: string;
  readonly peer: string;
  readonly nodeFile: string;
  /** Names of the modules that came along. */
  readonly modules: readonly string[];
}

/** Throws `file-exists`, `join-refused`, `certificate-rejected`, `peer-unreachable`, `cluster-unusable`. */
export async function joinCluster({ files, token, node, address }: JoinOptions): Promise<JoinedCluster> {
  refuseMember(files);
  const parsed = parseJoinToken(token);
  await begin(files, 'join');
  const keyPem = await ownKey(files.tls.key);
  const request = { request: await createCertificateRequest(keyPem), node, agent: address };
  const answer = await ask(parsed, { version: 1, secret: parsed.secret, ...request });
  check(answer, parsed, node, keyPem);
  const { tls, configDir } = files;
  await replaceFile(tls.caKey, answer.authorityKeyPem, privateFileMode);
  await replaceFile(tls.ca, answer.trustedPem, privateFileMode);
  await replaceFile(tls.cert, answer.certificatePem, privateFileMode);
  for (const [path, text] of Object.entries(answer.documents))
    await replaceFile(join(configDir, path), text, privateFileMode);
  await finish(files, node, address);
  const modules = Object.keys(answer.documents).flatMap(
    (path) => /^modules\/(.+)\.yaml$/.exec(path)?.[1] ?? [],
  );
  return { cluster: answer.cluster, node, peer: answer.peer, nodeFile: files.nodeFile, modules };
}

/** The key that an interrupted attempt made, or a new one. */
async function ownKey(file: string): Promise<string> {
  if (existsSync(file)) {
    const kept = await readFile(file, 'utf8');
    if (isPrivateKey(kept)) return kept;
  }
  const made = await createKeyPem();
  await replaceFile(file, made, privateFileMode);
  return made;
}

function isPrivateKey(pem: string): boolean {
  try {
    createPrivateKey(pem);
    return true;
  } catch {
    return false;
  }
}

async function ask({ address, authority }: JoinToken, request: JoinRequest): Promise<JoinAnswer> {
  const { socket } = await dialPinned(address, authority, joinDeadlineMs);
  const what = `the agent at ${addressText(address)}`;
  const answer = joinAnswerSchema.safeParse(await postJson(socket, joinPath, request, what, joinDeadlineMs));
  if (answer.success) return answer.data;
  throw new WorldError('protocol-violation', {
    wanted: `the answer of ${what} to a request to join`,
    found: answer.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '),
    next: 'use the same version of vmpair on both servers; nothing was changed here',
  });
}

/** What was handed out is for this key and name, and of the authority that the token pins. Nothing is written before. */
function check(answer: JoinAnswer, token: JoinToken, node: string, keyPem: string): void {
  const { self } = makeIdentity(answer.trustedPem, answer.certificatePem, keyPem);
  const issuer = findIssuer(answer.trustedPem, answer.authorityKeyPem);
  const certificate = new X509Certificate(answer.certificatePem);
  const isPinned = parseAuthorities(answer.trustedPem).some((each) => pinOf(each) === token.authority);
  const fits = self.role === 'node' && self.name === node && self.clusterId === answer.cluster;
  if (fits && isPinned && issuer !== undefined && certificate.verify(issuer.certificate.publicKey)) return;
  throw new WorldError('certificate-rejected', {
    wanted: `a certificate of node ${node}, and the authority of the token with its key`,
    found: 'others',
    next: 'use the same version of vmpair on both servers; nothing was changed here',
  });
}
