/** A witness in this process, and what its tests say to it. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Arbiter, ArbiterAnswer, ReadAnswer } from '../../src/arbiter/arbiter.ts';
import type { Log, LogFields } from '../../src/base/log.ts';
import type { ArbiterRecord } from '../../src/disk/state.ts';
import {
  type CertificateAndKey,
  issueCertificate,
  type Validity,
  writeIdentity,
} from '../../src/platform/pki.ts';
import type { IdentitySource } from '../../src/witness/cluster-identities.ts';

/** A record whose operation id is made of `id`. */
export function sampleRecord(generation: number, holder: string, id = generation): ArbiterRecord {
  return { generation, holder, operationId: id.toString(16).padStart(32, '0') };
}

export function swapOf(
  arbiter: Arbiter,
  expected: ArbiterRecord | undefined,
  next: ArbiterRecord,
  store?: string,
): Promise<ArbiterAnswer> {
  const operation = store === undefined ? { expected, next } : { store, expected, next };
  return new Promise((resolve) => arbiter.swap(operation, resolve));
}

export function readOf(arbiter: Arbiter): Promise<ReadAnswer> {
  return new Promise((resolve) => arbiter.read(resolve));
}

/** Writes the files of a witness of this authority as `vmpair certificates` does. */
export async function writeWitnessFiles(
  directory: string,
  authority: CertificateAndKey,
  validity?: Validity,
): Promise<IdentitySource> {
  const issued = await issueCertificate(authority, 'witness', 'w', validity);
  const files = await writeIdentity(directory, 'witness', issued, authority.certificatePem);
  return { name: path.basename(directory), ...files };
}

/** As a copy that broke off would leave it. */
export function breakCertificate({ cert }: IdentitySource): void {
  writeFileSync(cert, '-----BEGIN CERTIFICATE-----\nMIIB');
}

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly fields: LogFields;
}

/** Keeps what is logged. */
export function recordingLog(): { readonly log: Log; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const write =
    (level: string) =>
    (event: string, fields: LogFields = {}): void => {
      lines.push({ level, event, fields });
    };
  const log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
  return { log, lines };
}
