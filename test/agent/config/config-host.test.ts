/** What a configuration means on one host: checks, files and drift, with stand-ins for its processes. */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { vmSchema } from '../../../hypervisors/vm-schema.ts';
import { AppliedFiles } from '../../../src/agent/config/applied-files.ts';
import { LocalHost } from '../../../src/agent/config/config-host.ts';
import { ConfigStore } from '../../../src/agent/config/config-store.ts';
import { makeRevision, type Revision } from '../../../src/agent/config/revision.ts';
import { WorldError } from '../../../src/base/errors.ts';
import { silentLog } from '../../../src/base/log.ts';
import type { Documents } from '../../../src/config/configuration-set.ts';
import { clusterText, moduleText } from '../../config/set-fixture.ts';
import { makeTempDirectory, type TempDirectory } from '../../temp-directory.ts';
import { note, sha256 } from './digest.ts';
import { MemoryFiles } from './memory-files.ts';

describe('configuration on one host', () => {
  let temp: TempDirectory;
  let store: ConfigStore;
  let files: AppliedFiles;
  let host: LocalHost;
  let running: Set<string>;
  let done: string[];

  beforeEach(async () => {
    temp = makeTempDirectory();
    mkdirSync(temp.file('images'));
    store = await ConfigStore.open(new MemoryFiles(), sha256);
    files = new AppliedFiles(temp.file('etc'), store);
    running = new Set();
    done = [];
    host = new LocalHost({
      node: 'A',
      vm: vmSchema,
      files,
      log: silentLog,
      processes: {
        moduleRuns: (name) => Promise.resolve(running.has(name)),
        reload: async () => void done.push('reload'),
        reconfigure: async (name) => void done.push(`reconfigure ${name}`),
      },
    });
  });
  afterEach(() => temp.remove());

  const module = (index: number, extra = ''): string =>
    moduleText(index, extra).replaceAll('/images/', `${temp.file('images')}/`);
  const withModules = (...indices: number[]): Documents => ({
    'cluster.yaml': clusterText,
    ...Object.fromEntries(indices.map((index) => [`modules/vm${index}.yaml`, module(index)])),
  });
  const commit = async (documents: Documents): Promise<Revision> => {
    const revision = makeRevision(store.head, documents, note, sha256);
    await store.append(revision);
    return revision;
  };
  const path = (name: string): string => join(temp.file('etc'), name);
  async function problem(work: Promise<unknown>): Promise<WorldError> {
    return work.then(
      () => {
        throw new Error('it was accepted');
      },
      (error: unknown) => {
        if (error instanceof WorldError) return error;
        throw error;
      },
    );
  }

  it('applying writes the files for root only, removes what is gone, and tells supervisor and modules', async () => {
    await host.apply(await commit(withModules(1, 2)));
    expect(readFileSync(path('modules/vm2.yaml'), 'utf8')).to.equal(module(2));
    expect(statSync(path('cluster.yaml')).mode & 0o777).to.equal(0o600);
    expect(done).to.deep.equal(['reload', 'reconfigure vm1', 'reconfigure vm2']);
    await host.apply(await commit(withModules(2)));
    expect(readdirSync(path('modules'))).to.deep.equal(['vm2.yaml']);
    expect((await files.states()).map(({ state }) => state)).to.deep.equal(['current', 'current']);
  });

  it('a crash between two files: the next start writes the rest, and takes nothing for drift', async () => {
    await host.apply(await commit(withModules(1, 2)));
    const next = await commit({ ...withModules(1), 'modules/vm1.yaml': module(1, 'failover: off\n') });
    writeFileSync(path('modules/vm1.yaml'), next.documents['modules/vm1.yaml'] as string);
    expect((await files.states()).map(({ path: each, state }) => `${each} ${state}`)).to.deep.equal([
      'cluster.yaml current',
      'modules/vm1.yaml current',
      'modules/vm2.yaml to-apply',
    ]);
    await host.apply(next);
    expect(readdirSync(path('modules'))).to.deep.equal(['vm1.yaml']);
  });

  it('files that were edited, added and deleted by hand are named, and nothing is overwritten', async () => {
    const first = await commit(withModules(1, 2));
    await host.apply(first);
    writeFileSync(path('modules/vm1.yaml'), module(1, 'failover: off\n'));
    writeFileSync(path('modules/vm3.yaml'), module(3));
    rmSync(path('modules/vm2.yaml'));
    const rules = (await files.states()).map(({ path: each, rule }) => `${each} ${rule}`);
    expect(rules).to.deep.equal([
      'cluster.yaml as-configured',
      'modules/vm1.yaml file-edited',
      'modules/vm2.yaml file-deleted',
      'modules/vm3.yaml file-added',
    ]);
    const change = { ...withModules(1, 2), 'cluster.yaml': clusterText.replace('name: test', 'name: other') };
    const error = await problem(host.validate(change, first.documents));
    expect(error.code).to.equal('config-drifted');
    expect(error.found).to.contain(
      'modules/vm2.yaml was deleted by hand; modules/vm3.yaml was added by hand',
    );
    expect(error.next).to.contain('adopt').and.contain('restore');
    expect((await problem(host.apply(await commit(change)))).code).to.equal('config-drifted');
    expect(readFileSync(path('cluster.yaml'), 'utf8')).to.equal(clusterText);
  });

  it('both ways out of a change by hand: it becomes a revision, or is undone', async () => {
    const first = await commit(withModules(1));
    await host.apply(first);
    writeFileSync(path('modules/vm1.yaml'), module(1, 'failover: off\n'));
    const adopted = await files.read();
    await host.validate(adopted, first.documents);
    await host.apply(await commit(adopted));
    expect(store.applied?.documents['modules/vm1.yaml']).to.contain('failover: off');
    writeFileSync(path('modules/vm1.yaml'), 'nonsense');
    await files.write(store.head as Revision, true);
    expect(readFileSync(path('modules/vm1.yaml'), 'utf8')).to.contain('failover: off');
  });

  it('a module that runs here is not taken away', async () => {
    running.add('vm2');
    const error = await problem(host.validate(withModules(1), withModules(1, 2)));
    expect(error.next).to.contain('vmpair stop vm2');
    running.clear();
    await host.validate(withModules(1), withModules(1, 2));
  });

  it('what is refused while there is data may change before', async () => {
    const resized = { ...withModules(), 'modules/vm1.yaml': module(1).replace('1GiB', '2GiB') };
    await host.validate(resized, withModules(1));
    writeFileSync(temp.file('images/vm1.meta'), '');
    const error = await problem(host.validate(resized, withModules(1)));
    expect(error.wanted).to.equal('modules/vm1.yaml: volumes: no change while the module has data here');
    await host.validate(
      { ...withModules(), 'modules/vm1.yaml': module(1, 'failover: off\n') },
      withModules(1),
    );
  });

  it('a module with data does not get another name by becoming another file', async () => {
    writeFileSync(temp.file('images/vm1.meta'), '');
    const renamed = { ...withModules(), 'modules/new.yaml': module(1).replace('name: vm1', 'name: new') };
    expect((await problem(host.validate(renamed, withModules(1)))).wanted).to.contain(
      'module.name: no change',
    );
  });

  it('a new module whose disk is in a directory that is not here is refused', async () => {
    const lost = { ...withModules(), 'modules/vm1.yaml': moduleText(1).replaceAll('/images/', '/nowhere/') };
    expect((await problem(host.validate(lost, {}))).wanted).to.contain(
      '/nowhere/vm1.img: a directory that exists on A',
    );
  });

  it('a cluster without this node is refused', async () => {
    const foreign = { 'cluster.yaml': clusterText.replace('  A:', '  C:') };
    expect((await problem(host.validate(foreign, {}))).wanted).to.contain('this node, A');
  });
});
