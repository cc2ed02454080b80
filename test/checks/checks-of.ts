/** Settings of checks for tests, read as from `module.yaml`. */
import { z } from 'zod';
import type { ChecksSettings } from '../../src/checks/settings.ts';
import { checksKeys, resolveChecks } from '../../src/config/checks-config.ts';

const schema = z.strictObject(checksKeys);

/** What the keys `checks`, `rules` and `loopLimit` of a module with a VM on the nodes A and B say. Throws what is wrong with them. */
export function checksOf(document: object): ChecksSettings {
  return resolveChecks(schema.parse(document), ['A', 'B'], true, (path, wanted) => {
    throw new Error(`${path.join('.')}: wanted ${wanted}`);
  });
}
