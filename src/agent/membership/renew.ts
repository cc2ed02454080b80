/**
 * A new certificate for the key of this node, and its use by everything that runs here. The key stays, so one file is replaced as a
 * whole: at every instant the files belong together. Open connections stay open.
 */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { WorldError } from '../../base/errors.ts';
import { callOnce } from '../../platform/control-client.ts';
import { replaceFile } from '../../platform/durable-file.ts';
import { certifyKey, privateFileMode, publicKeyOf } from '../../platform/pki.ts';
import { readIdentity } from '../../platform/tls.ts';
import { readAuthority } from './authority.ts';
import type { CertificateFacts } from './decide-certificates.ts';
import type { TlsFiles } from './node-files.ts';

/** Of a module, to read three files. */
const rereadDeadlineMs = 10_000;

export interface RenewedCertificate {
  readonly serial: string;
  readonly expires: string;
}

/** Whether a module uses the files as they are now. */
export interface ModuleInformed {
  readonly module: string;
  /** Absent: it does. */
  readonly problem?: string | undefined;
}

/** Facts for the decisions about certificates. Throws `file-missing` or `certificate-rejected`. */
export async function certificateFacts(tls: TlsFiles, nowMs: number): Promise<CertificateFacts> {
  const { certificatePem, authorities } = readIdentity(tls);
  const issuer = await readAuthority(tls).catch(() => undefined);
  const issuers = issuer === undefined ? authorities : [new X509Certificate(issuer.issuer.certificatePem)];
  return {
    nowMs,
    nodeEndsMs: Date.parse(new X509Certificate(certificatePem).validTo),
    authorityEndsMs: Math.max(...issuers.map(({ validTo }) => Date.parse(validTo))),
    canRenew: issuer !== undefined,
  };
}

/** Issues and writes it, durably; nobody is told yet. Also for a certificate that has ended. Throws `cluster-unusable`. */
export async function renewCertificate(tls: TlsFiles, node: string): Promise<RenewedCertificate> {
  const { issuer } = await readAuthority(tls);
  const key = publicKeyOf(await readFile(tls.key, 'utf8'));
  const certificatePem = await certifyKey(issuer, 'node', node, key);
  await replaceFile(tls.cert, certificatePem, privateFileMode);
  const { serialNumber, validTo } = new X509Certificate(certificatePem);
  return { serial: serialNumber, expires: new Date(validTo).toISOString() };
}

const supervisedSchema = z.array(z.object({ module: z.string(), control: z.string().optional() }));

/** Control sockets of the modules that the supervisor of this node keeps running; none when it does not run. */
export async function runningModules(
  supervisorSocket: string,
): Promise<readonly { readonly module: string; readonly control: string }[]> {
  try {
    const modules = supervisedSchema.parse(await callOnce(supervisorSocket, 'list'));
    return modules.flatMap(({ module, control }) => (control === undefined ? [] : [{ module, control }]));
  } catch (error) {
    if (error instanceof WorldError && error.code === 'control-unreachable') return [];
    throw error;
  }
}

/**
 * Lets every module process of this node read its certificates and the revoked keys again. A module that does not run reads them at
 * its start. The agent's own listener is its owner's.
 */
export async function informModules(supervisorSocket: string): Promise<readonly ModuleInformed[]> {
  const running = await runningModules(supervisorSocket);
  return Promise.all(
    running.map(async ({ module, control }) => {
      try {
        await callOnce(control, 'reread-certificates', {}, rereadDeadlineMs);
        return { module, problem: undefined };
      } catch (error) {
        return { module, problem: error instanceof Error ? error.message : String(error) };
      }
    }),
  );
}
