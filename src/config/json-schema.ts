/**
 * JSON schemas of the configuration files, for editors: made from the schemas that check the files, so that they cannot
 * differ from them. What spans several keys (names that must refer to nodes, files that must differ) is not in them.
 */
import { z } from 'zod';
import { fullClusterSchema } from './cluster-sections.ts';
import { moduleConfigSchema } from './module-config.ts';
import { nodeConfigSchema } from './node-config.ts';

/** Name of the file -> its JSON schema. `vm` describes the adapters' part of a module. */
export function configurationSchemas(vm: z.ZodType): Readonly<Record<string, object>> {
  const schemaOf = (title: string, schema: z.ZodType): object => ({
    ...z.toJSONSchema(schema, { io: 'input', target: 'draft-7', unrepresentable: 'any' }),
    title,
  });
  return {
    'node.schema.json': schemaOf('node.yaml of vmpair: one host', nodeConfigSchema),
    'module.schema.json': schemaOf('module.yaml of vmpair: one protected VM', moduleConfigSchema(vm)),
    'cluster.schema.json': schemaOf('cluster.yaml of vmpair: what both nodes share', fullClusterSchema),
  };
}
