/**
 * What the nodes of a pair tell each other of the VM beside the handshake: whether it runs there, which start of it that is, and
 * whether the host could run it. Said when the link is up and again with each change, to a peer that understands it. What was
 * heard counts as long as the connection on which it came.
 */
import type { PeerChannel } from '../engine/peer-channel.ts';
import type { VmReport } from '../link/control-messages.ts';
import { commonProtocol, reportsSinceProtocol } from '../link/frames.ts';

export class VmReports {
  readonly #channel: () => PeerChannel | undefined;
  #own: VmReport | undefined;
  #heard: VmReport | undefined;
  #understood = false;

  constructor(channel: () => PeerChannel | undefined) {
    this.#channel = channel;
  }

  /** `undefined`: nothing was said since the link is up. */
  get peer(): VmReport | undefined {
    return this.#heard;
  }

  /** What is to be told from now on. */
  say(report: Omit<VmReport, 'type'>): void {
    const next: VmReport = { type: 'vm-report', ...report };
    if (JSON.stringify(next) === JSON.stringify(this.#own)) return;
    this.#own = next;
    this.#tell();
  }

  /** The peer has said which versions of the protocol it speaks. */
  peerSpeaks(protocols: readonly number[]): void {
    if (this.#understood) return;
    this.#understood = (commonProtocol(protocols) ?? 0) >= reportsSinceProtocol;
    this.#tell();
  }

  observe(report: VmReport): void {
    this.#heard = report;
  }

  /** Another connection, or none. */
  forget(): void {
    this.#heard = undefined;
    this.#understood = false;
  }

  #tell(): void {
    if (this.#understood && this.#own !== undefined) this.#channel()?.control(this.#own);
  }
}
