/** The monotonic clock of the host, which all its processes share (CLOCK_MONOTONIC), ms. For times that several processes compare. */
export function hostNowMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}
