import { expect } from 'chai';
import { ThreadShare } from '../../src/platform/thread-share.ts';

describe('thread share', () => {
  it('no more calls run at once than it has threads, and those that wait run in their order', () => {
    const share = new ThreadShare(2);
    const begun: number[] = [];
    for (let call = 1; call <= 5; call += 1) share.enter(() => begun.push(call));
    expect(begun).to.deep.equal([1, 2]);
    share.leave();
    expect(begun).to.deep.equal([1, 2, 3]);
    share.leave();
    share.leave();
    expect(begun).to.deep.equal([1, 2, 3, 4, 5]);
    share.leave();
    share.leave();
    share.enter(() => begun.push(6));
    expect(begun.at(-1)).to.equal(6);
  });
});
