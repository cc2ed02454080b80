import { mkdirSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { listIdentitySources, parseWitnessConfig } from '../../src/witness/config.ts';
import { makeTempDirectory } from '../temp-directory.ts';

const common = 'listen: {host: 127.0.0.1, port: 7000}\ndataDir: data\n';

describe('configuration of the witness', () => {
  it('of one cluster: paths start at the directory of the file', () => {
    const text = `${common}tls: {ca: a, cert: /b, key: c}\n`;
    expect(parseWitnessConfig('/etc/vmpair/witness.yaml', text)).to.deep.equal({
      listen: { host: '127.0.0.1', port: 7000 },
      identities: {
        kind: 'files',
        sources: [{ name: 'tls', ca: '/etc/vmpair/a', cert: '/b', key: '/etc/vmpair/c' }],
      },
      dataDir: '/etc/vmpair/data',
      controlSocket: '/etc/vmpair/data/control.sock',
      metrics: undefined,
    });
  });

  it('of several clusters: a list of files, or a directory with one directory for each', () => {
    const list = `${common}clusters: [{ca: a, cert: b, key: c}, {ca: d, cert: e, key: f}]\n`;
    const sources = listIdentitySources(parseWitnessConfig('/w/witness.yaml', list));
    expect(sources.map(({ name, ca }) => [name, ca])).to.deep.equal([
      ['clusters[0]', '/w/a'],
      ['clusters[1]', '/w/d'],
    ]);
    const directory = makeTempDirectory();
    try {
      for (const name of ['second', 'first', '.hidden']) mkdirSync(directory.file(name));
      writeFileSync(directory.file('README'), 'not a cluster');
      const config = parseWitnessConfig('/w/witness.yaml', `${common}clustersDir: ${directory.path}\n`);
      expect(listIdentitySources(config).map(({ name, key }) => [name, key])).to.deep.equal([
        [directory.file('first'), directory.file('first/witness.key.pem')],
        [directory.file('second'), directory.file('second/witness.key.pem')],
      ]);
    } finally {
      directory.remove();
    }
  });

  it('without clusters, or with two ways to name them, is refused', () => {
    const parse = (more: string) => () => parseWitnessConfig('w.yaml', common + more);
    expect(parse('')).to.throw(/tls: exactly one of tls, clusters, clustersDir, found none/);
    expect(parse('clustersDir: c\ntls: {ca: a, cert: b, key: c}\n')).to.throw(/found tls and clustersDir/);
    expect(parse('clusters: []\n')).to.throw(/at least one/);
  });

  it('a directory of clusters that is not there is named', () => {
    const config = parseWitnessConfig('/w/witness.yaml', `${common}clustersDir: /nowhere/clusters\n`);
    expect(() => listIdentitySources(config)).to.throw(/^file-missing: .*\/nowhere\/clusters.*clustersDir/);
  });

  it('with mistakes is refused with the path of each', () => {
    const bad = 'listen: {host: "", port: 70000}\ntls: {ca: a, cert: 1}\ndatadir: data\n';
    const parse = () => parseWitnessConfig('w.yaml', bad);
    for (const problem of [
      /listen\.host: /,
      /listen\.port: /,
      /tls\.cert: /,
      /tls\.key: /,
      /dataDir: /,
      /datadir/,
    ]) {
      expect(parse).to.throw(problem);
    }
    expect(parse).to.throw(/^config-invalid: wanted w\.yaml:1:\d+: /);
    expect(() => parseWitnessConfig('w.yaml', 'a: [')).to.throw(/^config-invalid: .*valid YAML/);
  });
});
