/**
 * Makes the certificates of a cluster: one authority, made when the cluster is, and one certificate per node
 * and witness.
 *
 * ECDSA P-256, SHA-256. Leaf certificates serve both directions of mutual TLS, because either side may be the
 * one that dials. Lifetimes are long and an authority outlives what it signs: a pair that cannot authenticate
 * cannot replicate, so expiry is an outage. Who keeps its key may get a new certificate for it (`certifyKey`), so that
 * a renewal replaces one file. Modules do not load this file: they only read what it wrote.
 */
import 'reflect-metadata';
import { createPrivateKey, createPublicKey, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import * as x509 from '@peculiar/x509';
import { WorldError } from '../base/errors.ts';
import {
  type CertificateRole,
  clusterIdPattern,
  describeParty,
  isUsableName,
  type Party,
  partyOf,
  partyUri,
} from './certificate-identity.ts';
import { replaceFile } from './durable-file.ts';

export interface CertificateAndKey {
  readonly certificatePem: string;
  /** PKCS #8, unencrypted: the files that hold it are readable by their owner only. */
  readonly keyPem: string;
}

export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const dayMs = 24 * 60 * 60 * 1000;
/** How long before its making a certificate is valid, for hosts whose clocks differ. */
const backdatedDays = 1;
const authorityValidityDays = 7300;
const leafValidityDays = 3650;
export const privateFileMode = 0o600;
export const privateDirectoryMode = 0o700;

const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const;

function validityOfDays(days: number): Validity {
  const nowMs = Date.now();
  return { notBefore: new Date(nowMs - backdatedDays * dayMs), notAfter: new Date(nowMs + days * dayMs) };
}

/** Positive, 127 random bits. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

async function newKeyPair(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify']);
}

async function privateKeyPem(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}

function nameExtension(party: Party): x509.SubjectAlternativeNameExtension {
  return new x509.SubjectAlternativeNameExtension([{ type: 'url', value: partyUri(party) }]);
}

function refuseName(what: string, found: string): WorldError {
  return new WorldError('config-invalid', {
    wanted: what,
    found: JSON.stringify(found),
    next: 'choose another name; nothing was made',
  });
}

/** Makes the authority of a cluster. `WorldError` config-invalid when the id cannot be used. */
export async function createClusterAuthority(
  clusterId: string,
  validity: Validity = validityOfDays(authorityValidityDays),
): Promise<CertificateAndKey> {
  if (!clusterIdPattern.test(clusterId)) {
    throw refuseName('a cluster id of 1 to 63 lower-case letters, digits and hyphens', clusterId);
  }
  const keys = await newKeyPair();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serialNumber(),
      name: [{ CN: [`vmpair cluster ${clusterId.slice(0, 40)}`] }],
      ...validity,
      signingAlgorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        nameExtension({ clusterId, role: 'authority', name: clusterId }),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return { certificatePem: certificate.toString('pem'), keyPem: await privateKeyPem(keys.privateKey) };
}

/** A new private key as PKCS #8 PEM. */
export async function createKeyPem(): Promise<string> {
  return await privateKeyPem((await newKeyPair()).privateKey);
}

/** SPKI in DER: what a certificate says of a key. */
export type PublicKeyDer = Uint8Array;

export function publicKeyOf(keyPem: string): PublicKeyDer {
  return createPublicKey(createPrivateKey(keyPem)).export({ type: 'spki', format: 'der' });
}

async function importPublicKey(key: PublicKeyDer): Promise<webcrypto.CryptoKey> {
  return await webcrypto.subtle.importKey('spki', key, keyAlgorithm, true, ['verify']);
}

async function importPrivateKey(keyPem: string): Promise<webcrypto.CryptoKey> {
  const key = x509.PemConverter.decodeFirst(keyPem);
  return await webcrypto.subtle.importKey('pkcs8', key, keyAlgorithm, false, ['sign']);
}

/** A PKCS #10 request in PEM: proves that its sender holds the key. What it is to be certified as, the issuer decides. */
export async function createCertificateRequest(keyPem: string): Promise<string> {
  const keys = {
    privateKey: await importPrivateKey(keyPem),
    publicKey: await importPublicKey(publicKeyOf(keyPem)),
  };
  const options = { name: [{ CN: ['vmpair'] }], keys, signingAlgorithm };
  return (await x509.Pkcs10CertificateRequestGenerator.create(options, webcrypto)).toString('pem');
}

/** The key of a request from somebody else; `undefined` unless it is P-256 and signed the request. */
export async function keyOfRequest(requestPem: string): Promise<PublicKeyDer | undefined> {
  try {
    const request = new x509.Pkcs10CertificateRequest(requestPem);
    const key = new Uint8Array(request.publicKey.rawData);
    await importPublicKey(key);
    return (await request.verify(webcrypto)) ? key : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Issues the certificate of a node or witness, with a new key. `WorldError` config-invalid when the name cannot be used,
 * certificate-rejected when `authority` is not the authority of a cluster.
 */
export async function issueCertificate(
  authority: CertificateAndKey,
  role: Exclude<CertificateRole, 'authority'>,
  name: string,
  validity?: Validity,
): Promise<CertificateAndKey> {
  const keyPem = await createKeyPem();
  return { certificatePem: await certifyKey(authority, role, name, publicKeyOf(keyPem), validity), keyPem };
}

/** Issues a certificate, PEM, for a key that its owner keeps. It never outlives the authority. Errors as of `issueCertificate`. */
export async function certifyKey(
  authority: CertificateAndKey,
  role: Exclude<CertificateRole, 'authority'>,
  name: string,
  key: PublicKeyDer,
  validity: Validity = validityOfDays(leafValidityDays),
): Promise<string> {
  if (!isUsableName(name)) {
    throw refuseName("a name of 1 to 31 letters, digits, '-' or '_', not 'both' or 'none'", name);
  }
  const issuerParty = partyOf(new X509Certificate(authority.certificatePem));
  if (issuerParty?.role !== 'authority') {
    throw new WorldError('certificate-rejected', {
      wanted: 'the certificate of a cluster authority, to issue with',
      found: describeParty(issuerParty),
      next: 'use the authority that was made with the cluster',
    });
  }
  const issuer = new x509.X509Certificate(authority.certificatePem);
  const signingKey = await importPrivateKey(authority.keyPem);
  const publicKey = await importPublicKey(key);
  const notAfter = new Date(Math.min(validity.notAfter.getTime(), issuer.notAfter.getTime()));
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber(),
      subject: [{ CN: [name] }],
      issuer: issuer.subjectName,
      notBefore: validity.notBefore,
      notAfter,
      signingAlgorithm,
      publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.serverAuth,
          x509.ExtendedKeyUsage.clientAuth,
        ]),
        nameExtension({ clusterId: issuerParty.clusterId, role, name }),
        await x509.SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
        await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return certificate.toString('pem');
}

/** Paths of one identity; the shape that configuration files use. */
export interface IdentityFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/**
 * Writes `ca.pem`, `PREFIX.pem` and `PREFIX.key.pem` into `directory`, durably and for the owner only. The
 * key of the authority is not among them: write it with prefix `ca` on the one machine that keeps it.
 */
export async function writeIdentity(
  directory: string,
  prefix: string,
  identity: CertificateAndKey,
  authorityPem: string,
): Promise<IdentityFiles> {
  const files = {
    ca: path.join(directory, 'ca.pem'),
    cert: path.join(directory, `${prefix}.pem`),
    key: path.join(directory, `${prefix}.key.pem`),
  };
  await mkdir(directory, { recursive: true, mode: privateDirectoryMode });
  await replaceFile(files.key, identity.keyPem, privateFileMode);
  await replaceFile(files.cert, identity.certificatePem, privateFileMode);
  await replaceFile(files.ca, authorityPem, privateFileMode);
  return files;
}
