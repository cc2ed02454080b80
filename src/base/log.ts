/** Structured log as a port. Event names are kebab-case and stable; payload bytes are never logged. */

export type LogFields = Readonly<Record<string, string | number | boolean | undefined | readonly string[]>>;

export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
