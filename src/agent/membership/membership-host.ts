/** What the handlers of membership need of the node that they run on. */
import type { CertificateAndKey } from '../../platform/pki.ts';
import type { TokenStore } from './token-store.ts';

/** The documents of the cluster as they are on this node. */
export interface ClusterDocuments {
  /** `cluster.yaml`. */
  cluster(): Promise<string>;
  /** Makes this the `cluster.yaml`, durably, and sees to it that the other node gets it. */
  replaceCluster(text: string, comment: string): Promise<void>;
  /** All, `cluster.yaml` among them: path below `configDir` -> text. */
  all(): Promise<Readonly<Record<string, string>>>;
}

export interface MembershipHost {
  /** Of this node. */
  readonly node: string;
  readonly tokens: TokenStore;
  readonly documents: ClusterDocuments;
  authority(): Promise<{ readonly trustedPem: string; readonly issuer: CertificateAndKey }>;
  /** Milliseconds of the wall clock. */
  nowMs(): number;
}
