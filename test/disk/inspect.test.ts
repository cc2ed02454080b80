/** The frozen file of format version 1 must open, and read the same, with every later version of the program. */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import { superblockOffsetsBytes } from '../../src/disk/format.ts';
import { inspectMetadata, renderMetadataReport } from '../../src/disk/inspect.ts';
import { openMetadata } from '../../src/disk/metadata-store.ts';
import { sampleState } from './sample-state.ts';
import { SimulatedStorage } from './simulated-storage.ts';

const frozen = new Uint8Array(readFileSync(new URL('../fixtures/metadata-v1.bin', import.meta.url)));
const frozenVolumes = [{ name: 'disk0', sizeBytes: 104861696 }];

function inspect(bytes: Uint8Array) {
  const read = (offsetBytes: number, lengthBytes: number) => {
    if (offsetBytes + lengthBytes > bytes.length) throw new Error('a read beyond the end');
    return bytes.slice(offsetBytes, offsetBytes + lengthBytes);
  };
  return inspectMetadata({ sizeBytes: bytes.length, read });
}

describe('metadata of format version 1, frozen', () => {
  it('opens', () => {
    const storage = new SimulatedStorage(frozen.length);
    storage.cache.set(frozen);
    let opened = false;
    openMetadata(storage, (outcome) => {
      if (outcome.kind === 'refused') throw outcome.error;
      const { state, volumes } = outcome.opened;
      expect(state).to.deep.equal({ ...sampleState, volumes: frozenVolumes, data: 'outdated' });
      const blocks: number[] = [];
      volumes[0]?.bitmap.forEach((block) => blocks.push(block));
      expect(blocks).to.deep.equal([5, 6, 7, 8, 1600]);
      expect(volumes[0]?.hotExtents).to.deep.equal([25, 0, 7]);
      opened = true;
    });
    storage.settle();
    expect(opened).to.equal(true);
    expect(storage.cache).to.deep.equal(frozen);
  });

  it('is shown in full', () => {
    const shown = renderMetadataReport(inspect(frozen)).split('\n');
    expect(shown[0]).to.equal('metadata file of 57344 bytes, format version 1');
    expect(shown[1]).to.equal(
      'verdict: use (newer-of-two): both copies are valid and 3 is the higher sequence number',
    );
    expect(shown).to.include('superblock copy 0: valid, sequence 2');
    expect(shown).to.include('superblock copy 1: valid, sequence 3');
    expect(shown).to.include("  data outdated, role primary, peer's data unknown");
    expect(shown.slice(-7)).to.deep.equal([
      `  boot ${sampleState.bootId}`,
      'volume 0: disk0, 104861696 bytes',
      '  activity log at 32768: 4 blocks, 2 valid, 2 never-written; newest 2',
      '  hot: 3 extents (12 MiB) 25 0 7',
      '  bitmap at 49152: 1 pages, 0 with one usable slot, 0 lost',
      '  dirty: 5 blocks (327680 bytes)',
      '',
    ]);
  });
});

describe('inspection of a damaged metadata file', () => {
  it('goes on with the copy that is left', () => {
    const bytes = frozen.slice();
    bytes.fill(0x5a, superblockOffsetsBytes[1], superblockOffsetsBytes[1] + 10);
    const report = inspect(bytes);
    expect(report.copies.map(({ verdict }) => verdict)).to.deep.equal(['valid', 'bad-magic']);
    expect(report.volumes[0]?.log.hotExtents).to.deep.equal([25, 0, 7]);
  });

  it('of any kind, or cut anywhere, gives a report', () => {
    const damage = fc.array(fc.tuple(fc.nat(frozen.length - 1), fc.integer({ min: 0, max: 255 })), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(damage, fc.nat(frozen.length), (changes, lengthBytes) => {
        const bytes = frozen.slice(0, lengthBytes);
        for (const [at, value] of changes) if (at < lengthBytes) bytes[at] = value;
        expect(renderMetadataReport(inspect(bytes))).to.contain('verdict');
      }),
      { numRuns: 60 },
    );
  });
});
