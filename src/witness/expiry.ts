/** Which certificates end soon or have ended: a pair whose witness cannot show who it is does not fail over. */
import type { CertificateExpiry } from './cluster-identities.ts';

const dayMs = 24 * 60 * 60 * 1000;
/** How long before its end a certificate is warned of. */
export const expiryWarningDays = 30;

export interface ExpiryWarning {
  readonly clusterId: string;
  readonly expired: boolean;
  readonly because: string;
}

export function expiryWarnings(expiries: readonly CertificateExpiry[], nowMs: number): ExpiryWarning[] {
  return expiries.flatMap(({ clusterId, certificate, expiresMs }) => {
    const days = Math.floor((expiresMs - nowMs) / dayMs);
    if (days >= expiryWarningDays) return [];
    const what = `the ${certificate === 'witness' ? 'certificate of the witness' : 'authority'} of cluster ${clusterId}`;
    const at = new Date(expiresMs).toISOString();
    const expired = expiresMs <= nowMs;
    const because = expired
      ? `${what} has expired at ${at}: its nodes cannot reach this witness`
      : `${what} expires in ${days} days, at ${at}`;
    return [{ clusterId, expired, because }];
  });
}
