/** The edge of a server session, as a port: one connection of one client. */

export interface SessionPort {
  /**
   * Queues a message: header, then chunks. The bytes of `header` are the session's scratch space and are copied before the
   * call returns; the chunks are handed over. Everything of one event-loop turn leaves together.
   */
  send(header: Uint8Array, chunks: readonly Uint8Array[]): void;
  /** Bytes sent here that the operating system did not take yet. */
  queuedBytes(): number;
  /** Stops delivering received bytes; what is on its way may still arrive. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes. Nothing is delivered afterwards. */
  close(because: string): void;
  /** Closes at once and drops what is queued. */
  destroy(because: string): void;
}

/** What a parser made of the bytes it has. `blocked`: a limit is reached; asked again when a request settled. */
export type Step = 'again' | 'need-bytes' | 'blocked' | 'ended';

export const noChunks: readonly Uint8Array[] = [];
