/**
 * `cluster.yaml`: what both nodes of a cluster share beside the modules: who they are, where their agents are, and limits.
 * Identical on both nodes. Further sections live in files of their own and are named in cluster-sections.ts; this file does
 * not know them. `docs/configuration.md` describes every key.
 */
import { z } from 'zod';
import { hexIdPattern, type NodeName, nodeNamePattern } from '../base/identity.ts';
import { type Endpoint, endpoint } from './link-config.ts';

/** Addresses of one agent. */
const agentAddressesMax = 4;
/** Modules of one cluster that are validated together in one release; `limits.modules` raises it. */
const modulesDefault = 25;
/** Highest value of `limits.modules`. */
export const modulesMax = 64;
const clusterNameCharactersMax = 60;

export interface ClusterConfig {
  readonly clusterId: string;
  /** For people. */
  readonly name: string;
  /** Two, and one until the other has joined: where the agent of each node answers, in the order of preference. */
  readonly nodes: Readonly<Record<NodeName, { readonly addresses: readonly Endpoint[] }>>;
  readonly limits: { readonly modules: number };
}

/** Schema of each section by its key in `cluster.yaml`; each takes `undefined`, because a section may be left out. */
export type ClusterSections = Readonly<Record<string, z.ZodType>>;

export type SectionValues<Sections extends ClusterSections> = {
  readonly [Key in keyof Sections]: z.infer<Sections[Key]>;
};

const addressesWanted = `1 to ${agentAddressesMax} addresses of the agent`;
const modulesWanted = `a number of modules, 1 to ${modulesMax}`;
const nameWanted = `a name of 1 to ${clusterNameCharactersMax} characters`;

const coreShape = {
  version: z.literal(1, 'the format version 1'),
  cluster: z.string('32 hex digits, in quotes').regex(hexIdPattern, '32 lower-case hex digits, in quotes'),
  name: z.string(nameWanted).min(1, nameWanted).max(clusterNameCharactersMax, nameWanted),
  nodes: z
    .record(
      z
        .string()
        .regex(nodeNamePattern, 'a node name of 1 to 31 letters, digits, "-" or "_", not "both" or "none"'),
      z.strictObject({
        addresses: z
          .array(z.strictObject(endpoint), addressesWanted)
          .min(1, addressesWanted)
          .max(agentAddressesMax, addressesWanted),
      }),
    )
    .refine(
      (nodes) => [1, 2].includes(Object.keys(nodes).length),
      'two nodes; one, until the other has joined',
    ),
  limits: z
    .strictObject({
      modules: z
        .int(modulesWanted)
        .min(1, modulesWanted)
        .max(modulesMax, modulesWanted)
        .default(modulesDefault),
    })
    .default({ modules: modulesDefault }),
};

/** Schema of the whole file with these sections. */
export function clusterConfigSchema<Sections extends ClusterSections>(
  sections: Sections,
): z.ZodType<ClusterConfig & SectionValues<Sections>> {
  return z.strictObject({ ...coreShape, ...sections }).transform((document) => {
    const { version: _version, cluster, ...rest } = document as z.infer<z.ZodObject<typeof coreShape>>;
    return { clusterId: cluster, ...rest } as ClusterConfig & SectionValues<Sections>;
  });
}
