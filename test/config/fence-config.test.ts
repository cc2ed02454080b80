/** The keys `fence` and `ping` of a module's configuration. */
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { moduleConfigSchema, type ModuleConfig } from '../../src/config/module-config.ts';
import { parseYaml } from '../../src/config/yaml-document.ts';

const fingerprint = `SHA256:${'A'.repeat(43)}`;
const command = '{kind: command, off: [/sbin/off, now]}';
const ipmi = '{kind: ipmi, host: 192.0.2.9, user: vmpair, passwordFile: /etc/vmpair/password}';
const ssh = `{kind: ssh, host: 192.0.2.9, user: power, keyFile: /etc/vmpair/key, hostKey: "${fingerprint}", off: "off 7"}`;

function parse(more: string, arbiter = '{kind: none}'): ModuleConfig {
  const text = `version: 1
cluster: 0123456789abcdef0123456789abcdef
module: {id: fedcba9876543210fedcba9876543210, name: vm1}
nodes:
  A: {link: {host: 127.0.0.1, port: 7001}}
  B: {link: {host: 127.0.0.2, port: 7001}}
arbiter: ${arbiter}
volumes:
  - {name: disk0, size: 2GiB, file: /images/vm1.img}
metadata: /images/vm1.meta
${more}
`;
  return parseYaml('module.yaml', text, moduleConfigSchema());
}

/** What was wanted at which place, and what was found. */
function problem(more: string, arbiter?: string): string {
  try {
    parse(more, arbiter);
  } catch (error) {
    if (error instanceof WorldError) return `${error.wanted}; found ${error.found}`;
    throw error;
  }
  throw new Error('the text was accepted');
}

const fence = (a: string, b: string, more = ''): string => `fence: {nodes: {A: ${a}, B: ${b}}${more}}`;

describe('configuration of a fence', () => {
  it('names how each node is switched off, with defaults', () => {
    const { fence: config, ping } = parse(fence(ipmi, ssh));
    expect(config?.required).to.equal(true);
    expect(config?.deadlineMs).to.equal(20_000);
    expect(config?.checkIntervalMs).to.equal(3_600_000);
    expect(config?.nodes['A']).to.deep.include({ port: 623, program: '/usr/bin/ipmitool' });
    expect(config?.nodes['B']).to.deep.include({ port: 22, off: 'off 7' });
    expect(ping).to.deep.equal([]);
    expect(parse('').fence).to.equal(undefined);
    expect(parse(fence(command, command, ', check: "off"')).fence?.checkIntervalMs).to.equal(undefined);
  });

  it('a node that is missing or is none is named', () => {
    expect(problem(`fence: {nodes: {A: ${command}}}`)).to.contain('how node B is switched off');
    expect(problem(`fence: {nodes: {A: ${command}, B: ${command}, C: ${command}}}`)).to.contain(
      'fence.nodes.C: only the nodes A and B',
    );
  });

  it('no proof is required only where a record keeps a node back', () => {
    const text = fence(command, command, ', required: "off"');
    expect(problem(text)).to.contain('fence.required');
    expect(parse(text, '{kind: witness, host: 127.0.0.3, port: 7000}').fence?.required).to.equal(false);
  });

  it('what is wrong is said at its place', () => {
    const found = (bad: string): string => problem(fence(command, bad));
    expect(found('{kind: magic}')).to.contain('fence.nodes.B');
    expect(found('{kind: command, off: []}')).to.contain('fence.nodes.B.off: a program and its arguments');
    expect(found('{kind: command, off: [off]}')).to.contain('the absolute path of the program first');
    expect(found(ssh.replace(fingerprint, 'SHA256:short'))).to.contain(
      'fence.nodes.B.hostKey: the fingerprint',
    );
    expect(found(ssh.replace(`hostKey: "${fingerprint}", `, ''))).to.contain('fence.nodes.B.hostKey');
    expect(found(ipmi.replace('/etc/vmpair/password', 'password'))).to.contain('an absolute path');
    expect(found(ipmi.replace('passwordFile', 'password'))).to.contain('fence.nodes.B.passwordFile');
    expect(problem(fence(command, command, ', deadlineMs: 5'))).to.contain('at least 1000 ms');
  });

  it('addresses to ping are hosts, with a port for TCP', () => {
    const { ping } = parse('ping: {addresses: [{host: 192.0.2.1}, {host: gateway, port: 443}]}');
    expect(ping.map(({ host, port }) => [host, port])).to.deep.equal([
      ['192.0.2.1', undefined],
      ['gateway', 443],
    ]);
    expect(problem('ping: {addresses: []}')).to.contain('1 to 8 addresses');
  });
});
