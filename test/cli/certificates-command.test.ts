/** The certificates that an administrator makes by hand are those that the programs accept. Nothing of TLS is tested here. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { makeCertificates } from '../../src/cli/certificates-command.ts';
import { readIdentity } from '../../src/platform/tls.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

const cluster = '0f8fad5bd9cb469fa16570867728950e';

async function refusalOf(made: Promise<unknown>): Promise<unknown> {
  return made.then(
    () => 'made',
    (error: unknown) => (error as { readonly code?: unknown }).code,
  );
}

describe('certificates', () => {
  let directory: TempDirectory;
  beforeEach(() => {
    directory = makeTempDirectory();
  });
  afterEach(() => directory.remove());

  it('each machine gets an identity that names it, of one cluster', async () => {
    const { machines } = await makeCertificates(directory.file('new'), cluster, ['A', 'B'], 'witness');
    const parties = Object.values(machines).map((files) => readIdentity(files).self);
    expect(parties).to.deep.equal([
      { clusterId: cluster, role: 'node', name: 'A' },
      { clusterId: cluster, role: 'node', name: 'B' },
      { clusterId: cluster, role: 'witness', name: 'witness' },
    ]);
  });

  it('a directory with files in it is refused and not changed', async () => {
    const used = directory.file('kept');
    await makeCertificates(used, cluster, ['A', 'B'], 'witness');
    const before = readFileSync(join(used, 'ca.key.pem'), 'utf8');
    expect(await refusalOf(makeCertificates(used, cluster, ['A', 'B'], 'witness'))).to.equal('file-exists');
    expect(readFileSync(join(used, 'ca.key.pem'), 'utf8')).to.equal(before);
  });

  it('a file in the place of the directory is refused', async () => {
    const file = directory.file('file');
    writeFileSync(file, '');
    expect(await refusalOf(makeCertificates(file, cluster, ['A', 'B'], 'witness'))).to.equal('file-exists');
  });

  it('a name that cannot be used leaves nothing behind', async () => {
    const fresh = directory.file('fresh');
    expect(await refusalOf(makeCertificates(fresh, cluster, ['A', 'both'], 'w'))).to.equal('config-invalid');
    expect(readdirSync(directory.path)).to.not.include('fresh');
  });
});
