/** Names and identifiers that every layer shares. */

/** Name of a node as configured, 1..31 ASCII letters, digits, `-` or `_`; not `both` or `none`, which mean holders. */
export type NodeName = string;

/** 128 random bits as 32 lower-case hex digits. */
export type OperationId = string;

/** 128 bits as 32 lower-case hex digits; changes whenever the host lost its page cache (boot). */
export type BootId = string;

export const nodeNamePattern = /^(?!(?:both|none)$)[A-Za-z0-9_-]{1,31}$/;
export const hexIdPattern = /^[0-9a-f]{32}$/;

/** Randomness as a port. */
export interface IdSource {
  operationId(): OperationId;
}
