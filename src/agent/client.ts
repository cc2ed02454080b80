/**
 * The asking side of the API: over the unix socket of this host, or over TLS with a token. Over TLS the agent must show the
 * certificate of a node that the given authority signed; its host name does not count. Refusals are the `WorldError` that
 * the agent answered; nobody who answers is `agent-unreachable`.
 */
import { X509Certificate } from 'node:crypto';
import { type IncomingMessage, request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { WorldError } from '../base/errors.ts';
import { describeParty, partyOf, serverNameOf } from '../platform/certificate-identity.ts';
import { errorOfBody } from './api/http-errors.ts';
import { parseJson, readBody } from './http-body.ts';

/** Of a call that names none, ms. */
export const callDeadlineMs = 30_000;
const answerBytesMax = 16 * 1024 * 1024;

export type AgentPlace =
  | { readonly socket: string }
  | {
      readonly host: string;
      readonly port: number;
      /** Certificate of the authority of the cluster, PEM. */
      readonly authorityPem: string;
      readonly token?: string | undefined;
    };

export interface AgentAnswer {
  /** 200, or 202 for a job that goes on. */
  readonly status: number;
  readonly body: unknown;
}

/** For messages. */
function placeText(place: AgentPlace): string {
  return 'socket' in place
    ? `the agent of this host at ${place.socket}`
    : `the agent at ${place.host}:${place.port}`;
}

function optionsOf(place: AgentPlace): RequestOptions {
  if ('socket' in place) return { socketPath: place.socket };
  const { host, port, authorityPem } = place;
  const authority = partyOf(new X509Certificate(authorityPem));
  const options = {
    host,
    port,
    ca: authorityPem,
    servername: serverNameOf(authority?.clusterId ?? ''),
    minVersion: 'TLSv1.3',
    checkServerIdentity: (_host: string, shown: { readonly raw: Buffer }): Error | undefined => {
      const party = partyOf(new X509Certificate(shown.raw));
      if (party?.role === 'node' && party.clusterId === authority?.clusterId) return undefined;
      return new WorldError('certificate-rejected', {
        wanted: `the certificate of a node of cluster ${authority?.clusterId}`,
        found: `that of ${describeParty(party)}`,
        next: 'Check the address, and that the authority is that of the cluster.',
      });
    },
  };
  return options as RequestOptions;
}

/** Asks an agent once. Throws `WorldError`. */
export async function askAgent(
  place: AgentPlace,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: object,
  deadlineMs: number = callDeadlineMs,
): Promise<AgentAnswer> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const message = await send(place, method, path, text, deadlineMs);
  const bytes = await readBody(message, answerBytesMax).catch((error: Error) => {
    throw unreachable(place, error);
  });
  const type = message.headers['content-type'] ?? '';
  const value = type.startsWith('application/json') ? parseJson(bytes) : bytes.toString('utf8');
  const status = message.statusCode ?? 0;
  const error = status >= 400 ? errorOfBody(value) : undefined;
  if (error !== undefined) throw error;
  return { status, body: value };
}

function send(
  place: AgentPlace,
  method: string,
  path: string,
  text: string | undefined,
  deadlineMs: number,
): Promise<IncomingMessage> {
  const token = 'socket' in place ? undefined : place.token;
  const headers = {
    ...(text === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  return new Promise((resolve, reject) => {
    const make = 'socket' in place ? httpRequest : httpsRequest;
    const sent = make({ ...optionsOf(place), method, path, headers, agent: false });
    const timer = setTimeout(() => sent.destroy(new Error(`no answer within ${deadlineMs} ms`)), deadlineMs);
    sent.on('response', (message) => {
      message.on('close', () => clearTimeout(timer));
      resolve(message);
    });
    sent.on('error', (error) => {
      clearTimeout(timer);
      reject(error instanceof WorldError ? error : unreachable(place, error));
    });
    sent.end(text);
  });
}

function unreachable(place: AgentPlace, error: Error): WorldError {
  return new WorldError(
    'agent-unreachable',
    {
      wanted: `an answer of ${placeText(place)}`,
      found: error.message,
      next: 'Look at `systemctl status vmpair-agent` there. `vmpair status VM` on a server works without an agent.',
    },
    error,
  );
}
