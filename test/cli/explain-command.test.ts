/** `vmpair explain --mine FILE --theirs FILE`: two metadata files that meet. The verdicts themselves are tested with the table. */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { WorldError } from '../../src/base/errors.ts';
import { explainFiles } from '../../src/cli/explain-command.ts';
import type { PersistentState } from '../../src/disk/state.ts';
import { createMetadataFile } from '../../src/platform/metadata-file.ts';
import { id, sampleState } from '../disk/sample-state.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';

describe('explain, with two metadata files', () => {
  let directory: TempDirectory;
  beforeEach(() => {
    directory = makeTempDirectory();
  });
  afterEach(() => directory.remove());

  function metadata(name: string, state: Partial<PersistentState>): Promise<string> {
    const file = directory.file(name);
    const volumes = [{ name: 'disk0', sizeBytes: 64 * 2 ** 20 }];
    return new Promise((resolve, reject) => {
      createMetadataFile(file, { ...sampleState, pending: undefined, volumes, ...state }, (result) => {
        if (result instanceof WorldError) reject(result);
        else result.close(() => resolve(file));
      });
    });
  }
  const ofB = { self: 'B', peer: 'A', role: 'secondary' } as const;
  const wentOn = { path: [...sampleState.path, id(20)], generation: 4, holder: 'A', base: id(12) };

  it('the one that went on alone is the source, and neither file is changed', async () => {
    const files = [await metadata('a', wentOn), await metadata('b', ofB)] as const;
    const before = files.map((file) => readFileSync(file));
    const meeting = explainFiles(...files);
    expect([meeting.rule, meeting.source, meeting.scope]).to.deep.equal(['newer-generation', 'A', 'bits']);
    expect(explainFiles(files[1], files[0])).to.include({
      rule: 'newer-generation',
      source: 'A',
      action: 'target',
    });
    expect(files.map((file, index) => readFileSync(file).equals(before[index] as Buffer))).to.deep.equal([
      true,
      true,
    ]);
  });

  it('files that do not belong together, and a file that is none, are named', async () => {
    const mine = await metadata('a', wentOn);
    const other = await metadata('c', { ...ofB, moduleId: id(77) });
    expect(() => explainFiles(mine, other))
      .to.throw(WorldError, other)
      .with.property('code', 'metadata-mismatch');
    expect(() => explainFiles(mine, mine))
      .to.throw(WorldError)
      .with.property('code', 'metadata-mismatch');
    expect(() => explainFiles(mine, '/dev/null'))
      .to.throw(WorldError)
      .with.property('code', 'metadata-damaged');
  });
});
