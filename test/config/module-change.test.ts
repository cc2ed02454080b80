import { expect } from 'chai';
import { type ModuleConfig, moduleConfigSchema } from '../../src/config/module-config.ts';
import { moduleChanges, severestClass } from '../../src/config/module-change.ts';
import { parseYaml } from '../../src/config/yaml-document.ts';
import { moduleText } from './set-fixture.ts';

const parse = (text: string): ModuleConfig => parseYaml('module.yaml', text, moduleConfigSchema());
const before = moduleText(1, 'preferred: A\nvm: { kind: qemu, memory: 1GiB }\n');

function changesOf(from: string, to: string, text = before): string[] {
  expect(text).to.contain(from);
  return moduleChanges(parse(text), parse(text.replace(from, to))).map(
    (each) => `${each.key}: ${each.class}`,
  );
}

describe('change of a module', () => {
  const changes: [what: string, from: string, to: string, found: string[]][] = [
    ['the preferred node', 'preferred: A', 'preferred: B', ['preferred: live']],
    ['failover', 'preferred: A', 'preferred: A\nfailover: off', ['failover: live']],
    [
      'a limit of resyncs',
      'preferred',
      'resync: { maxMibPerSecond: 9 }\npreferred',
      ['resync.maxMibPerSecond: live'],
    ],
    ['an address of the link', '10.0.0.1', '10.0.0.9', ['nodes.NAME.links: module-restart']],
    ['the witness', '10.0.0.3', '10.0.0.9', ['arbiter: module-restart']],
    ['encryption', 'preferred', 'encryption: off\npreferred', ['encryption: module-restart']],
    ['timers', 'preferred', 'timers: { profile: fast }\npreferred', ['timers: module-restart']],
    ['a ping target', 'preferred', 'ping: { addresses: [{ host: h }] }\npreferred', ['ping: module-restart']],
    ['memory of the VM', '1GiB }', '2GiB }', ['vm: vm-restart']],
    ['the kind of the VM', 'kind: qemu, memory: 1GiB', 'kind: none', ['vm.kind: refused']],
    ['the size of a volume', 'size: 1GiB', 'size: 2GiB', ['volumes: refused']],
    ['the file of a volume', 'vm1.img', 'vm9.img', ['volumes: refused']],
    ['the metadata file', 'vm1.meta', 'vm9.meta', ['metadata: refused']],
    ['the name', 'name: vm1', 'name: vm9', ['module.name: refused']],
    ['the cluster', '"0123', '"3210', ['cluster: refused']],
    ['several at once', 'preferred: A', 'encryption: off', ['encryption: module-restart', 'preferred: live']],
    ['words that mean the same', '1GiB, file', '1024MiB, file', []],
    ['a default spelled out', 'preferred', 'failover: on\npreferred', []],
  ];
  for (const [what, from, to, found] of changes) {
    it(`${what}: ${found.join(', ') || 'nothing'}`, () => expect(changesOf(from, to)).to.have.members(found));
  }

  it('the nodes in another order mean the same', () => {
    const lines = before.split('\n');
    const swapped = [...lines.slice(0, 4), lines[5], lines[4], ...lines.slice(6)].join('\n');
    expect(parse(swapped).nodes).to.deep.equal(['B', 'A']);
    expect(moduleChanges(parse(before), parse(swapped))).to.deep.equal([]);
  });

  it('a module without a VM gets one: the process chooses its adapter when it starts', () => {
    const found = moduleChanges(parse(moduleText(1)), parse(before)).map(
      (each) => `${each.key}: ${each.class}`,
    );
    expect(found).to.have.members(['preferred: live', 'vm.kind: module-restart']);
  });

  it('the severest class of several counts for the whole', () => {
    const config = parse(before);
    const other = { ...config, failover: false, encryption: false };
    expect(severestClass(moduleChanges(config, other))).to.equal('module-restart');
    expect(severestClass(moduleChanges(config, { ...other, metadata: {} }))).to.equal('refused');
    expect(severestClass([])).to.equal(undefined);
  });
});
