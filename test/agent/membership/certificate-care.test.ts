/** When certificates are renewed and warned of: the decisions over all times, and the files. */
import { readFileSync, rmSync } from 'node:fs';
import { X509Certificate } from 'node:crypto';
import { expect } from 'chai';
import { CertificateCare } from '../../../src/agent/membership/certificate-care.ts';
import {
  type CertificateFacts,
  decideAuthority,
  decideNodeCertificate,
} from '../../../src/agent/membership/decide-certificates.ts';
import type { NodeFiles } from '../../../src/agent/membership/node-files.ts';
import { certificateKeyId } from '../../../src/platform/certificate-identity.ts';
import { readIdentity } from '../../../src/platform/tls.ts';
import { makeTempDirectory, type TempDirectory } from '../../temp-directory.ts';
import { firstNode } from './membership-fixture.ts';

const dayMs = 24 * 60 * 60 * 1000;
const facts = (nodeDays: number, authorityDays: number, canRenew = true): CertificateFacts => ({
  nowMs: 0,
  nodeEndsMs: nodeDays * dayMs,
  authorityEndsMs: authorityDays * dayMs,
  canRenew,
});

describe('decisions about certificates', () => {
  const cases: [string, CertificateFacts, string, number | undefined][] = [
    ['30 days and more are left', facts(30, 7000), 'nothing', undefined],
    ['less than 30 days are left', facts(29.9, 7000), 'renew', 30],
    ['it has ended', facts(-5, 7000), 'renew', 0],
    ['the authority ends with it', facts(29.9, 30), 'warn', 30],
    ['the authority has ended too', facts(-5, -1), 'warn', 0],
    ['the key of the authority is elsewhere, 7 days', facts(6.9, 7000, false), 'warn', 7],
    ['the key of the authority is elsewhere, 1 day', facts(0.9, 7000, false), 'warn', 1],
  ];
  for (const [situation, given, action, stageDays] of cases)
    it(`of this node: ${situation}`, () => {
      expect(decideNodeCertificate(given)).to.include({ action, stageDays });
    });

  it('of the authority: a warning at 30, 7 and 1 day and at its end, with the command', () => {
    const stages = [31, 29, 6, 0.5, -1].map((days) => decideAuthority(facts(7000, days)));
    expect(stages.map(({ stageDays }) => stageDays)).to.deep.equal([undefined, 30, 7, 1, 0]);
    expect(stages[2]?.because).to.contain('ends in 6 days').and.contain('vmpair cluster rotate-authority');
  });
});

describe('care of certificates', () => {
  let directory: TempDirectory;
  let files: NodeFiles;
  let nowMs: number;
  let events: string[];
  let renewals: number;
  let care: CertificateCare;

  beforeEach(async () => {
    directory = makeTempDirectory();
    files = await firstNode(directory.file('a'), 7443);
    [events, renewals, nowMs] = [[], 0, Date.now()];
    const ports = {
      nowMs: () => nowMs,
      event: (severity: string, rule: string) => void events.push(`${severity} ${rule}`),
      renewed: () => void (renewals += 1),
    };
    care = new CertificateCare({ files, node: 'A', supervisorSocket: directory.file('none.sock') }, ports);
  });
  afterEach(() => directory.remove());

  const certificate = (): X509Certificate => new X509Certificate(readFileSync(files.tls.cert));

  it('a certificate that ends soon is renewed: the same key, and the files belong together', async () => {
    const before = certificate();
    await care.look();
    expect([events, renewals]).to.deep.equal([[], 0]);
    nowMs = Date.parse(before.validTo) - 20 * dayMs;
    await care.look();
    expect([events, renewals]).to.deep.equal([['info certificate-ends-soon'], 1]);
    expect(certificate().serialNumber).not.to.equal(before.serialNumber);
    expect(certificateKeyId(certificate())).to.equal(certificateKeyId(before));
    expect(readIdentity(files.tls).self.name).to.equal('A');
  });

  it('what cannot be renewed is warned of once for each stage', async () => {
    rmSync(files.tls.caKey);
    const endsMs = Date.parse(certificate().validTo);
    for (const days of [20, 19, 6, 5, 0.5, -1, -2]) {
      nowMs = endsMs - days * dayMs;
      await care.look();
    }
    expect(events.filter((event) => event.endsWith('cannot-be-renewed'))).to.deep.equal([
      'warning certificate-cannot-be-renewed',
      'warning certificate-cannot-be-renewed',
      'error certificate-cannot-be-renewed',
      'error certificate-cannot-be-renewed',
    ]);
  });

  it('files that are damaged are an event and no end of the agent', async () => {
    rmSync(files.tls.key);
    await care.look();
    expect(events).to.deep.equal(['error certificate-care-failed']);
  });
});
