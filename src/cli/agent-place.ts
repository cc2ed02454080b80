/** Where the agent is that a command asks: the socket of this host, or an address with a token and the authority to trust. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { AgentPlace } from '../agent/client.ts';
import { WorldError } from '../base/errors.ts';
import { defaultAgentPort } from '../config/node-config.ts';
import { agentSocket } from '../config/runtime-paths.ts';
import { usageError } from './outcome.ts';

/** Where the run-time files of this host are, unless the command line says otherwise. */
const defaultRuntimeDir = '/run/vmpair';
const defaultAuthority = '/etc/vmpair/ca.pem';
/** Holds a token, so that none stands on a command line. */
export const tokenVariable = 'VMPAIR_TOKEN';

export interface AgentOptions {
  readonly runtimeDir: string;
  readonly url?: string;
  readonly ca: string;
  readonly tokenFile?: string;
  readonly json?: boolean;
}

export function onAgent(command: Command): Command {
  return command
    .option('--runtime-dir <directory>', 'run-time directory of the node', defaultRuntimeDir)
    .option('--url <https://host:port>', 'an agent elsewhere, instead of the one of this host')
    .option('--ca <file>', 'with --url: certificate of the authority of the cluster', defaultAuthority)
    .option('--token-file <file>', `with --url: file with a token; else the variable ${tokenVariable}`)
    .option('--json', 'print one JSON line');
}

/** Throws `usage-wrong` or `file-missing`. */
export function agentPlace({ url, runtimeDir, ca, tokenFile }: AgentOptions): AgentPlace {
  if (url === undefined) return { socket: agentSocket(runtimeDir) };
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol !== 'https:') throw usageError(`--url ${url}, which is no https://host:port`);
  const token =
    tokenFile === undefined ? process.env[tokenVariable] : readText(tokenFile, 'the token').trim();
  return {
    host: parsed.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: parsed.port === '' ? defaultAgentPort : Number(parsed.port),
    authorityPem: readText(ca, 'the certificate of the authority'),
    token,
  };
}

function readText(file: string, what: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new WorldError(
      'file-missing',
      {
        wanted: `${what} in ${file}`,
        found: error instanceof Error ? error.message : String(error),
        next: 'Name the file with the option, and check its rights.',
      },
      error,
    );
  }
}
