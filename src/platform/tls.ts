/**
 * Mutual TLS 1.3 between the parties of a cluster: what both sides offer, and the one check that decides
 * whether the other side is who it must be. No byte of a connection may be used before `authenticate`
 * accepted it.
 *
 * A certificate is accepted when TLS verified it against an authority that we hold, that authority carries
 * the same cluster as the certificate, role, name and cluster are the expected ones, and its key was not revoked. It
 * does not resume sessions: each connection shows its certificate. Which certificates there are may change while
 * connections are open: a new identity counts from the next connection on.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  type ConnectionOptions,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls';
import { WorldError } from '../base/errors.ts';
import {
  certificateKeyId,
  describeParty,
  type Party,
  partyOf,
  serverNameOf,
} from './certificate-identity.ts';

/** What a process needs to prove who it is and to judge others. */
export interface TlsIdentity {
  readonly self: Party;
  /** One; two while the authority of the cluster is replaced by another. */
  readonly authorities: readonly X509Certificate[];
  /** Ids of keys that no certificate is accepted for any more: those of nodes that were replaced. */
  readonly revokedKeys: ReadonlySet<string>;
  readonly certificatePem: string;
  readonly keyPem: string;
}

/** Who the other side must be; what is left out may be anything. */
export type ExpectedParty = Partial<Party>;

const pemPattern = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * AES-128 first: it is the fastest on every CPU with AES instructions and loses nothing that matters here.
 */
const cipherSuites = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256';

const renewNext = 'check the clocks of both hosts; issue a new certificate with the authority of the cluster';

function rejected(wanted: string, found: string, next: string, cause?: unknown): WorldError {
  return new WorldError('certificate-rejected', { wanted, found, next }, cause);
}

/** The authority among `authorities` that signed `certificate`. */
export function signerOf(
  certificate: X509Certificate,
  authorities: readonly X509Certificate[],
): X509Certificate | undefined {
  return authorities.find((ca) => certificate.checkIssued(ca) && certificate.verify(ca.publicKey));
}

/** The party of a certificate, when the authority that signed it is ours and of the same cluster. */
export function partySignedBy(
  certificate: X509Certificate,
  authorities: readonly X509Certificate[],
): Party | undefined {
  const party = partyOf(certificate);
  const signer = signerOf(certificate, authorities);
  const authority = signer === undefined ? undefined : partyOf(signer);
  if (party === undefined || party.role === 'authority') return undefined;
  return authority?.role === 'authority' && authority.clusterId === party.clusterId ? party : undefined;
}

function describeExpected(expected: ExpectedParty): string {
  const who = `${expected.role ?? 'party'}${expected.name === undefined ? '' : ` ${expected.name}`}`;
  return expected.clusterId === undefined
    ? `a ${who} of a known cluster`
    : `${who} of cluster ${expected.clusterId}`;
}

/** Why TLS itself refused a certificate, as a sentence with the code that it gave. */
function describeVerifyCode(code: string, expected: string): WorldError {
  const wanted = `the certificate of ${expected}`;
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return rejected(wanted, `an expired certificate (${code})`, renewNext);
    case 'CERT_NOT_YET_VALID':
      return rejected(wanted, `a certificate that is not valid yet (${code})`, renewNext);
    case 'UNSPECIFIED':
      return rejected(
        wanted,
        'no certificate',
        'let the other side show the certificate that was issued to it',
      );
    default:
      return rejected(
        wanted,
        `a certificate that no authority of ours signed (${code})`,
        'give both sides certificates of the same cluster authority',
      );
  }
}

function checkParty(
  certificate: X509Certificate,
  identity: TlsIdentity,
  expected: ExpectedParty,
): Party | WorldError {
  const party = partySignedBy(certificate, identity.authorities);
  const fits =
    party !== undefined &&
    (expected.clusterId ?? party.clusterId) === party.clusterId &&
    (expected.role ?? party.role) === party.role &&
    (expected.name ?? party.name) === party.name;
  if (fits && identity.revokedKeys.has(certificateKeyId(certificate))) {
    return rejected(
      `the certificate of ${describeExpected(expected)}`,
      `that of ${describeParty(party)}, whose key was revoked when the node was replaced`,
      'keep the old machine off, or let it join again as new hardware (vmpair node replace)',
    );
  }
  if (fits) return party;
  const found = party ?? partyOf(certificate);
  const signed = party === undefined ? ', not signed by the authority of that cluster' : '';
  return rejected(
    `the certificate of ${describeExpected(expected)}`,
    `that of ${describeParty(found)}${signed}`,
    'check that the address leads to the right machine, and that it holds the certificate issued to it',
  );
}

/**
 * Says who the other side of a finished handshake is; or answers certificate-rejected, with what was expected
 * and what was found, unless TLS verified the certificate and its party is the expected one.
 */
export function authenticate(
  socket: TLSSocket,
  identity: TlsIdentity,
  expected: ExpectedParty,
): Party | WorldError {
  if (!socket.authorized) {
    const reason: unknown = socket.authorizationError;
    const code = typeof reason === 'string' ? reason : 'UNSPECIFIED';
    return describeVerifyCode(code, describeExpected(expected));
  }
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return describeVerifyCode('UNSPECIFIED', describeExpected(expected));
  return checkParty(certificate, identity, expected);
}

function sharedOptions(identity: TlsIdentity) {
  return {
    ca: identity.authorities.map((authority) => authority.toString()),
    cert: identity.certificatePem,
    key: identity.keyPem,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ciphers: cipherSuites,
  } as const;
}

/**
 * For the listening side. TLS lets every certificate through to `authenticate`, so that a refusal can say
 * why: a `secureConnection` without it is not trusted.
 */
export function listenerOptions(identity: TlsIdentity): TlsOptions {
  return { ...sharedOptions(identity), requestCert: true, rejectUnauthorized: false };
}

const secureContexts = new WeakMap<TlsIdentity, SecureContext>();

/** What a listener of several clusters shows and verifies when it is asked for this one; made once for each identity. */
export function secureContextOf(identity: TlsIdentity): SecureContext {
  let context = secureContexts.get(identity);
  if (context === undefined)
    secureContexts.set(identity, (context = createSecureContext(sharedOptions(identity))));
  return context;
}

/**
 * For the dialling side: the handshake itself fails, with a certificate-rejected error, unless `expected`
 * answers.
 */
export function dialOptions(identity: TlsIdentity, expected: ExpectedParty): ConnectionOptions {
  return {
    ...sharedOptions(identity),
    servername: serverNameOf(expected.clusterId ?? identity.self.clusterId),
    rejectUnauthorized: true,
    checkServerIdentity: (_host, shown) => {
      const result = checkParty(new X509Certificate(shown.raw), identity, expected);
      return result instanceof WorldError ? result : undefined;
    },
  };
}

/** Codes with which TLS refuses the certificate of the other side; all other errors are of the connection. */
const verifyCodePattern = /^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_|PATH_LENGTH_|ERROR_IN_CERT_)/;

/**
 * Turns an error of a socket or a handshake into one for people. `what` names the other side: `node beta at
 * 10.0.0.2:7000`.
 */
export function describeConnectionError(error: Error, what: string): WorldError {
  if (error instanceof WorldError) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (verifyCodePattern.test(code)) return describeVerifyCode(code, what);
  if (/^ERR_SSL_(SSL\/)?TLSV1_ALERT|^ERR_SSL_SSLV3_ALERT/.test(code)) {
    return rejected(
      `${what} to accept our certificate`,
      `a TLS alert (${code})`,
      'see the log of the other side for what it expected; check the certificates and clocks of both',
      error,
    );
  }
  if (code.startsWith('ERR_SSL') || code === 'EPROTO') {
    return new WorldError(
      'protocol-violation',
      {
        wanted: `a TLS 1.3 handshake with ${what}`,
        found: `bytes that are none (${code})`,
        next: 'check that the address leads to vmpair and that nothing in between changes the stream',
      },
      error,
    );
  }
  return new WorldError(
    'peer-unreachable',
    {
      wanted: `a connection to ${what}`,
      found: code || error.message,
      next: 'check that it runs, that its address is right, and that no firewall is in between',
    },
    error,
  );
}

function readPem(file: string, what: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const problem = {
      wanted: `to read the ${what} ${file}`,
      found: String(error),
      next: 'write it, or correct its path',
    };
    throw new WorldError('file-missing', problem, error);
  }
}

function parseCertificate(pem: string, what: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw rejected(`${what} in PEM`, 'text that is none', 'write the file again', error);
  }
}

/** The authorities in a `ca.pem`, in its order. Throws `WorldError` certificate-rejected. */
export function parseAuthorities(pem: string): readonly X509Certificate[] {
  return (pem.match(pemPattern) ?? []).map((each) =>
    parseCertificate(each, 'the certificate of an authority'),
  );
}

function keyBelongs(certificate: X509Certificate, keyPem: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    return false;
  }
}

/**
 * Checks what this process would show to others, so that a wrong file is found at start and not by the peer.
 */
export function makeIdentity(
  authoritiesPem: string,
  certificatePem: string,
  keyPem: string,
  revokedKeys: ReadonlySet<string> = new Set(),
): TlsIdentity {
  const authorities = parseAuthorities(authoritiesPem);
  const certificate = parseCertificate(certificatePem, 'our certificate');
  const self = partySignedBy(certificate, authorities);
  if (self === undefined) {
    throw rejected(
      'a certificate of our own, signed by the cluster authority beside it',
      `that of ${describeParty(partyOf(certificate))}, signed by none of ${authorities.length} authorities`,
      'use the files that were issued together',
    );
  }
  if (!keyBelongs(certificate, keyPem)) {
    const found = 'a key that does not belong to it, or none in PEM';
    throw rejected(
      `the private key of ${describeParty(self)}`,
      found,
      'use the files that were issued together',
    );
  }
  return { self, authorities, certificatePem, keyPem, revokedKeys };
}

/** Reads an identity from its files. Throws `WorldError` file-missing or certificate-rejected. */
export function readIdentity(
  files: { readonly ca: string; readonly cert: string; readonly key: string },
  revokedKeys?: ReadonlySet<string>,
): TlsIdentity {
  return makeIdentity(
    readPem(files.ca, 'certificate of the authority'),
    readPem(files.cert, 'certificate'),
    readPem(files.key, 'private key'),
    revokedKeys,
  );
}
