/**
 * Looks after the certificates of this node while the agent runs: renews its own in time, and warns of what it cannot renew. It
 * is called from time to time; each warning is given once for 30, 7 and 1 day and for the end, and again after a
 * restart of the agent.
 */
import { type CertificateDecision, decideAuthority, decideNodeCertificate } from './decide-certificates.ts';
import type { NodeFiles } from './node-files.ts';
import { certificateFacts, informModules, type ModuleInformed, renewCertificate } from './renew.ts';

export interface CertificatePorts {
  /** Milliseconds of the wall clock. */
  nowMs(): number;
  /** One sentence for people, with the rule that it comes from. */
  event(severity: 'info' | 'warning' | 'error', rule: string, sentence: string): void;
  /** Something was renewed: the agent's own listener has to take it up. */
  renewed(): void;
}

export interface CaredNode {
  readonly files: Pick<NodeFiles, 'tls'>;
  readonly node: string;
  readonly supervisorSocket: string;
}

export class CertificateCare {
  readonly #node: CaredNode;
  readonly #ports: CertificatePorts;
  /** Rule -> the stage that was warned of last. */
  readonly #warned = new Map<string, number>();

  constructor(node: CaredNode, ports: CertificatePorts) {
    this.#node = node;
    this.#ports = ports;
  }

  /** One look; a renewal that fails is an event, never an error. */
  async look(): Promise<void> {
    try {
      const facts = await certificateFacts(this.#node.files.tls, this.#ports.nowMs());
      const own = decideNodeCertificate(facts);
      if (own.action === 'renew') await this.#renew(own);
      for (const decision of [own, decideAuthority(facts)])
        if (decision.action === 'warn') this.#warn(decision);
    } catch (error) {
      const found = error instanceof Error ? error.message : String(error);
      this.#ports.event(
        'error',
        'certificate-care-failed',
        `the certificates of this node were not renewed: ${found}`,
      );
    }
  }

  async #renew({ rule, because }: CertificateDecision): Promise<void> {
    const { files, node, supervisorSocket } = this.#node;
    const { expires } = await renewCertificate(files.tls, node);
    this.#ports.renewed();
    this.#ports.event('info', rule, `${because}: it was renewed, until ${expires}`);
    for (const { module, problem } of await informModules(supervisorSocket)) this.#say(rule, module, problem);
  }

  #say(rule: string, module: string, problem: ModuleInformed['problem']): void {
    if (problem === undefined) return;
    const sentence = `module ${module} goes on with its old certificate until it is restarted: ${problem}`;
    this.#ports.event('warning', rule, sentence);
  }

  #warn({ rule, because, stageDays }: CertificateDecision): void {
    if (stageDays === undefined || this.#warned.get(rule) === stageDays) return;
    this.#warned.set(rule, stageDays);
    this.#ports.event(stageDays <= 1 ? 'error' : 'warning', rule, because);
  }
}
