/** Broken invariants are our own bugs: they end the process, and supervisor and peer cope with that. */

export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Crashes when `condition` does not hold. For our own mistakes only, never for foreign input. */
export function assertInvariant(condition: boolean, what: string): asserts condition {
  if (!condition) throw new InvariantError(what);
}

/** The end of an exhaustive `switch`. */
export function assertNever(value: never, what: string): never {
  throw new InvariantError(`${what}: unexpected ${JSON.stringify(value)}`);
}
