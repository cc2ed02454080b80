/**
 * When certificates are renewed and warned of. Pure. A node renews its own certificate by itself; the end of the authority needs
 * its operator, because the witness has to get the next one by hand.
 */
import type { Decision } from '../../base/decision.ts';

const dayMs = 24 * 60 * 60 * 1000;
/** A renewal that would gain less than this is none: the authority ends first. */
const gainDaysMin = 1;
/** Days left below which something is done: with the most of them a certificate is renewed; each is warned of once. */
const warningDays = [1, 7, 30] as const;

export interface CertificateFacts {
  readonly nowMs: number;
  /** End of the certificate of this node. */
  readonly nodeEndsMs: number;
  /** End of the authority that would sign the next one. */
  readonly authorityEndsMs: number;
  /** Whether this node can issue: it holds the key of an authority. */
  readonly canRenew: boolean;
}

export type CertificateAction = 'nothing' | 'renew' | 'warn';

export interface CertificateDecision extends Decision<CertificateAction> {
  /** Of a warning: it is given once for each value; 0 when it has ended. */
  readonly stageDays: number | undefined;
}

function stageOf(endsMs: number, nowMs: number): number | undefined {
  if (endsMs <= nowMs) return 0;
  return warningDays.find((days) => endsMs - nowMs < days * dayMs);
}

function endText(endsMs: number, nowMs: number): string {
  const at = new Date(endsMs).toISOString();
  if (endsMs <= nowMs) return `ended at ${at}`;
  const days = Math.floor((endsMs - nowMs) / dayMs);
  return `ends in ${days === 1 ? '1 day' : `${days} days`}, at ${at}`;
}

const nothing = (because: string): CertificateDecision => ({
  action: 'nothing',
  rule: 'certificate-good',
  because,
  stageDays: undefined,
});

/** For the certificate of this node. */
export function decideNodeCertificate(facts: CertificateFacts): CertificateDecision {
  const { nowMs, nodeEndsMs, authorityEndsMs, canRenew } = facts;
  const stageDays = stageOf(nodeEndsMs, nowMs);
  const text = endText(nodeEndsMs, nowMs);
  if (stageDays === undefined) return nothing(`the certificate of this node ${text}`);
  if (canRenew && authorityEndsMs - nodeEndsMs >= gainDaysMin * dayMs && authorityEndsMs > nowMs) {
    const because = `the certificate of this node ${text}`;
    return { action: 'renew', rule: 'certificate-ends-soon', because, stageDays };
  }
  const because = canRenew
    ? `the certificate of this node ${text}, and the authority of the cluster with it: replace the authority (vmpair cluster rotate-authority)`
    : `the certificate of this node ${text}, and this node holds no key to renew it with: issue one where the key of the authority is`;
  return { action: 'warn', rule: 'certificate-cannot-be-renewed', because, stageDays };
}

/** For the authority of the cluster. */
export function decideAuthority({ nowMs, authorityEndsMs }: CertificateFacts): CertificateDecision {
  const stageDays = stageOf(authorityEndsMs, nowMs);
  const text = `the authority of the cluster ${endText(authorityEndsMs, nowMs)}`;
  if (stageDays === undefined) return nothing(text);
  const because = `${text}: nothing that it signed is accepted after that; replace it (vmpair cluster rotate-authority)`;
  return { action: 'warn', rule: 'authority-ends-soon', because, stageDays };
}
