/** Time as a port: deciding code takes a `Clock` and never reads the host's clock itself. */

export interface Timer {
  /** Idempotent; a cancelled timer never fires. */
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds since an arbitrary origin; never goes back. */
  nowMs(): number;
  /** Calls `callback` once, not earlier than `delayMs` from now. */
  after(delayMs: number, callback: () => void): Timer;
}
