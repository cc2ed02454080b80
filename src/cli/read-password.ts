/** A password from the keyboard, not shown and typed twice, or the first line of standard input; never from the command line. */
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { usageError } from './outcome.ts';

/** Shows nothing of what is typed. */
const silence = new Writable({ write: (_chunk, _encoding, done) => done() });

/** Throws `usage-wrong` for two different ones, or none. */
export async function readPassword(): Promise<string> {
  const { stdin } = process;
  const lines = createInterface({ input: stdin, output: silence, terminal: stdin.isTTY });
  const read = lines[Symbol.asyncIterator]();
  const next = async (prompt: string): Promise<string> => {
    if (stdin.isTTY) process.stderr.write(prompt);
    const { value, done } = await read.next();
    if (stdin.isTTY) process.stderr.write('\n');
    return done === true ? '' : String(value);
  };
  try {
    const password = await next('password: ');
    if (password === '') throw usageError('no password on standard input');
    if (stdin.isTTY && (await next('again: ')) !== password) throw usageError('two different passwords');
    return password;
  } finally {
    lines.close();
  }
}
