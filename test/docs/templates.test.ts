/**
 * What ships in `templates/`: configuration files that the schemas accept, and the JSON schemas that are made from the code.
 * With `VMPAIR_REWRITE=1` the schemas are written anew, to be reviewed as a diff.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { vmSchema } from '../../hypervisors/vm-schema.ts';
import { checkSet } from '../../src/config/configuration-set.ts';
import { configurationSchemas } from '../../src/config/json-schema.ts';
import { readModuleConfig } from '../../src/config/module-config.ts';
import { readNodeConfig } from '../../src/config/node-config.ts';

const path = (name: string): string => fileURLToPath(new URL(`../../templates/${name}`, import.meta.url));

describe('templates', () => {
  for (const [name, schema] of Object.entries(configurationSchemas(vmSchema))) {
    it(`schema/${name} is current`, () => {
      const file = path(`schema/${name}`);
      const wanted = `${JSON.stringify(schema, null, 2)}\n`;
      if (process.env['VMPAIR_REWRITE'] === '1') writeFileSync(file, wanted);
      else
        expect(readFileSync(file, 'utf8'), 'run `VMPAIR_REWRITE=1 npx mocha` and review the diff').to.equal(
          wanted,
        );
    });
  }

  it('an editor sees the keys, their types and which are required', () => {
    const schema = configurationSchemas(vmSchema)['module.schema.json'] as {
      readonly properties: Readonly<Record<string, unknown>>;
      readonly required: readonly string[];
      readonly additionalProperties: boolean;
    };
    expect(schema.properties).to.include.keys('version', 'cluster', 'volumes', 'vm', 'fence', 'timers');
    expect(schema.required).to.include('metadata').and.not.to.include('failover');
    expect(schema.additionalProperties).to.equal(false);
  });

  for (const name of readdirSync(path('modules'))) {
    it(`modules/${name} is a module of the kind that its name says`, () => {
      const { vm } = readModuleConfig(path(`modules/${name}`), vmSchema);
      expect(vm.kind).to.equal(basename(name, '.yaml'));
    });
  }

  it('cluster.yaml, node.yaml and the modules fit each other', () => {
    const files = ['cluster.yaml', 'modules/qemu.yaml'].map((file) => ({
      file,
      kind: file === 'cluster.yaml' ? ('cluster' as const) : ('module' as const),
      text: readFileSync(path(file), 'utf8'),
    }));
    const { set, problems } = checkSet(files, vmSchema);
    expect(problems).to.deep.equal([]);
    expect(Object.keys(set.cluster?.nodes ?? {})).to.include(readNodeConfig(path('node.yaml')).node);
  });

  it('every file names the schema by which an editor checks it', () => {
    for (const file of ['cluster.yaml', 'node.yaml', 'modules/qemu.yaml']) {
      const [, schema] =
        /^# yaml-language-server: \$schema=(\S+)\n/.exec(readFileSync(path(file), 'utf8')) ?? [];
      expect(
        readFileSync(new URL(schema ?? '', new URL(`../../templates/${file}`, import.meta.url)), 'utf8'),
      ).to.contain('"title"');
    }
  });
});
