/** The files of a cluster checked together. What one file says alone is in the tests of that file. */
import { expect } from 'chai';
import { z } from 'zod';
import { WorldError } from '../../src/base/errors.ts';
import { clusterConfigSchema } from '../../src/config/cluster-config.ts';
import { type Documents, parseDocuments } from '../../src/config/configuration-set.ts';
import { parseYaml } from '../../src/config/yaml-document.ts';
import { clusterText, documentsOf, moduleText } from './set-fixture.ts';

/** The problem that documents have; fails when they have none. */
function problem(documents: Documents): WorldError {
  try {
    parseDocuments(documents);
  } catch (error) {
    if (error instanceof WorldError) return error;
    throw error;
  }
  throw new Error('the documents were accepted');
}

/** Two modules, the second one changed. */
const changed = (from: string, to: string): Documents => {
  const text = moduleText(2);
  expect(text).to.contain(from);
  return { ...documentsOf(1), 'modules/vm2.yaml': text.replace(from, to) };
};

describe('configuration of a cluster', () => {
  it('cluster.yaml with its defaults, and modules that fit it', () => {
    const set = parseDocuments(documentsOf(3));
    expect(set.cluster.name).to.equal('test');
    expect(set.cluster.limits.modules).to.equal(25);
    expect(set.cluster.nodes['A']?.addresses).to.deep.equal([{ host: '10.0.0.1', port: 7443 }]);
    expect(set.modules.map(({ name }) => name)).to.deep.equal(['vm1', 'vm2', 'vm3']);
  });

  const mistakes: [what: string, documents: Documents, wanted: RegExp, found: RegExp][] = [
    ['no cluster.yaml', { 'modules/vm1.yaml': moduleText(1) }, /the document cluster.yaml/, /none/],
    [
      'a document of another path',
      { ...documentsOf(1), 'modules/../x.yaml': '' },
      /x.yaml.*documents/,
      /another/,
    ],
    [
      'an unknown key',
      { 'cluster.yaml': `${clusterText}limit: { modules: 3 }\n` },
      /^cluster.yaml:7:1: only the keys version, cluster, name, nodes, limits, keys, revoked/,
      /did you mean "limits"/,
    ],
    [
      'three nodes',
      { 'cluster.yaml': clusterText.replace(/( {2})B(.*\n)/, '$1B$2$1C$2') },
      /cluster.yaml:5:3: nodes: two nodes; one, until the other has joined/,
      /.*/,
    ],
    [
      'five addresses of an agent',
      {
        'cluster.yaml': clusterText.replace(
          '[{ host: 10.0.0.1, port: 7443 }]',
          `[${'{ host: h, port: 1 }, '.repeat(5)}]`,
        ),
      },
      /cluster.yaml:5:\d+: nodes.A.addresses: 1 to 4 addresses of the agent/,
      /.*/,
    ],
    [
      'a limit beyond what a release may have',
      { 'cluster.yaml': `${clusterText}limits: { modules: 65 }\n` },
      /cluster.yaml:7:\d+: limits.modules: a number of modules, 1 to 64/,
      /65/,
    ],
    [
      'a module of another cluster',
      changed('0123', '3210'),
      /vm2.yaml:2:10: cluster: the cluster 0123/,
      /^3210/,
    ],
    [
      'a module of other nodes',
      changed('  B: {', '  C: {'),
      /vm2.yaml:5:3: nodes: the nodes A and B, as in cluster.yaml/,
      /^A and C$/,
    ],
    [
      'a name twice',
      changed('name: vm2', 'name: vm1'),
      /vm2.yaml:3:\d+: module.name: a name that no other module has/,
      /vm1, as in modules\/vm1.yaml/,
    ],
    [
      'an identifier twice',
      changed('ff2"', 'ff1"'),
      /vm2.yaml:3:\d+: module.id: an identifier that no other module has/,
      /as in modules\/vm1.yaml/,
    ],
    [
      'a disk file twice, written differently',
      changed('/images/vm2.img', '/images/../images/vm1.img'),
      /vm2.yaml:9:\d+: volumes\[0\].file: a file that nothing else of node A uses/,
      /which module vm1 uses/,
    ],
    [
      'a disk file that is the metadata of another module on one node',
      changed('/images/vm2.img', '{ A: /images/vm2.img, B: /images/vm1.meta }'),
      /volumes\[0\].file: a file that nothing else of node B uses/,
      /which module vm1 uses/,
    ],
    [
      'a port of a link twice on one node',
      changed('10.0.0.2, port: 7302', '10.0.0.2, port: 7301'),
      /vm2.yaml:6:\d+: nodes.B: an address and port that nothing else of node B listens on/,
      /10.0.0.2 port 7301, which module vm1 uses/,
    ],
    [
      'a link on every address, at the port of another one',
      changed('10.0.0.1, port: 7302', '0.0.0.0, port: 7301'),
      /nodes.A: an address and port/,
      /which module vm1 uses/,
    ],
    [
      'a link at the port of the agent',
      changed('7302', '7443'),
      /nodes.A: an address and port/,
      /the agent of node A/,
    ],
    [
      'a document that is not named after its module',
      { 'cluster.yaml': clusterText, 'modules/vm2.yaml': moduleText(1) },
      /modules\/vm1.yaml.*in a document of its name/,
      /another name/,
    ],
  ];
  for (const [what, documents, wanted, found] of mistakes) {
    it(`${what} is refused`, () => {
      const error = problem(documents);
      expect(error.code).to.equal('config-invalid');
      expect(error.wanted).to.match(wanted);
      expect(error.found).to.match(found);
    });
  }

  it('more modules than the limit: the error names the key', () => {
    expect(parseDocuments(documentsOf(25)).modules).to.have.lengthOf(25);
    const { wanted, found } = problem(documentsOf(26));
    expect(wanted).to.contain('limits.modules: at most 25 modules; raise limits.modules');
    expect(found).to.contain('26 modules');
    const raised = { ...documentsOf(64), 'cluster.yaml': `${clusterText}limits: { modules: 64 }\n` };
    expect(parseDocuments(raised).modules).to.have.lengthOf(64);
  });

  it('problems of several files are told together, each with its file', () => {
    const { wanted, found, next } = problem({
      'cluster.yaml': clusterText.replace('name: test', 'name: ""'),
      'modules/vm1.yaml': moduleText(1, 'failover: maybe\n'),
    });
    expect(wanted).to.match(/^cluster.yaml:3:7: name: /);
    expect(found).to.contain('also modules/vm1.yaml:11:11: failover: wanted one of on, off, found "maybe"');
    expect(next).to.equal('Correct the files; nothing was changed.');
  });

  it('sections live in schemas of their own, and their keys are known to the whole', () => {
    const schema = clusterConfigSchema({ colours: z.strictObject({ tile: z.string() }).optional() });
    const parsed = parseYaml('cluster.yaml', `${clusterText}colours: { tile: red }\n`, schema);
    expect(parsed.colours).to.deep.equal({ tile: 'red' });
    expect(() => parseYaml('cluster.yaml', `${clusterText}colours: { tiles: red }\n`, schema)).to.throw(
      WorldError,
      'did you mean "tile"',
    );
  });
});
