/** Waiting for a tool that the bench runs. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Resolves to what the tool printed. Throws what it complained of when it fails or its time is over. */
export async function finish(child: ChildProcess): Promise<string> {
  let output = '';
  let complaint = '';
  child.stdout?.on('data', (text) => (output += String(text)));
  child.stderr?.on('data', (text) => (complaint += String(text)));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (code === 0) return output;
  throw new Error(`${child.spawnargs.join(' ')} ended with ${code ?? signal}: ${output}${complaint}`);
}
