/** Bodies of HTTP answers: bounded, and JSON or nothing. */
import type { IncomingMessage } from 'node:http';

/** Rejects when the answer is longer than `bytesMax` or ends early. */
export function readBody(message: IncomingMessage, bytesMax: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    message.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > bytesMax) message.destroy(new Error(`an answer of more than ${bytesMax} bytes`));
      else chunks.push(chunk);
    });
    message.on('end', () => resolve(Buffer.concat(chunks)));
    message.on('error', reject);
    message.on('aborted', () => reject(new Error('the connection ended in the middle of the answer')));
  });
}

/** `undefined`: no JSON. */
export function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
