/**
 * A lab with many pairs on its two nodes: one supervisor per node, and a module per pair and node, each with a simulated guest. Power-off
 * and logs are those of the lab, which knows only its first module.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { ModuleStatus } from '../../src/base/status.ts';
import { modulePaths } from '../../src/config/runtime-paths.ts';
import { randomHexId } from '../../src/lab/lab-files.ts';
import { createLabIssuer } from '../../src/lab/lab-identities.ts';
import { labHost, type LabNode, labNodes } from '../../src/lab/lab-layout.ts';
import { LabCluster } from '../../src/lab/pair.ts';
import { callOnce } from '../../src/platform/control-client.ts';
import { findFreePort } from '../../src/platform/free-port.ts';
import { createSparseFile } from '../../src/platform/locked-file.ts';
import { until } from '../until.ts';

const sizeBytes = 4 * 1024 * 1024;
const answerMs = 60_000;

export interface PairWish {
  readonly module: string;
  /** Of its `module.yaml`. */
  readonly start?: object;
  readonly vm?: object;
}

type Document = Record<string, unknown> & {
  module: object;
  volumes: readonly object[];
  metadata: Record<string, string>;
};

export class ManyPairs {
  readonly lab: LabCluster;
  readonly modules: readonly string[];

  /** `starts`: of both `node.yaml`. */
  static async create(directory: string, wishes: readonly PairWish[], starts: object): Promise<ManyPairs> {
    const lab = await LabCluster.create({
      directory,
      sizeBytes,
      issuer: createLabIssuer,
      vm: { kind: 'simulated', recordsPerSecond: 1 },
    });
    const template = parse(readFileSync(lab.nodes.A.moduleFile, 'utf8')) as Document;
    const files: Record<LabNode, string[]> = { A: [], B: [] };
    for (const { module, start, vm } of wishes) {
      const links = await Promise.all(
        labNodes.map(async (node) => {
          const host = labHost(node);
          return [node, { link: { host, port: await findFreePort(host) } }] as const;
        }),
      );
      const own = (node: LabNode, suffix: string) => join(lab.nodes[node].directory, `${module}${suffix}`);
      const perNode = (suffix: string) =>
        Object.fromEntries(labNodes.map((node) => [node, own(node, suffix)]));
      const document = {
        ...template,
        module: { id: randomHexId(), name: module },
        nodes: Object.fromEntries(links),
        volumes: [{ ...template.volumes[0], file: perNode('.img') }],
        metadata: perNode('.meta'),
        vm: { ...(template['vm'] as object), ...vm },
        ...(start === undefined ? {} : { start }),
      };
      for (const node of labNodes) {
        const file = own(node, '.yaml');
        files[node].push(file);
        createSparseFile(own(node, '.img'), sizeBytes);
        writeFileSync(file, stringify(document));
      }
    }
    for (const node of labNodes) {
      const { nodeFile } = lab.nodes[node];
      const document = parse(readFileSync(nodeFile, 'utf8')) as object;
      writeFileSync(nodeFile, stringify({ ...document, modules: files[node], starts }));
    }
    return new ManyPairs(
      lab,
      wishes.map(({ module }) => module),
    );
  }

  private constructor(lab: LabCluster, modules: readonly string[]) {
    this.lab = lab;
    this.modules = modules;
  }

  /** Everything in sync, every VM on A. */
  async start(): Promise<void> {
    await this.lab.startMachine('witness');
    await Promise.all(labNodes.map((node) => this.lab.startMachine(node)));
    for (const module of this.modules) {
      await until(`${module} answers`, () => this.status('B', module), answerMs);
      await until(`${module} answers`, () => this.status('A', module), answerMs);
      await this.call('A', module, 'prim', { peerIsOff: 'B' });
      await this.call('B', module, 'start');
    }
    for (const module of this.modules)
      await until(`${module} is in sync`, () => this.isInSync(module), answerMs);
  }

  async isInSync(module: string): Promise<boolean> {
    const [a, b] = await Promise.all(labNodes.map((node) => this.status(node, module)));
    return a?.axes.link === 'in-sync' && b?.axes.link === 'in-sync' && a.axes.vm === 'running';
  }

  call(node: LabNode, module: string, verb: string, args: object = {}): Promise<unknown> {
    const { control } = modulePaths(this.lab.nodes[node].runtimeDir, module);
    return callOnce(control, verb, args, answerMs);
  }

  async status(node: LabNode, module: string): Promise<ModuleStatus> {
    return (await this.call(node, module, 'status')) as ModuleStatus;
  }

  /** What the module wrote to its log: event and the rest. */
  log(node: LabNode, module: string): readonly Record<string, unknown>[] {
    return readFileSync(modulePaths(this.lab.nodes[node].runtimeDir, module).log, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }
}
