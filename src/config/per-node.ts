/** Values that are one for both nodes, or one per node. */
import type { NodeName } from '../base/identity.ts';

/** Says what was wanted at a path of the document. */
export type Complain = (path: PropertyKey[], wanted: string) => void;

/** One value per node; complains when a node has none or a name is no node. `what`: what is missing then. */
export function perNode(
  value: string | Readonly<Record<string, string>>,
  nodes: readonly NodeName[],
  path: PropertyKey[],
  complain: Complain,
  what = 'a path',
): Record<NodeName, string> {
  const entries = nodes.map((node) => [node, typeof value === 'string' ? value : value[node]] as const);
  const keys = typeof value === 'string' ? nodes : Object.keys(value);
  const strange = keys.find((key) => !nodes.includes(key));
  if (strange !== undefined) complain([...path, strange], `only the nodes ${nodes.join(' and ')}`);
  const missing = entries.find(([, file]) => file === undefined);
  if (missing !== undefined) complain(path, `${what} for node ${missing[0]}`);
  return Object.fromEntries(entries.map(([node, file]) => [node, file ?? '']));
}
