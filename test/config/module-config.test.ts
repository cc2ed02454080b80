import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import { z } from 'zod';
import { WorldError } from '../../src/base/errors.ts';
import { moduleConfigSchema, networksOf } from '../../src/config/module-config.ts';
import { parseSize } from '../../src/config/size.ts';
import { parseYaml } from '../../src/config/yaml-document.ts';

const valid = `version: 1
cluster: 0123456789abcdef0123456789abcdef
module: {id: fedcba9876543210fedcba9876543210, name: vm1}
nodes:
  A: {link: {host: 127.0.0.1, port: 7001}}
  B: {link: {host: 127.0.0.2, port: 7001}}
arbiter: {kind: witness, host: 127.0.0.3, port: 7000}
volumes:
  - {name: disk0, size: 2GiB, file: /images/vm1.img}
  - name: disk1
    size: 4096
    file: {A: /a/disk1.img, B: /b/disk1.img}
metadata: /images/vm1.meta
`;

const parse = (text: string, vm?: z.ZodType) => parseYaml('module.yaml', text, moduleConfigSchema(vm));

/** The problem that a changed text has; fails when it has none. */
function problem(from: string, to: string): { wanted: string; found: string } {
  expect(valid).to.contain(from);
  try {
    parse(valid.replace(from, to));
  } catch (error) {
    if (error instanceof WorldError) {
      expect(error.code).to.equal('config-invalid');
      return { wanted: error.wanted, found: error.found };
    }
    throw error;
  }
  throw new Error('the text was accepted');
}

describe('module configuration', () => {
  it('a valid file gives paths per node, bytes and complete timers', () => {
    const config = parse(valid);
    expect(config.nodes).to.deep.equal(['A', 'B']);
    expect(config.volumes[0]).to.deep.equal({
      name: 'disk0',
      sizeBytes: 2 * 1024 ** 3,
      file: { A: '/images/vm1.img', B: '/images/vm1.img' },
    });
    expect(config.volumes[1]?.file).to.deep.equal({ A: '/a/disk1.img', B: '/b/disk1.img' });
    expect(config.timers.claimAfterMs).to.equal(6000);
    expect(config.vm).to.deep.equal({ kind: 'none' });
    expect(config.failover).to.equal(true);
    expect(config.resyncBytesPerSecondMax).to.equal(undefined);
  });

  it('both nodes may go on alone only where it is spelled out, and only without an arbiter', () => {
    const none = (text: string) => parse(valid.replace(/^arbiter:.*$/m, `arbiter: ${text}`)).arbiter;
    expect(none('{ kind: none }')).to.deep.equal({ kind: 'none', allowSplitBrain: false });
    expect(none('{ kind: none, allowSplitBrain: true }')).to.deep.equal({
      kind: 'none',
      allowSplitBrain: true,
    });
    expect(() => none('{ kind: witness, host: w, port: 1, allowSplitBrain: true }')).to.throw(WorldError);
  });

  it('one network or several: an address of each node per network', () => {
    expect(parse(valid).links).to.deep.equal({
      A: [{ host: '127.0.0.1', port: 7001 }],
      B: [{ host: '127.0.0.2', port: 7001 }],
    });
    const two = (node: string) =>
      `{links: [{host: 10.0.0.${node}, port: 7001}, {host: 10.0.1.${node}, port: 7001}]}`;
    const config = parse(
      valid
        .replace('{link: {host: 127.0.0.1, port: 7001}}', two('1'))
        .replace('{link: {host: 127.0.0.2, port: 7001}}', two('2')),
    );
    expect(networksOf(config, 'B')).to.deep.equal([
      { own: { host: '10.0.0.2', port: 7001 }, peer: { host: '10.0.0.1', port: 7001 } },
      { own: { host: '10.0.1.2', port: 7001 }, peer: { host: '10.0.1.1', port: 7001 } },
    ]);
  });

  it('a resync may be limited, in whole MiB per second', () => {
    const limited = (value: string) => parse(`${valid}resync: {maxMibPerSecond: ${value}}\n`);
    expect(limited('200').resyncBytesPerSecondMax).to.equal(200 * 1024 ** 2);
    for (const wrong of ['0', '-1', '1.5', '1000000', '200MiB'])
      expect(() => limited(wrong), wrong).to.throw(WorldError, 'resync.maxMibPerSecond');
  });

  it('the profile fast scales all timers and single ones can be changed', () => {
    const { timers } = parse(`${valid}timers: {profile: fast, watchdogMs: 1200}\n`);
    expect(timers).to.deep.equal({
      heartbeatIntervalMs: 200,
      lostAfterMs: 1000,
      pauseAfterMs: 2000,
      claimAfterMs: 2500,
      watchdogMs: 1200,
      diskHungAfterMs: 3000,
    });
  });

  const orders: [timer: string, rule: string, other: string][] = [
    ['heartbeatIntervalMs: 1501', 'heartbeatIntervalMs at most half of lostAfterMs', 'lostAfterMs is 3000'],
    ['lostAfterMs: 5000', 'lostAfterMs below pauseAfterMs', 'pauseAfterMs is 5000'],
    ['pauseAfterMs: 6000', 'pauseAfterMs below claimAfterMs', 'claimAfterMs is 6000'],
    ['watchdogMs: 6000', 'watchdogMs below claimAfterMs', 'claimAfterMs is 6000'],
    ['watchdogMs: 900', 'watchdogMs at least twice the heartbeatIntervalMs', 'heartbeatIntervalMs is 500'],
  ];
  for (const [timer, rule, other] of orders) {
    it(`timers in a dangerous order are refused: ${timer}`, () => {
      const { wanted } = problem('metadata:', `timers: {${timer}}\nmetadata:`);
      const own = timer.replace(':', ' is');
      expect(wanted).to.equal(`module.yaml:13:9: timers: ${rule} (here ${own}, ${other})`);
    });
  }

  const mistakes: [what: string, from: string, to: string, wanted: RegExp, found: RegExp][] = [
    [
      'an unknown key',
      'metadata:',
      'metdata: x\nmetadata:',
      /^module.yaml:13:\d+: only the keys/,
      /did you mean "metadata"/,
    ],
    ['an unknown key in a list', 'size: 2GiB', 'sizes: 2GiB', /:9:\d+: volumes\[0\]/, /.*/],
    [
      'an unknown key in a union',
      'kind: witness,',
      'kind: witness, prt: 1,',
      /:7:\d+: arbiter: only/,
      /mean "port"/,
    ],
    ['a size that is no size', '2GiB', '2GB', /:9:\d+: volumes\[0\].size: a size in bytes/, /^"2GB"$/],
    [
      'a size that is not aligned',
      '4096',
      '4097',
      /:11:\d+: volumes\[1\].size: .* multiple of 4096/,
      /^4097$/,
    ],
    ['a size of zero', '4096', '0', /:11:\d+: volumes\[1\].size/, /^0$/],
    [
      'a relative path',
      '/images/vm1.img',
      'vm1.img',
      /:9:\d+: volumes\[0\].file: an absolute path/,
      /vm1.img/,
    ],
    [
      'a path for only one node',
      ', B: /b/disk1.img',
      '',
      /:12:\d+: volumes\[1\].file: a path for node B/,
      /"A"/,
    ],
    ['a path for a stranger', 'B: /b', 'C: /b', /volumes\[1\].file.C: only the nodes A and B/, /disk1/],
    ['a missing key', 'metadata: /images/vm1.meta', '', /metadata: an absolute path/, /^nothing/],
    [
      'one node only',
      '  B: {link: {host: 127.0.0.2, port: 7001}}\n',
      '',
      /:5:\d+: nodes: exactly two nodes/,
      /.*/,
    ],
    [
      'a node without link',
      'A: {link: {host: 127.0.0.1, port: 7001}}',
      'A: {}',
      /:5:\d+: nodes.A.link: `link` with an address, or `links`/,
      /^nothing/,
    ],
    [
      'link and links',
      'A: {link: {',
      'A: {links: [{host: a, port: 1}], link: {',
      /:5:\d+: nodes.A.links: either `link` or `links`/,
      /.*/,
    ],
    [
      'more networks on one node',
      'B: {link: {host: 127.0.0.2, port: 7001}}',
      'B: {links: [{host: a, port: 1}, {host: b, port: 1}]}',
      /:6:\d+: nodes.B.links: as many networks as node A has: 1/,
      /.*/,
    ],
    [
      'one address for two networks',
      'A: {link: {host: 127.0.0.1, port: 7001}}',
      'A: {links: [{host: a, port: 1}, {host: a, port: 1}]}',
      /:5:\d+: nodes.A.links\[1\]: an address that no other network of this node has/,
      /.*/,
    ],
    [
      'five networks',
      'A: {link: {host: 127.0.0.1, port: 7001}}',
      'A: {links: [{host: a, port: 1}, {host: b, port: 1}, {host: c, port: 1}, {host: d, port: 1}, {host: e, port: 1}]}',
      /:5:\d+: nodes.A.links: 1 to 4 addresses, one per network/,
      /.*/,
    ],
    [
      'a mistake in the address of a network',
      'A: {link: {host: 127.0.0.1, port: 7001}}',
      'A: {links: [{host: a, prt: 1}]}',
      /:5:\d+: nodes.A.links\[0\]/,
      /.*/,
    ],
    ['a port out of range', '7000', '70000', /:7:\d+: arbiter.port: a port, 1 to 65535/, /^70000$/],
    [
      'an unknown kind of arbiter',
      'kind: witness',
      'kind: wittness',
      /:7:\d+: arbiter.kind: one of witness, etcd, none/,
      /.*/,
    ],
    [
      'text where a mapping belongs',
      '{id: fedcba9876543210fedcba9876543210, name: vm1}',
      'vm1',
      /:3:\d+: module: a mapping/,
      /"vm1"/,
    ],
    ['a name with a slash', 'name: vm1', 'name: a/b', /:3:\d+: module.name: a name of 1 to 31/, /"a\/b"/],
    ['another version', 'version: 1', 'version: 2', /:1:\d+: version: the format version 1/, /^2$/],
    [
      'an id of digits that YAML takes for a number',
      '0123456789abcdef0123456789abcdef',
      '11111111',
      /:2:\d+: cluster: 32 .* in quotes/,
      /^11111111$/,
    ],
    [
      'two volumes of one name',
      'name: disk1',
      'name: disk0',
      /:10:\d+: volumes\[1\].name: a name that no other/,
      /"disk0"/,
    ],
    [
      'two volumes in one file',
      '/a/disk1.img',
      '/images/vm1.img',
      /volumes\[1\].file: a file that nothing else of node A/,
      /.*/,
    ],
    [
      'metadata in a volume',
      '/images/vm1.meta',
      '/images/vm1.img',
      /volumes\[0\].file: a file that nothing else/,
      /.*/,
    ],
    ['broken YAML', 'nodes:\n', 'nodes: [\n', /: valid YAML$/, /.*/],
    ['a key twice', 'metadata:', 'version: 1\nmetadata:', /:13:\d+: valid YAML/, /unique/],
  ];
  for (const [what, from, to, wanted, found] of mistakes) {
    it(`${what} is refused with line, path, wanted and found`, () => {
      const message = problem(from, to);
      expect(message.wanted).to.match(wanted);
      expect(message.found).to.match(found);
    });
  }

  const withEtcd = (more: string) =>
    valid.replace(
      '{kind: witness, host: 127.0.0.3, port: 7000}',
      `{kind: etcd, endpoints: ["https://e1:2379", "https://e2:2379"]${more}}`,
    );

  it('the record may be kept in etcd, with its certificates, a user and a prefix', () => {
    const { arbiter } = parse(withEtcd(', user: u, passwordFile: /etc/p, tls: {ca: /etc/ca}, prefix: /a/b'));
    expect(arbiter).to.deep.equal({
      kind: 'etcd',
      endpoints: ['https://e1:2379', 'https://e2:2379'],
      user: 'u',
      passwordFile: '/etc/p',
      tls: { ca: '/etc/ca' },
      prefix: '/a/b',
    });
  });

  const etcdMistakes: [what: string, more: string, problem: RegExp][] = [
    [
      'a password in the file itself',
      ', user: u, password: p',
      /:7:\d+: arbiter: only the keys .*passwordFile/,
    ],
    [
      'a user without a password file',
      ', user: u',
      /arbiter.passwordFile: `user` and `passwordFile`, or neither/,
    ],
    ['a certificate without its key', ', tls: {cert: /c}', /arbiter.tls: `cert` and `key`, or neither/],
    ['a relative path', ', tls: {ca: ca.pem}', /arbiter.tls.ca: an absolute path/],
    ['a prefix with a slash at its end', ', prefix: /a/', /arbiter.prefix: a prefix of keys that begins/],
  ];
  for (const [what, more, wanted] of etcdMistakes) {
    it(`etcd with ${what} is refused`, () => {
      expect(() => parse(withEtcd(more)))
        .to.throw(WorldError)
        .with.property('wanted')
        .that.matches(wanted);
    });
  }

  const endpointMistakes: [endpoints: string, more: string, problem: RegExp][] = [
    ['[]', '', /arbiter.endpoints: 1 to 9 addresses/],
    ['https://e1:2379', '', /arbiter.endpoints: a list of addresses/],
    ['[e1:2379]', '', /arbiter.endpoints\[0\]: an address like https/],
    ['["https://u:p@e1:2379"]', '', /arbiter.endpoints\[0\]: an address like https.*without a user/],
    ['["https://e1:2379/v3"]', '', /arbiter.endpoints\[0\]: .*without a path/],
    ['["https://e1:2379", "http://e2:2379"]', '', /arbiter.endpoints: addresses that all begin with https/],
    ['["http://e1:2379"]', ', tls: {ca: /ca}', /arbiter.tls: no `tls` for endpoints without https/],
    ['["http://e1:2379"]', ', user: u, passwordFile: /p', /arbiter.user: endpoints with https, because/],
  ];
  for (const [endpoints, more, wanted] of endpointMistakes) {
    it(`etcd at ${endpoints}${more} is refused`, () => {
      const text = withEtcd(more).replace(/endpoints: \[.*?\]/, `endpoints: ${endpoints}`);
      expect(() => parse(text))
        .to.throw(WorldError)
        .with.property('wanted')
        .that.matches(wanted);
    });
  }

  it('a preferred node must be one of the two', () => {
    expect(problem('metadata:', 'preferred: C\nmetadata:').wanted).to.contain('one of the nodes A and B');
  });

  it('a node cannot have a name that means a holder of the record', () => {
    expect(problem('  B: {link', '  both: {link').wanted).to.contain('not "both" or "none"');
    expect(problem('  B: {link', '  none: {link').wanted).to.contain('not "both" or "none"');
  });

  it('several problems are all named, in the order of the file', () => {
    const { found } = problem('version: 1\ncluster:', 'version: 3\ncluster: 7 #');
    expect(found).to.equal('3; also module.yaml:2:10: cluster: wanted 32 hex digits, in quotes, found 7');
  });

  it('the schema of an adapter checks its part of the file', () => {
    const vm = z.strictObject({ kind: z.literal('qemu'), memory: z.string() });
    expect(parse(`${valid}vm: {kind: qemu, memory: 1GiB}\n`, vm).vm).to.deep.equal({
      kind: 'qemu',
      memory: '1GiB',
    });
    expect(() => parse(`${valid}vm: {kind: qemu, memry: 1GiB}\n`, vm)).to.throw(
      WorldError,
      'did you mean "memory"?',
    );
  });

  it('any text whatever is either accepted or refused as config-invalid', () => {
    const lines = valid.split('\n');
    const mutated = fc
      .tuple(fc.nat(lines.length - 1), fc.string({ maxLength: 40, unit: 'binary' }), fc.boolean())
      .map(([at, text, keep]) => lines.toSpliced(at, keep ? 0 : 1, text).join('\n'));
    fc.assert(
      fc.property(fc.oneof(mutated, fc.string({ unit: 'binary' })), (text) => {
        try {
          parse(text);
        } catch (error) {
          if (!(error instanceof WorldError) || error.code !== 'config-invalid') throw error;
        }
      }),
      { numRuns: 150 },
    );
  });

  it('a document of aliases that would blow up is refused', () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c]\n`;
    expect(() => parse(bomb)).to.throw(WorldError, 'valid YAML');
  });

  it('the example of an arbiter in etcd in the documentation is valid', () => {
    const page = readFileSync(new URL('../../docs/etcd.md', import.meta.url), 'utf8');
    const example = /```yaml\n# arbiter in etcd\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
    const { arbiter } = parse(valid.replace(/arbiter: .*\n/, example));
    expect(arbiter).to.have.property('kind', 'etcd');
  });

  it('the example in the documentation is valid', () => {
    const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
    const example = /```yaml\n# module.yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
    const config = parse(example);
    expect(config.volumes).to.have.length(2);
  });
});

describe('sizes', () => {
  it('are whole bytes in binary units', () => {
    expect(['1', '4KiB', '512 MiB', '1.5GiB', '2TiB', '0'].map(parseSize)).to.deep.equal([
      1,
      4096,
      512 * 1024 ** 2,
      1.5 * 1024 ** 3,
      2 * 1024 ** 4,
      0,
    ]);
  });

  it('are nothing else', () => {
    for (const text of ['', 'GiB', '1GB', '1gib', '-1', '1e9', '0.3', '9999999999999999TiB', '1GiB1']) {
      expect(parseSize(text), text).to.equal(undefined);
    }
  });
});
