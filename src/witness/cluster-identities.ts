/**
 * The clusters that a witness serves: for each its authority, and the certificate and key that the witness shows to it.
 *
 * Invariants: there is at least one; no cluster is served twice; a set of files that cannot be used is refused by name and
 * the others are served. When a set that was served is read again and is wrong, the one from before stays: a slip in renewing
 * a certificate is no outage. A set that is gone is served no more.
 */
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { WorldError } from '../base/errors.ts';
import { describeParty, keyIdPattern, serverNameOf } from '../platform/certificate-identity.ts';
import { readIdentity, type TlsIdentity } from '../platform/tls.ts';

export const clustersMax = 64;

/** One set of files; `name` is what messages call it. */
export interface IdentitySource {
  readonly name: string;
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** Ids of revoked keys, one a line; the file need not exist. Absent: none are revoked. */
  readonly revoked?: string;
}

export interface RefusedSource {
  readonly name: string;
  readonly problem: WorldError;
  /** The files of before are still in force. */
  readonly keptBefore: boolean;
}

/** Cluster ids, and what could not be used. */
export interface IdentityChange {
  readonly added: readonly string[];
  readonly renewed: readonly string[];
  readonly withdrawn: readonly string[];
  readonly refused: readonly RefusedSource[];
}

export interface CertificateExpiry {
  readonly clusterId: string;
  readonly certificate: 'authority' | 'witness';
  readonly expiresMs: number;
}

interface Served {
  readonly source: string;
  readonly identity: TlsIdentity;
}

export class ClusterIdentities {
  #served: readonly Served[] = [];
  #byName: ReadonlyMap<string, TlsIdentity> = new Map();
  #refused: readonly RefusedSource[] = [];

  private constructor(served: readonly Served[], refused: readonly RefusedSource[]) {
    this.#use(served, refused);
  }

  /** Throws the problem of the first source when none can be used; `config-invalid` when there is none. */
  static load(sources: readonly IdentitySource[]): ClusterIdentities {
    const { served, refused } = read(sources, []);
    return new ClusterIdentities(served, refused);
  }

  /** The one identity of a witness of a single cluster. */
  static of(identity: TlsIdentity): ClusterIdentities {
    return new ClusterIdentities([{ source: 'tls', identity }], []);
  }

  /** In the order of the sources; never empty. */
  get all(): readonly TlsIdentity[] {
    return this.#served.map(({ identity }) => identity);
  }

  /** For diallers that name no cluster. */
  get first(): TlsIdentity {
    const [identity] = this.all;
    if (identity === undefined) throw new Error('a witness serves at least one cluster');
    return identity;
  }

  get refused(): readonly RefusedSource[] {
    return this.#refused;
  }

  get expiries(): readonly CertificateExpiry[] {
    return this.all.flatMap(expiriesOf);
  }

  byServerName(serverName: string): TlsIdentity | undefined {
    return this.#byName.get(serverName);
  }

  /** Takes up what the sources hold now. Throws, and changes nothing, when no cluster would be left. */
  reload(sources: readonly IdentitySource[]): IdentityChange {
    const before = new Map(this.all.map((identity) => [identity.self.clusterId, identity]));
    const { served, refused } = read(sources, this.#served);
    this.#use(served, refused);
    const now = this.all;
    const clusters = new Set(now.map(({ self }) => self.clusterId));
    const idsOf = (identities: readonly TlsIdentity[]) => identities.map(({ self }) => self.clusterId);
    return {
      added: idsOf(now.filter(({ self }) => !before.has(self.clusterId))),
      renewed: idsOf(now.filter((identity) => isRenewal(before.get(identity.self.clusterId), identity))),
      withdrawn: [...before.keys()].filter((clusterId) => !clusters.has(clusterId)),
      refused,
    };
  }

  #use(served: readonly Served[], refused: readonly RefusedSource[]): void {
    this.#served = served;
    this.#byName = new Map(
      served.map(({ identity }) => [serverNameOf(identity.self.clusterId), identity] as const),
    );
    this.#refused = refused;
  }
}

function isRenewal(before: TlsIdentity | undefined, now: TlsIdentity): boolean {
  return (
    before !== undefined &&
    (before.certificatePem !== now.certificatePem ||
      [...before.revokedKeys].join() !== [...now.revokedKeys].join() ||
      before.authorities.map(String).join('') !== now.authorities.map(String).join(''))
  );
}

function readRevoked(file: string | undefined): ReadonlySet<string> {
  if (file === undefined || !existsSync(file)) return new Set();
  const lines = readFileSync(file, 'utf8')
    .split(/\s+/)
    .filter((line) => line !== '');
  const wrong = lines.find((line) => !keyIdPattern.test(line));
  if (wrong === undefined) return new Set(lines);
  throw new WorldError('config-invalid', {
    wanted: `the ids of revoked keys in ${file}, 64 hex digits each, one a line`,
    found: JSON.stringify(wrong.slice(0, 80)),
    next: 'copy the file again that `vmpair node replace` named',
  });
}

/** Throws `WorldError` file-missing, config-invalid or certificate-rejected. */
function readWitnessIdentity(source: IdentitySource): TlsIdentity {
  const identity = readIdentity(source, readRevoked(source.revoked));
  if (identity.self.role === 'witness') return identity;
  throw new WorldError('certificate-rejected', {
    wanted: `the certificate of a witness in ${source.cert}`,
    found: `that of ${describeParty(identity.self)}`,
    next: 'use the files that were issued for the witness',
  });
}

function read(
  sources: readonly IdentitySource[],
  before: readonly Served[],
): { readonly served: readonly Served[]; readonly refused: readonly RefusedSource[] } {
  const served: Served[] = [];
  const refused: RefusedSource[] = [];
  for (const source of sources) {
    try {
      served.push({ source: source.name, identity: checked(source, served) });
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      const kept = before.find((one) => one.source === source.name);
      const keptBefore = kept !== undefined && clusterTaken(kept.identity, served) === undefined;
      if (keptBefore) served.push(kept);
      refused.push({ name: source.name, problem: error, keptBefore });
    }
  }
  if (served.length > 0) return { served, refused };
  throw (
    refused[0]?.problem ??
    new WorldError('config-invalid', {
      wanted: 'the certificates of at least one cluster',
      found: 'none',
      next: 'copy the directory that `vmpair certificates` made for the witness into clustersDir, under any name',
    })
  );
}

function clusterTaken(identity: TlsIdentity, served: readonly Served[]): Served | undefined {
  return served.find((other) => other.identity.self.clusterId === identity.self.clusterId);
}

function checked(source: IdentitySource, served: readonly Served[]): TlsIdentity {
  if (served.length >= clustersMax) {
    throw new WorldError('limit-reached', {
      wanted: `to serve the cluster of ${source.name}`,
      found: `${clustersMax} clusters already, the most of one witness`,
      next: 'run another witness for it',
    });
  }
  const identity = readWitnessIdentity(source);
  const taken = clusterTaken(identity, served);
  if (taken === undefined) return identity;
  throw new WorldError('config-invalid', {
    wanted: `a cluster of its own in ${source.name}`,
    found: `cluster ${identity.self.clusterId}, which ${taken.source} already is`,
    next: 'remove one of the two',
  });
}

function expiriesOf({ self, authorities, certificatePem }: TlsIdentity): CertificateExpiry[] {
  const expiresMs = (certificate: X509Certificate): number => Date.parse(certificate.validTo);
  const own = new X509Certificate(certificatePem);
  const authority = Math.min(...authorities.map(expiresMs));
  const { clusterId } = self;
  return [
    { clusterId, certificate: 'authority', expiresMs: authority },
    { clusterId, certificate: 'witness', expiresMs: expiresMs(own) },
  ];
}
