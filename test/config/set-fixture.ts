/** Texts of a small cluster for tests: `cluster.yaml` and modules that fit together. */
import type { Documents } from '../../src/config/configuration-set.ts';

export const clusterText = `version: 1
cluster: "0123456789abcdef0123456789abcdef"
name: test
nodes:
  A: { addresses: [{ host: 10.0.0.1, port: 7443 }] }
  B: { addresses: [{ host: 10.0.0.2, port: 7443 }] }
`;

/** A module that shares nothing with one of another `index`. */
export function moduleText(index: number, extra = ''): string {
  const id = index.toString(16).padStart(32, 'f');
  return `version: 1
cluster: "0123456789abcdef0123456789abcdef"
module: { id: "${id}", name: vm${index} }
nodes:
  A: { link: { host: 10.0.0.1, port: ${7300 + index} } }
  B: { link: { host: 10.0.0.2, port: ${7300 + index} } }
arbiter: { kind: witness, host: 10.0.0.3, port: 7000 }
volumes:
  - { name: disk0, size: 1GiB, file: /images/vm${index}.img }
metadata: /images/vm${index}.meta
${extra}`;
}

/** `cluster.yaml` and modules `vm1` to `vmN`. */
export function documentsOf(modules: number): Documents {
  const numbers = Array.from({ length: modules }, (_none, index) => index + 1);
  return {
    'cluster.yaml': clusterText,
    ...Object.fromEntries(numbers.map((index) => [`modules/vm${index}.yaml`, moduleText(index)])),
  };
}
