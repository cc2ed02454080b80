/** What differs between two configurations: by document its lines, and of modules what each change takes until it counts. Pure. */
import type { z } from 'zod';
import { clusterDocument, type Documents } from '../../config/configuration-set.ts';
import {
  type ChangeClass,
  type KeyChange,
  moduleChanges,
  severestClass,
} from '../../config/module-change.ts';
import { type ModuleConfig, moduleConfigSchema } from '../../config/module-config.ts';
import { checkYaml } from '../../config/yaml-document.ts';
import { lineDiff } from './line-diff.ts';

export interface DocumentDiff {
  readonly path: string;
  readonly kind: 'added' | 'removed' | 'changed';
  /** As `diff -u` shows them. */
  readonly lines: readonly string[];
  /** Of a module that is in both: by key. Empty for others, and for a change of words only. */
  readonly changes: readonly KeyChange[];
  /** The severest class of the changes; `undefined`: there are none. */
  readonly class: ChangeClass | undefined;
}

/** Differing documents in the order of their paths. `vm` reads the adapters' part of the modules. */
export function diffDocuments(before: Documents, after: Documents, vm: z.ZodType): readonly DocumentDiff[] {
  const paths = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return paths.flatMap((path): DocumentDiff[] => {
    const [old, changed] = [before[path], after[path]];
    if (old === changed) return [];
    const lines = lineDiff(old ?? '', changed ?? '');
    if (old === undefined) return [{ path, kind: 'added', lines, changes: [], class: undefined }];
    if (changed === undefined) return [{ path, kind: 'removed', lines, changes: [], class: undefined }];
    const changes = path === clusterDocument ? [] : changesBetween(path, old, changed, vm);
    return [{ path, kind: 'changed', lines, changes, class: severestClass(changes) }];
  });
}

function changesBetween(path: string, before: string, after: string, vm: z.ZodType): readonly KeyChange[] {
  const schema = moduleConfigSchema(vm);
  const read = (text: string): ModuleConfig | undefined => checkYaml(path, text, schema).value;
  const [old, changed] = [read(before), read(after)];
  // One that an earlier version of the program accepted: its lines are all there is to show.
  return old === undefined || changed === undefined ? [] : moduleChanges(old, changed);
}
