import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import type { WorldError } from '../../src/base/errors.ts';
import { moduleConfigSchema } from '../../src/config/module-config.ts';
import { parseYaml } from '../../src/config/yaml-document.ts';

const head = `version: 1
cluster: 0123456789abcdef0123456789abcdef
module: {id: fedcba9876543210fedcba9876543210, name: vm1}
nodes:
  A: {link: {host: 127.0.0.1, port: 7001}}
  B: {link: {host: 127.0.0.2, port: 7001}}
arbiter: {kind: witness, host: 127.0.0.3, port: 7000}
volumes: [{name: disk0, size: 2GiB, file: /images/vm1.img}]
metadata: /images/vm1.meta
`;
const vm = 'vm: {kind: simulated}\n';

const read = (text: string) => parseYaml('module.yaml', `${head}${text}`, moduleConfigSchema()).checks;

function problem(text: string): { wanted: string; found: string } {
  try {
    read(text);
  } catch (error) {
    const { wanted, found } = error as WorldError;
    return { wanted, found };
  }
  throw new Error('the text was accepted');
}

describe('checks in the module configuration', () => {
  it('a VM that nobody mentions is checked and restarted, three times a day at most; without a VM there is no check', () => {
    const { checks, rules, restartsMax } = read(vm);
    expect(checks.map(({ kind, name, action }) => [kind, name, action])).to.deep.equal([
      ['vm', 'vm', 'restart'],
    ]);
    expect([rules.length, restartsMax]).to.deep.equal([0, 3]);
    expect(read('').checks).to.deep.equal([]);
  });

  it('every kind is read, with defaults that fit it', () => {
    const { checks, rules, restartsMax } = read(`${vm}loopLimit: 5
checks:
  - {kind: vm, name: machine, action: swap}
  - {kind: guest, name: guest, action: restart}
  - {kind: tcp, name: web, host: 192.0.2.9, port: 80, on: vm, fails: 2 of 4, recovers: 1, graceMs: 0}
  - {kind: ping, name: gateway, host: 192.0.2.1}
  - {kind: disk-space, name: room, path: {A: /a, B: /b}, minFree: 10GiB}
  - {kind: network-link, name: lan, interface: eth1, action: swap}
  - {kind: hypervisor, name: qemu}
  - {kind: command, name: app, command: [/usr/bin/true], fails: 1, action: stop}
rules:
  - {name: dark, when: {all: [lan, gateway]}, action: wait}
`);
    expect(checks.map(({ name, on, graceMs, intervalMs, action }) => [name, on, graceMs, intervalMs, action]))
      // biome-ignore format: one row per check
      .to.deep.equal([
      ['machine', 'vm', 120_000, 10_000, 'swap'],
      ['guest', 'vm', 120_000, 10_000, 'restart'],
      ['web', 'vm', 0, 10_000, 'notify'],
      ['gateway', 'host', 0, 10_000, 'notify'],
      ['room', 'host', 0, 10_000, 'notify'],
      ['lan', 'host', 0, 10_000, 'swap'],
      ['qemu', 'host', 0, 60_000, 'notify'],
      ['app', 'vm', 120_000, 10_000, 'stop'],
    ]);
    expect(checks[2]?.hysteresis).to.deep.equal({ fails: 2, of: 4, recovers: 1 });
    expect(checks[3]?.hysteresis).to.deep.equal({ fails: 3, of: 3, recovers: 2 });
    const [, , , , room] = checks;
    expect(room?.kind === 'disk-space' && [room.path, room.minFreeBytes]).to.deep.equal([
      { A: '/a', B: '/b' },
      10 * 1024 ** 3,
    ]);
    expect(rules).to.deep.equal([
      { name: 'dark', when: { kind: 'all', checks: ['lan', 'gateway'] }, action: 'wait' },
    ]);
    expect(restartsMax).to.equal(5);
  });

  const refused: readonly [string, string, string, string][] = [
    [
      'a kind that does not exist',
      'checks: [{kind: http, name: a}]',
      'checks[0].kind: one of the kinds vm, guest, tcp',
      '"http"',
    ],
    ['no port', 'checks: [{kind: tcp, name: a, host: h}]', 'checks[0].port: a port, 1 to 65535', 'nothing'],
    [
      'a key with a mistake',
      'checks: [{kind: ping, name: a, host: h, graceMS: 1}]',
      'checks[0]: only the keys kind, host, name, intervalMs',
      'did you mean "graceMs"',
    ],
    [
      'more failures than results',
      'checks: [{kind: ping, name: a, host: h, fails: 4 of 3}]',
      'checks[0].fails: how many of the last results failed, for example "3 of 5"',
      '"4 of 3"',
    ],
    [
      'a program without its path',
      'checks: [{kind: command, name: a, command: [true.sh]}]',
      'checks[0].command: a program and its arguments',
      'true.sh',
    ],
    [
      'a size that is none',
      'checks: [{kind: disk-space, name: a, path: /x, minFree: much}]',
      'checks[0].minFree: a size, for example 10GiB',
      '"much"',
    ],
    [
      'a path for a node that does not exist',
      'checks: [{kind: disk-space, name: a, path: {A: /x, C: /y}, minFree: 1GiB}]',
      'checks[0].path',
      '/x',
    ],
    [
      'a timeout longer than the interval',
      'checks: [{kind: ping, name: a, host: h, intervalMs: 2000, timeoutMs: 3000}]',
      'checks[0].timeoutMs: at most intervalMs, which is 2000',
      '3000',
    ],
    [
      'a grace for a check of the host',
      'checks: [{kind: ping, name: a, host: h, graceMs: 5}]',
      'checks[0].graceMs: no grace after the start of the VM for a check about the host',
      '5',
    ],
    [
      'a wait for what is about the VM',
      'checks: [{kind: guest, name: a, action: wait}]',
      'checks[0].action: another action than wait: a check of the kind guest is about the VM',
      '"wait"',
    ],
    [
      'the same in a rule',
      'checks: [{kind: guest, name: a}]\nrules: [{name: r, when: {any: [a]}, action: wait}]',
      'rules[0].action: another action than wait',
      '"wait"',
    ],
    [
      'a name that stands twice',
      'checks: [{kind: ping, name: a, host: h}]\nrules: [{name: a, when: {any: [a]}, action: stop}]',
      'rules[0].name: a name that no other check and no rule has',
      '"a"',
    ],
    [
      'the name of the check that is always there',
      'checks: [{kind: ping, name: vm, host: h}]',
      'a name that no other check and no rule has',
      '',
    ],
    [
      'a rule about a check that does not exist',
      'checks: [{kind: ping, name: a, host: h}]\nrules: [{name: r, when: {any: [b]}, action: stop}]',
      'rules[0].when.any[0]: one of the checks a, vm',
      '"b"',
    ],
    [
      'a rule with all and any',
      'checks: [{kind: ping, name: a, host: h}]\nrules: [{name: r, when: {any: [a], all: [a]}, action: stop}]',
      'rules[0].when: either `all` or `any`, with names of checks',
      '',
    ],
    [
      'two checks of the VM',
      'checks: [{kind: vm, name: a}, {kind: vm, name: b}]',
      'checks[1].kind: one check of the kind vm',
      '"vm"',
    ],
    ['a limit below zero', 'loopLimit: -1', 'loopLimit: automatic restarts in 24 hours, 0 to 100', '-1'],
  ];
  for (const [what, text, wanted, found] of refused)
    it(`${what} is refused, with the place and what was wanted`, () => {
      const said = problem(`${vm}${text}\n`);
      expect(said.wanted).to.include(wanted);
      expect(said.found).to.include(found);
    });

  it('the example in the documentation can be used', () => {
    const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
    const example = /```yaml\n# checks\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
    expect(read(`${vm}${example}`).rules.map(({ name }) => name)).to.deep.equal(['cut-off']);
  });

  it('a module without a VM has no check about one, and restarts nothing', () => {
    expect(problem('checks: [{kind: guest, name: a}]\n').wanted).to.include('this module has no VM');
    expect(problem('checks: [{kind: ping, name: a, host: h, action: restart}]\n').wanted).to.include(
      'checks[0].action: another action than restart: this module has no VM',
    );
  });
});
