/**
 * The `Log` port over pino: one JSON object a line, written synchronously, so that the lines before a crash are in the
 * file. The event name is the message; nothing here decides where the lines go when the descriptor is a pipe or a file.
 */
import { destination, pino, stdTimeFunctions } from 'pino';
import type { Log, LogFields } from '../base/log.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface JsonLogOptions {
  /** Present in every line, for example `{ program: 'supervisor', node: 'A' }`. */
  readonly base: Readonly<Record<string, string>>;
  readonly level?: LogLevel;
  /** File descriptor or path; standard output when absent. */
  readonly destination?: number | string;
}

export function createJsonLog(options: JsonLogOptions): Log {
  const logger = pino(
    {
      base: { ...options.base, pid: process.pid },
      level: options.level ?? 'info',
      messageKey: 'event',
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination({ dest: options.destination ?? 1, sync: true }),
  );
  const write = (level: LogLevel) => (event: string, fields?: LogFields) => {
    logger[level](fields ?? {}, event);
  };
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
}
