import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { nearestKey } from '../../src/config/nearest-key.ts';
import {
  defaultBootIdFile,
  moduleFilesOf,
  readBootId,
  readNodeConfig,
} from '../../src/config/node-config.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

const valid = `version: 1
node: A
runtimeDir: /run/vmpair
tls: {ca: /etc/vmpair/ca.pem, cert: /etc/vmpair/A.pem, key: /etc/vmpair/A.key.pem}
modules: [/etc/vmpair/vm1.yaml]
`;

describe('node configuration', () => {
  let directory: TempDirectory;
  beforeEach(() => {
    directory = makeTempDirectory();
  });
  afterEach(() => directory.remove());

  function read(text: string) {
    writeFileSync(directory.file('node.yaml'), text);
    return readNodeConfig(directory.file('node.yaml'));
  }

  it('a short file gets the defaults', () => {
    const config = read(valid);
    expect(config.bootIdFile).to.equal(defaultBootIdFile);
    expect(config.supervisor.controlSocket).to.equal('/run/vmpair/supervisor.control.sock');
    expect(config.faults).to.deep.equal({});
    expect(config.modules).to.deep.equal(['/etc/vmpair/vm1.yaml']);
    expect(config.stateDir).to.equal('/var/lib/vmpair');
    expect(config.configDir).to.equal('/etc/vmpair');
    expect(moduleFilesOf(config)).to.deep.equal(['/etc/vmpair/vm1.yaml']);
  });

  it('a directory of modules counts beside the list, in the order of its names, without hidden and other files', () => {
    const modules = directory.file('modules');
    const config = read(`${valid}modulesDir: ${modules}\n`);
    expect(moduleFilesOf(config), 'a directory that is not there').to.deep.equal(['/etc/vmpair/vm1.yaml']);
    mkdirSync(modules);
    for (const name of ['b.yaml', 'a.yaml', '.c.yaml', 'd.yaml.tmp', 'e.txt'])
      writeFileSync(join(modules, name), '');
    expect(moduleFilesOf(config)).to.deep.equal([
      '/etc/vmpair/vm1.yaml',
      join(modules, 'a.yaml'),
      join(modules, 'b.yaml'),
    ]);
    writeFileSync(directory.file('file'), '');
    expect(() => moduleFilesOf({ ...config, modulesDir: directory.file('file') })).to.throw(
      WorldError,
      'modulesDir',
    );
  });

  it('an unknown key names its line and the key that was meant', () => {
    expect(() => read(valid.replace('cert:', 'crt:')))
      .to.throw(WorldError, 'node.yaml:4:6: tls')
      .with.property('code', 'config-invalid');
    expect(() => read(valid.replace('runtimeDir', 'runtimedir'))).to.throw('did you mean "runtimeDir"?');
  });

  it('a file that is not there is another error than a wrong one', () => {
    expect(() => readNodeConfig(directory.file('none.yaml')))
      .to.throw(WorldError)
      .with.property('code', 'file-missing');
  });

  it('an empty file is refused', () => {
    expect(() => read('')).to.throw(WorldError, 'a mapping');
  });

  it('the boot id is normalised, and a file with something else is refused', () => {
    expect(readBootId(defaultBootIdFile)).to.match(/^[0-9a-f]{32}$/);
    writeFileSync(directory.file('boot-id'), 'not a boot id');
    expect(() => readBootId(directory.file('boot-id'))).to.throw(WorldError, '32 hex digits');
    expect(() => readBootId(directory.file('none')))
      .to.throw(WorldError)
      .with.property('code', 'file-missing');
  });

  it('the example in the documentation is valid', () => {
    const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
    const example = /```yaml\n# node.yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
    expect(read(example).node).to.equal('A');
  });
});

describe('nearest key', () => {
  it('is found for a slip and not for another word', () => {
    const known = ['volumes', 'metadata', 'timers'];
    expect(nearestKey('volume', known)).to.equal('volumes');
    expect(nearestKey('metdata', known)).to.equal('metadata');
    expect(nearestKey('hypervisor', known)).to.equal(undefined);
    expect(nearestKey('x', [])).to.equal(undefined);
  });
});
