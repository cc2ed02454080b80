/** A directory for the files of one test suite, removed at its end. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** To be called inside `describe`; answers a function that gives a new path in the directory. */
export function useTemporaryDirectory(under = os.tmpdir()): (name?: string) => string {
  let directory = '';
  let files = 0;
  before(() => {
    directory = fs.mkdtempSync(path.join(under, 'vmpair-test-'));
  });
  after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return (name = 'file') => {
    files += 1;
    return path.join(directory, `${files}-${name}`);
  };
}
