/** Where an agent is reached, as people write it: `10.0.0.1`, `[2001:db8::1]:7443`, `plant7-a:7443`. */
import net from 'node:net';
import { defaultAgentPort } from '../../config/node-config.ts';
import type { SocketAddress } from '../../platform/tls-sockets.ts';

const portMax = 65_535;
const hostCharactersMax = 255;

export function addressText({ host, port }: SocketAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** `undefined` for what is no address. */
export function parseAddress(text: string): SocketAddress | undefined {
  if (net.isIPv6(text)) return { host: text, port: defaultAgentPort };
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? defaultAgentPort);
  if (host === undefined || host.length > hostCharactersMax || port < 1 || port > portMax) return undefined;
  if (match?.[1] !== undefined && !net.isIPv6(host)) return undefined;
  return { host, port };
}
