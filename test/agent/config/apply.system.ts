/**
 * A change of the configuration from the operator to the running modules of both nodes: the real agreement, store and files, and a lab of
 * real supervisors and modules. The way between the two agents is a function call. Needs `npm run build`.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import { vmSchema } from '../../../hypervisors/vm-schema.ts';
import { AppliedFiles } from '../../../src/agent/config/applied-files.ts';
import { ConfigAgreement, type Committed } from '../../../src/agent/config/config-agreement.ts';
import { LocalHost } from '../../../src/agent/config/config-host.ts';
import { ConfigStore } from '../../../src/agent/config/config-store.ts';
import { controlledProcesses } from '../../../src/agent/config/host-processes.ts';
import { openRevisionFiles } from '../../../src/agent/config/revision-files.ts';
import type { WorldError } from '../../../src/base/errors.ts';
import { silentLog } from '../../../src/base/log.ts';
import type { Documents } from '../../../src/config/configuration-set.ts';
import { modulePaths } from '../../../src/config/runtime-paths.ts';
import { labHost, labModule, type LabNode, labNodes } from '../../../src/lab/lab-layout.ts';
import { callOnce } from '../../../src/platform/control-client.ts';
import { systemClock } from '../../../src/platform/system-clock.ts';
import type { SupervisedStatus } from '../../../src/supervisor/supervised-module.ts';
import { until } from '../../until.ts';
import { RealPair } from '../../lab/real-pair.ts';
import { note, sha256 } from './digest.ts';

const commandDeadlineMs = 20_000;

describe('configuration applied to a running pair', function () {
  this.timeout(180_000);
  let pair: RealPair;
  const stores = {} as Record<LabNode, ConfigStore>;
  const agreements = {} as Record<LabNode, ConfigAgreement>;
  let documents: Documents;
  let tokens = 0;

  const configDir = (node: LabNode): string => join(pair.lab.nodes[node].directory, 'etc');
  const list = async (node: LabNode): Promise<SupervisedStatus[]> =>
    (await callOnce(pair.lab.nodes[node].supervisorSocket, 'list')) as SupervisedStatus[];

  before(async () => {
    pair = await RealPair.start({ timerProfile: 'fast', sizeBytes: 64 * 1024 ** 2 });
    for (const node of labNodes) {
      const { nodeFile, moduleFile } = pair.lab.nodes[node];
      const modulesDir = join(configDir(node), 'modules');
      mkdirSync(modulesDir, { recursive: true });
      renameSync(moduleFile, join(modulesDir, `${labModule}.yaml`));
      const config = parse(readFileSync(nodeFile, 'utf8')) as object;
      writeFileSync(nodeFile, stringify({ ...config, modules: [], modulesDir }));
    }
    const module = readFileSync(join(configDir('A'), 'modules', `${labModule}.yaml`), 'utf8');
    const { cluster } = parse(module) as { readonly cluster: string };
    const nodes = Object.fromEntries(
      labNodes.map((node) => [node, { addresses: [{ host: labHost(node), port: 7443 }] }]),
    );
    documents = {
      'cluster.yaml': stringify({ version: 1, cluster, name: 'lab', nodes }),
      [`modules/${labModule}.yaml`]: module,
    };
    for (const node of labNodes) {
      const { directory, runtimeDir, supervisorSocket } = pair.lab.nodes[node];
      const store = await ConfigStore.open(
        await openRevisionFiles(join(directory, 'state', 'config')),
        sha256,
      );
      stores[node] = store;
      agreements[node] = new ConfigAgreement({
        store,
        host: new LocalHost({
          node,
          vm: vmSchema,
          files: new AppliedFiles(configDir(node), store),
          processes: controlledProcesses({ runtimeDir, supervisorSocket }),
          log: silentLog,
        }),
        peer: {
          head: () => agreements[other(node)].head(),
          reserve: (request) => agreements[other(node)].reserve(request),
          commit: (request) => agreements[other(node)].commit(request),
          release: (request) => agreements[other(node)].release(request),
          fetch: (request) => agreements[other(node)].fetch(request),
        },
        clock: systemClock,
        digest: sha256,
        token: () => `token ${(tokens += 1)}`,
      });
    }
  });
  after(() => pair.end());

  const other = (node: LabNode): LabNode => (node === 'A' ? 'B' : 'A');
  async function change(node: LabNode, changed: Documents): Promise<Committed> {
    const committed = await agreements[node].propose({
      ...note,
      documents: changed,
      base: undefined,
      onlyHere: false,
    });
    // The peer applies after its answer.
    expect(await agreements[other(node)].applyHead(), 'applied by the peer').to.equal(undefined);
    expect(committed.notApplied?.message).to.equal(undefined);
    documents = changed;
    return committed;
  }
  const edited = (change: object, name = labModule): Documents => {
    const path = `modules/${name}.yaml`;
    const before = parse(documents[path] ?? documents[`modules/${labModule}.yaml`] ?? '') as object;
    return { ...documents, [path]: stringify({ ...before, ...change }) };
  };

  it('the first revision is what the supervisor found in the directory: the modules run on', async () => {
    const before = (await list('A'))[0];
    await change('A', documents);
    const after = (await list('A'))[0];
    expect([after?.pid, after?.file]).to.deep.equal([
      before?.pid,
      join(configDir('A'), 'modules', `${labModule}.yaml`),
    ]);
  });

  it('a live key of one node is obeyed by the modules of both', async () => {
    await change('B', edited({ failover: 'off' }));
    for (const node of labNodes) {
      const answer = await callOnce(pair.lab.nodes[node].paths.control, 'reconfigure', {}, commandDeadlineMs);
      expect(answer, 'it has it already').to.deep.equal({ applied: [], waiting: [] });
    }
  });

  it('a module is added on both nodes with one change, and taken away again when it is stopped', async () => {
    const perNode = (file: string) =>
      Object.fromEntries(labNodes.map((node) => [node, join(pair.lab.nodes[node].directory, file)]));
    for (const file of Object.values(perNode('second.img'))) writeFileSync(file, Buffer.alloc(4096));
    const before = documents;
    await change(
      'A',
      edited(
        {
          module: { id: 'ab'.repeat(16), name: 'vm2' },
          nodes: {
            A: { link: { host: labHost('A'), port: 7999 } },
            B: { link: { host: labHost('B'), port: 7999 } },
          },
          volumes: [{ name: 'disk0', size: 4096, file: perNode('second.img') }],
          metadata: perNode('second.meta'),
        },
        'vm2',
      ),
    );
    for (const node of labNodes)
      expect((await list(node)).map(({ module }) => module)).to.deep.equal([labModule, 'vm2']);
    for (const node of labNodes) {
      const { control } = modulePaths(pair.lab.nodes[node].runtimeDir, 'vm2');
      await until(`vm2 answers on ${node}`, () => callOnce(control, 'ping'), commandDeadlineMs);
    }
    await change('B', before);
    for (const node of labNodes)
      expect((await list(node)).map(({ module }) => module)).to.deep.equal([labModule]);
  });

  it('a module that runs is not taken away, and one with data does not change its disks', async () => {
    const { [`modules/${labModule}.yaml`]: _gone, ...without } = documents;
    const plain = { ...note, base: undefined, onlyHere: false };
    const refusal = (changed: Documents): Promise<WorldError> =>
      agreements.A.propose({ ...plain, documents: changed }).then(
        () => {
          throw new Error('it was accepted');
        },
        (error: unknown) => error as WorldError,
      );
    expect((await refusal(without)).next).to.contain(`vmpair stop ${labModule}`);
    expect((await refusal(edited({ metadata: '/elsewhere.meta' }))).wanted).to.contain(
      'metadata: no change while',
    );
    expect(stores.A.head?.id).to.equal(stores.B.head?.id);
    expect(stores.A.applied?.id).to.equal(stores.A.head?.id);
  });
});
