/** The networks between the two nodes, as `module.yaml` names them: `link` for one, `links` for several. */
import { z } from 'zod';
import type { NodeName } from '../base/identity.ts';

/** Networks of one link. */
export const networksMax = 4;

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

const host = z
  .string('a host name or address')
  .min(1, 'a host name or address')
  .max(255, 'a host name or address');
const port = z.int('a port, 1 to 65535').min(1, 'a port, 1 to 65535').max(65535, 'a port, 1 to 65535');
/** Keys of an address in any mapping. */
export const endpoint = { host, port };

const address = z.strictObject(endpoint);
const several = `1 to ${networksMax} addresses, one per network`;
/** What a node says of its link. */
export const nodeSchema = z.strictObject({
  link: address.optional(),
  links: z.array(address, several).min(1, several).max(networksMax, several).optional(),
});

type NodeLinks = z.infer<typeof nodeSchema>;
type Complain = (path: PropertyKey[], wanted: string) => void;

/**
 * Where each node listens, one address per network; the first of both nodes are the two ends of the first network, and so on.
 * Complains when a node names none, or both keys, when the nodes differ in number, or an address stands twice.
 */
export function resolveLinks(
  nodes: Readonly<Record<NodeName, NodeLinks>>,
  complain: Complain,
): Readonly<Record<NodeName, readonly Endpoint[]>> {
  const resolved = Object.entries(nodes).map(([node, { link, links }]) => {
    const path = ['nodes', node];
    if (link === undefined && links === undefined)
      complain([...path, 'link'], '`link` with an address, or `links` with one per network');
    if (link !== undefined && links !== undefined)
      complain([...path, 'links'], 'either `link` or `links`, not both');
    const all = links ?? (link === undefined ? [] : [link]);
    all.forEach((each, index) => {
      const isSame = (other: Endpoint): boolean => other.host === each.host && other.port === each.port;
      if (all.findIndex(isSame) < index)
        complain([...path, 'links', index], 'an address that no other network of this node has');
    });
    return { node, all };
  });
  const [first, second] = resolved;
  if (first !== undefined && second !== undefined && first.all.length !== second.all.length) {
    const { length } = first.all;
    complain(['nodes', second.node, 'links'], `as many networks as node ${first.node} has: ${length}`);
  }
  return Object.fromEntries(resolved.map(({ node, all }) => [node, all]));
}
