import { expect } from 'chai';
import { errorCatalogue } from '../../src/base/error-catalogue.ts';
import { WorldError } from '../../src/base/errors.ts';
import type { ModuleStatus } from '../../src/base/status.ts';
import { exitCodeFor, renderError } from '../../src/cli/outcome.ts';
import { sizeText } from '../../src/base/size-text.ts';
import { moduleText, supervisedText } from '../../src/cli/status-text.ts';

const problem = { wanted: 'a', found: 'b', next: 'c' };

describe('texts for people', () => {
  it('sizes are short and exact where they can be', () => {
    expect([0, 4096, 1536, 2 * 1024 ** 3, 5 * 1024 ** 5].map(sizeText)).to.deep.equal([
      '0 B',
      '4 KiB',
      '1.5 KiB',
      '2 GiB',
      '5120 TiB',
    ]);
  });

  it('a status begins with state, readiness and reason, and shows how far a resync is', () => {
    const status: ModuleStatus = {
      module: 'vm1',
      node: 'A',
      peer: 'B',
      pid: 1,
      instance: 'x',
      state: 'ALONE',
      readiness: 'transient',
      because: 'B is being resynchronised',
      axes: { role: 'primary', data: 'up-to-date', link: 'resync-source', vm: 'running', run: 'started' },
      generation: 3,
      networks: [],
      volumes: [
        {
          name: 'disk0',
          sizeBytes: 2 * 1024 ** 3,
          file: '/f',
          nbd: 'nbd+unix:///disk0?socket=/s',
          dirtyBytes: 65536,
        },
      ],
      resync: {
        direction: 'source',
        rule: 'peer-is-behind',
        because: 'it was away',
        totalBytes: 1024 ** 2,
        examinedBytes: 512 * 1024,
        sentBytes: 65536,
        elapsedMs: 2100,
        bytesPerSecond: 256 * 1024,
        etaMs: 1500,
      },
      lastResync: undefined,
      verify: undefined,
      keptImage: undefined,
      split: undefined,
      sideFiles: [],
      counters: {},
      fence: undefined,
      decisions: [],
    };
    expect(moduleText(status)).to.equal(
      'vm1 on A: ALONE transient: B is being resynchronised\n' +
        '  role primary, data up-to-date, link resync-source, vm running, started\n' +
        '  disk0: 2 GiB, 64 KiB dirty, nbd+unix:///disk0?socket=/s\n' +
        '  resync as source: 50 %, 512 KiB of 1 MiB examined, 64 KiB sent, 256 KiB/s for 2 s, about 2 s left (peer-is-behind: it was away)',
    );
    expect(supervisedText([])).to.equal('no modules are configured on this node');
  });

  it('an error is three lines for people and one for programs', () => {
    const error = new WorldError('file-missing', problem);
    expect(renderError(error, false)).to.equal('wanted: a\nfound:  b\nnext:   c\n');
    expect(JSON.parse(renderError(error, true))).to.deep.equal({
      error: { code: 'file-missing', ...problem },
    });
  });

  it('every error code has an exit code that is not success', () => {
    for (const code of Object.keys(errorCatalogue) as (keyof typeof errorCatalogue)[]) {
      expect(exitCodeFor(new WorldError(code, problem))).to.be.within(1, 4);
    }
  });
});
