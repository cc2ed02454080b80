/**
 * `reconfigure`: what a running module takes from its file without a restart. A key counts at once, with the next start of the VM,
 * or not before the process is started again; the table of module-change.ts says which. What is refused while there is data
 * stays as it is, whatever the file says.
 */
import { parse } from 'yaml';
import { vmSchema } from '../../hypervisors/vm-schema.ts';
import { type KeyChange, moduleChanges } from '../../src/config/module-change.ts';
import { type ModuleConfig, moduleConfigSchema } from '../../src/config/module-config.ts';
import { parseYaml } from '../../src/config/yaml-document.ts';
import { readConfigText } from '../../src/config/yaml-file.ts';

/** A file of a module, and the definition of its VM as the adapter takes it. */
interface ModuleSource {
  readonly config: ModuleConfig;
  readonly vmText: string;
}

/** What the verb answers. */
export interface Reconfigured {
  /** Counts from now on. */
  readonly applied: readonly KeyChange[];
  /** Counts later, or never, as its class says. */
  readonly waiting: readonly KeyChange[];
}

/** Throws `file-missing` or `config-invalid`. */
export function readModuleSource(file: string): ModuleSource {
  const text = readConfigText(file);
  const config = parseYaml(file, text, moduleConfigSchema(vmSchema));
  // JSON is YAML, so the adapter's own reader takes it as the file has it.
  const { vm } = parse(text) as { readonly vm?: unknown };
  return { config, vmText: JSON.stringify(vm ?? { kind: 'none' }) };
}

/** The configuration of a running module after it has taken what counts at once, and what is left. */
export function takeLiveKeys(
  running: ModuleConfig,
  wanted: ModuleConfig,
): Reconfigured & { readonly config: ModuleConfig } {
  const applied = moduleChanges(running, wanted).filter((change) => change.class === 'live');
  const { preferred, failover, resyncBytesPerSecondMax, start, checks } = wanted;
  const config = { ...running, preferred, failover, resyncBytesPerSecondMax, start, checks };
  return { config, applied, waiting: moduleChanges(config, wanted) };
}
