/**
 * One POST of JSON over a connection that is already authenticated, and its answer. The connection ends with it. An error of the
 * other side arrives with its code, or as `control-refused` when this program does not know the code.
 */
import { Agent, type IncomingMessage, request } from 'node:http';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { z } from 'zod';
import { type ErrorCode, errorCatalogue } from '../base/error-catalogue.ts';
import { WorldError } from '../base/errors.ts';
import { wireErrorSchema } from './control-socket.ts';

/** Longest answer: the documents of a cluster. */
const answerBytesMax = 8 * 1024 * 1024;
const httpOk = 200;
const errorSchema = z.object({ error: wireErrorSchema });

/** `what`: the other side, for messages. Throws its error, `peer-unreachable` or `protocol-violation`. */
export async function postJson(
  socket: TLSSocket,
  path: string,
  body: object,
  what: string,
  deadlineMs: number,
): Promise<unknown> {
  const agent = new Agent({ maxSockets: 1 });
  agent.createConnection = (): Duplex => socket;
  const text = JSON.stringify(body);
  const host = `${socket.remoteAddress ?? 'node'}:${socket.remotePort ?? 0}`;
  const headers = {
    host,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    connection: 'close',
  };
  try {
    const { status, said } = await new Promise<{ status: number; said: string }>((resolve, reject) => {
      const asking = request({
        agent,
        method: 'POST',
        path,
        headers,
        signal: AbortSignal.timeout(deadlineMs),
      });
      asking.on('error', (error) => reject(unanswered(what, error.message)));
      asking.on('response', (response) => void collect(response, what).then(resolve, reject));
      asking.end(text);
    });
    const answer = parse(said);
    if (status === httpOk) return answer;
    throw errorOf(answer, status, what);
  } finally {
    agent.destroy();
    socket.destroy();
  }
}

async function collect(response: IncomingMessage, what: string): Promise<{ status: number; said: string }> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > answerBytesMax) throw new Error(`an answer of more than ${answerBytesMax} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw unanswered(what, error instanceof Error ? error.message : String(error));
  }
  return { status: response.statusCode ?? 0, said: Buffer.concat(chunks).toString('utf8') };
}

function unanswered(what: string, found: string): WorldError {
  const next = 'see whether the agent runs there (systemctl status vmpair-agent), then repeat the command';
  return new WorldError('peer-unreachable', { wanted: `an answer of ${what}`, found, next });
}

/** `undefined` for text that is not JSON. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCatalogue, code);
}

function errorOf(answer: unknown, status: number, what: string): WorldError {
  const parsed = errorSchema.safeParse(answer);
  if (!parsed.success) {
    const next = 'check that the address is that of an agent of vmpair, of the same version';
    return new WorldError('protocol-violation', {
      wanted: `an answer of ${what}`,
      found: `HTTP status ${status}`,
      next,
    });
  }
  const { code, ...problem } = parsed.data.error;
  return new WorldError(isErrorCode(code) ? code : 'control-refused', problem);
}
