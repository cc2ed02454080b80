import { mkdirSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { checkPaths } from '../../src/cli/config-command.ts';
import { clusterText, moduleText } from '../config/set-fixture.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

describe('vmpair config check', () => {
  let temp: TempDirectory;
  beforeEach(() => {
    temp = makeTempDirectory();
    mkdirSync(temp.file('modules'));
  });
  afterEach(() => temp.remove());
  const write = (name: string, text: string): string => {
    writeFileSync(temp.file(name), text);
    return temp.file(name);
  };

  it('a directory with the files of a node is checked as one set', () => {
    write('cluster.yaml', clusterText);
    write('node.yaml', 'version: 1\nnode: A\nruntimeDir: /run/x\ntls: { ca: /c, cert: /d, key: /e }\n');
    write('modules/vm1.yaml', moduleText(1));
    write('modules/vm2.yaml', moduleText(2));
    const { files, modules } = checkPaths([temp.path]);
    expect(files).to.have.lengthOf(4);
    expect(modules).to.deep.equal(['vm1', 'vm2']);
  });

  it('two modules in files of any name that use one disk are refused, and both are named', () => {
    const first = write('one.yml', moduleText(1));
    const second = write('two.yml', moduleText(2).replace('vm2.img', 'vm1.img'));
    expect(() => checkPaths([first, second])).to.throw(
      WorldError,
      /two.yml:9:\d+: volumes\[0\].file.*module vm1/,
    );
  });

  it('problems of every kind of file are told at once', () => {
    const node = write('host.yaml', 'version: 1\nnode: A\nruntimedir: /run/x\n');
    const cluster = write('any.yaml', clusterText.replace('version: 1', 'version: 2'));
    expect(() => checkPaths([node, cluster]))
      .to.throw(WorldError, /host.yaml:1:1: runtimeDir/)
      .with.property('found')
      .that.contains('host.yaml:3:1: wanted only the keys')
      .and.contains('did you mean "runtimeDir"')
      .and.contains('any.yaml:1:10: version');
  });

  it('a path without configuration is said', () => {
    expect(() => checkPaths([temp.file('gone')])).to.throw(WorldError, 'nothing there');
    expect(() => checkPaths([temp.path])).to.throw(WorldError, 'neither *.yaml nor modules/*.yaml');
  });
});
