/**
 * How far the replacement of the authority is, and which step may be taken. Pure. Each authority is named by the SHA-256 of its
 * certificate. Steps, each on both nodes before the next:
 *
 *   trust    a new authority stands beside the old one in `ca.pem`; nothing is signed by it yet
 *   issue    the new one issues, and both nodes and the witness show certificates that it signed
 *   finish   the old one is no longer trusted
 *
 * Invariant: whoever shows a certificate of an authority shows it only to those who were seen to trust it.
 */
import { WorldError } from '../../base/errors.ts';

export const rotationSteps = ['trust', 'issue', 'finish'] as const;
export type RotationStep = (typeof rotationSteps)[number];

export interface RotationState {
  /** In `ca.pem`. */
  readonly trusted: readonly string[];
  /** Whose key is `ca.key.pem`. */
  readonly issuer: string;
  /** Who signed the certificate of the node. */
  readonly signer: string;
  /** That is to take over; absent before `trust` and after `issue`. */
  readonly next?: string | undefined;
}

function refused(wanted: string, found: string, next: string): WorldError {
  return new WorldError('cluster-unusable', { wanted, found, next });
}

/** Throws `cluster-unusable` unless the own node may take the step, or repeat it. */
export function checkOwnStep(step: RotationStep, own: RotationState): void {
  const { trusted, issuer, signer, next } = own;
  switch (step) {
    case 'trust':
      if (next !== undefined || trusted.length === 1) return;
      throw refused(
        'one authority, beside which a new one is put',
        `${trusted.length}: the new one issues already`,
        'go on with `vmpair cluster rotate-authority finish`',
      );
    case 'issue':
      if (next !== undefined || trusted.length > 1) return;
      throw refused(
        'a new authority beside the old one',
        'one authority only',
        'begin with `vmpair cluster rotate-authority trust`',
      );
    case 'finish':
      if (next === undefined && signer === issuer) return;
      throw refused(
        'a certificate of this node from the new authority',
        'one from the old authority',
        'give `vmpair cluster rotate-authority issue` before',
      );
  }
}

/** Throws `cluster-unusable` unless the peer is where the own node needs it for this step. */
export function checkPeerStep(
  step: RotationStep,
  own: RotationState,
  peer: RotationState,
  name: string,
): void {
  const needed = own.next ?? own.issuer;
  if (step === 'issue' && !peer.trusted.includes(needed)) {
    throw refused(
      `node ${name} to trust the new authority`,
      'that it does not',
      'repeat `vmpair cluster rotate-authority trust`',
    );
  }
  if (step === 'finish' && (peer.signer !== own.issuer || peer.issuer !== own.issuer)) {
    throw refused(
      `node ${name} to show a certificate of the new authority`,
      'one of another',
      'repeat `vmpair cluster rotate-authority issue`',
    );
  }
}
