/**
 * What two agents say to each other about the configuration. The asking side calls it, the other one answers with `ConfigAgreement`.
 * A call that got no answer throws `peer-unreachable`: the peer may have done it or not. Any other `WorldError` is its answer.
 */
import type { HeadFacts } from './compare-heads.ts';
import type { Revision } from './revision.ts';

/** Revisions of one answer of `fetch`. */
export const fetchedMax = 20;

export interface PeerConfigPort {
  head(): Promise<HeadFacts>;
  /**
   * Keeps every other change away for `reservationMs`, and checks that the peer could use this one, which must follow its head. Errors:
   * `config-busy`, `config-changed`, `config-invalid`.
   */
  reserve(request: { readonly token: string; readonly revision: Revision }): Promise<void>;
  /** Makes what was reserved the head, durably. Errors: `config-changed` when nothing is reserved under this token any more. */
  commit(request: { readonly token: string; readonly id: string }): Promise<void>;
  /** After it, nothing that was reserved under this token is ever committed. The answer is what is the head then. */
  release(request: { readonly token: string }): Promise<HeadFacts>;
  /** Revisions after this one, oldest first; all that are kept when it names none of them. At most `fetchedMax`. */
  fetch(request: { readonly after: string | undefined }): Promise<readonly Revision[]>;
}
