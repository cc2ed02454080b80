/** A node that is gone makes way for new hardware. Whether it is gone, and what its modules do with it, are ports here. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { parseCluster, withMember } from '../../../src/agent/membership/cluster-document.ts';
import { documentFiles } from '../../../src/agent/membership/local-host.ts';
import type { NodeFiles } from '../../../src/agent/membership/node-files.ts';
import { prepareDisks } from '../../../src/agent/membership/prepare-disks.ts';
import { replaceNode } from '../../../src/agent/membership/replace-node.ts';
import { moduleConfigSchema } from '../../../src/config/module-config.ts';
import { readRevokedKeys } from '../../../src/config/membership-keys.ts';
import { parseYaml } from '../../../src/config/yaml-document.ts';
import { errorOf } from '../../platform/loopback-pair.ts';
import { moduleText } from '../../config/set-fixture.ts';
import { makeTempDirectory, type TempDirectory } from '../../temp-directory.ts';
import { firstNode } from './membership-fixture.ts';

describe('replacement of a node', () => {
  let directory: TempDirectory;
  let files: NodeFiles;
  let connected: string[];
  const keyId = 'b'.repeat(64);

  beforeEach(async () => {
    directory = makeTempDirectory();
    files = await firstNode(directory.file('a'), 7443);
    connected = [];
    const text = `${readFileSync(files.clusterFile, 'utf8')}# kept\nlimits: { modules: 3 }\n`;
    const member = { name: 'B', agent: { host: '192.0.2.12', port: 7443 }, keyId };
    writeFileSync(files.clusterFile, withMember(text, member));
  });
  afterEach(() => directory.remove());

  const replace = (node: string) => {
    const options = { files, self: 'A', node, hours: 1, nowMs: Date.now(), documents: documentFiles(files) };
    return replaceNode({ ...options, connectedModules: async () => connected, inform: async () => [] });
  };
  const cluster = () => parseCluster('cluster.yaml', readFileSync(files.clusterFile, 'utf8'));

  it('its key is revoked, its place is vacant, the rest of the file stays as it was', async () => {
    const replaced = await replace('B');
    expect(replaced).to.include({ revokedKey: keyId, node: 'B' });
    expect([...readRevokedKeys(files.configDir)]).to.deep.equal([keyId]);
    expect(cluster().keys['B']).to.equal(undefined);
    expect(Object.keys(cluster().nodes)).to.deep.equal(['A', 'B']);
    expect(readFileSync(files.clusterFile, 'utf8')).to.contain('# kept\nlimits: { modules: 3 }');
  });

  it('repeated, it revokes nothing more and makes another token', async () => {
    const first = await replace('B');
    const second = await replace('B');
    expect(second.revokedKey).to.equal(undefined);
    expect(second.token).not.to.equal(first.token);
    expect(cluster().revoked).to.deep.equal([keyId]);
  });

  it('a node that runs, this node, and one that the cluster does not know are refused and change nothing', async () => {
    const before = readFileSync(files.clusterFile, 'utf8');
    for (const node of ['A', 'C']) expect((await errorOf(replace(node))).code).to.equal('cluster-unusable');
    connected = ['vm1'];
    expect((await errorOf(replace('B'))).found).to.equal('that it runs: connected are vm1');
    expect(readFileSync(files.clusterFile, 'utf8')).to.equal(before);
  });

  it('disk files are made empty where there are none, never over one, never where the directory is missing', () => {
    const [disks, other] = [directory.file('disks'), directory.file('not-mounted')];
    mkdirSync(disks);
    writeFileSync(`${disks}/vm1.img`, 'kept');
    const texts = [1, 2].map((index) => moduleText(index).replaceAll('/images', disks));
    texts.push(moduleText(3).replaceAll('/images', other));
    const modules = texts.map((text) => parseYaml('module.yaml', text, moduleConfigSchema()));
    const prepared = prepareDisks(modules, 'B');
    expect(prepared).to.deep.equal({
      made: [`${disks}/vm2.img`],
      kept: [`${disks}/vm1.img`],
      missingDirectories: [other],
    });
    expect(readFileSync(`${disks}/vm1.img`, 'utf8')).to.equal('kept');
    expect(statSync(`${disks}/vm2.img`).size).to.equal(1024 ** 3);
    expect(existsSync(other)).to.equal(false);
  });
});
