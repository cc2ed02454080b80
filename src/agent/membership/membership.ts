/**
 * Membership in the running agent: who this node is now, its certificates kept good, servers that join, and the steps of the other
 * node's operator. Everything else of membership works on files, with or without an agent.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { NodeConfig } from '../../config/node-config.ts';
import { readRevokedKeys } from '../../config/membership-keys.ts';
import { readIdentity, type TlsIdentity } from '../../platform/tls.ts';
import { JoinDesk } from './answer-join.ts';
import { CertificateCare, type CertificatePorts } from './certificate-care.ts';
import { IdentityFollower } from './identity-follower.ts';
import type { JoinAnswer } from './join-messages.ts';
import { documentFiles, localHost } from './local-host.ts';
import type { ClusterDocuments } from './membership-host.ts';
import { type NodeFiles, nodeFilesIn, tlsFilesOf } from './node-files.ts';
import { informModules, type ModuleInformed } from './renew.ts';
import { answerRotation, type RotationAnswer } from './rotate-authority.ts';

/** Between two looks at the files of the identity: a renewal or a revocation by command is in force here after this time at the latest. */
const lookIntervalMs = 5000;
/** Between two looks at how long the certificates last. */
const careIntervalMs = 6 * 60 * 60 * 1000;

export interface MembershipOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  /** Milliseconds of the wall clock. */
  readonly wallMs: () => number;
  readonly event: CertificatePorts['event'];
  /** From now on this node is `identity`. */
  readonly use: (identity: TlsIdentity) => void;
  /** Where `cluster.yaml` is changed; absent: its file. */
  readonly documents?: ClusterDocuments;
}

/** Throws `file-missing`, `certificate-rejected` or `config-invalid`. */
export function identityOfNode({ tls, configDir }: NodeConfig): TlsIdentity {
  return readIdentity(tls, readRevokedKeys(configDir));
}

export class Membership {
  readonly #options: MembershipOptions;
  readonly #files: NodeFiles;
  readonly #follower: IdentityFollower;
  readonly #care: CertificateCare;
  readonly #desk: JoinDesk;
  #look: Timer | undefined;
  #careTimer: Timer | undefined;

  constructor(first: TlsIdentity, options: MembershipOptions) {
    this.#options = options;
    const { config, event, use, wallMs } = options;
    this.#files = { ...nodeFilesIn(config), tls: tlsFilesOf(config.tls) };
    this.#follower = new IdentityFollower(first, {
      read: () => identityOfNode(config),
      use,
      refused: (problem) =>
        event(
          'warning',
          'identity-refused',
          `the agent goes on with the certificates of before: ${problem.message}`,
        ),
    });
    const ports = { nowMs: wallMs, event, renewed: () => this.#follower.look() };
    const supervisorSocket = config.supervisor.controlSocket;
    this.#care = new CertificateCare({ files: this.#files, node: config.node, supervisorSocket }, ports);
    const documents = options.documents ?? documentFiles(this.#files);
    this.#desk = new JoinDesk(localHost(this.#files, config.node, wallMs, documents));
  }

  get identity(): TlsIdentity {
    return this.#follower.current;
  }

  begin(): void {
    this.#lookAgain();
    this.#takeCare();
  }

  close(): void {
    this.#look?.cancel();
    this.#careTimer?.cancel();
  }

  /** A server that has no certificate yet. Errors as of `JoinDesk`. */
  join(body: unknown): Promise<JoinAnswer> {
    return this.#desk.answer(body);
  }

  /** A step that the operator of the other node, `peer`, has given. Errors as of `answerRotation`. */
  rotate(body: unknown, peer: string): Promise<RotationAnswer> {
    const { clusterId } = this.identity.self;
    const { node } = this.#options.config;
    const own = { files: this.#files, node, inform: () => this.#inform() };
    return answerRotation(body, { clusterId, role: 'node', name: peer }, own);
  }

  #inform(): Promise<readonly ModuleInformed[]> {
    this.#follower.look();
    return informModules(this.#options.config.supervisor.controlSocket);
  }

  #lookAgain(): void {
    this.#look = this.#options.clock.after(lookIntervalMs, () => {
      this.#follower.look();
      this.#lookAgain();
    });
  }

  #takeCare(): void {
    void this.#care.look();
    this.#careTimer = this.#options.clock.after(careIntervalMs, () => this.#takeCare());
  }
}
