/** The few globals that every JavaScript host has and the pure core may use; no timers, no clock, no randomness, no Node. */
declare class TextEncoder {
  encode(text: string): Uint8Array;
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean });
  decode(bytes: Uint8Array): string;
}
