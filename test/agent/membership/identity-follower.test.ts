import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { IdentityFollower } from '../../../src/agent/membership/identity-follower.ts';
import type { NodeFiles } from '../../../src/agent/membership/node-files.ts';
import { renewCertificate } from '../../../src/agent/membership/renew.ts';
import { readRevokedKeys } from '../../../src/config/membership-keys.ts';
import { readIdentity } from '../../../src/platform/tls.ts';
import { makeTempDirectory, type TempDirectory } from '../../temp-directory.ts';
import { firstNode } from './membership-fixture.ts';

describe('identity that follows its files', () => {
  let directory: TempDirectory;
  let files: NodeFiles;
  let heard: string[];
  let follower: IdentityFollower;

  beforeEach(async () => {
    directory = makeTempDirectory();
    files = await firstNode(directory.file('a'), 7443);
    heard = [];
    const read = () => readIdentity(files.tls, readRevokedKeys(files.configDir));
    follower = new IdentityFollower(read(), {
      read,
      use: ({ revokedKeys }) => void heard.push(`used, ${revokedKeys.size} revoked`),
      refused: ({ code }) => void heard.push(code),
    });
  });
  afterEach(() => directory.remove());

  it('nothing changed: nothing is heard', () => {
    follower.look();
    expect(heard).to.deep.equal([]);
  });

  it('a renewal and a revocation are taken up once each', async () => {
    await renewCertificate(files.tls, 'A');
    follower.look();
    follower.look();
    const text = readFileSync(files.clusterFile, 'utf8');
    writeFileSync(files.clusterFile, `${text}revoked: ["${'b'.repeat(64)}"]\n`);
    follower.look();
    follower.look();
    expect(heard).to.deep.equal(['used, 0 revoked', 'used, 1 revoked']);
  });

  it('files that are wrong are told once, and the identity of before stays in force until they are right', async () => {
    const before = follower.current;
    const good = readFileSync(files.tls.cert, 'utf8');
    writeFileSync(files.tls.cert, good.slice(0, 200));
    follower.look();
    follower.look();
    expect(follower.current).to.equal(before);
    await renewCertificate(files.tls, 'A');
    follower.look();
    expect(heard).to.deep.equal(['certificate-rejected', 'used, 0 revoked']);
  });
});
