/** Users, tokens and sessions, on a clock that the test turns. */
import { expect } from 'chai';
import { Access, sessionMaxMs } from '../../src/agent/access/access.ts';
import { type AccessDocument, type AccessStore, emptyAccess } from '../../src/agent/access/access-store.ts';
import { AttemptLimits, keysMax } from '../../src/agent/access/attempt-limits.ts';
import { WorldError } from '../../src/base/errors.ts';
import { VirtualClock } from '../base/virtual-clock.ts';

class MemoryStore implements AccessStore {
  document: AccessDocument = emptyAccess;
  failure: Error | undefined;

  async load(): Promise<AccessDocument> {
    return this.document;
  }

  async save(document: AccessDocument): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    this.document = document;
  }
}

async function refusal(work: () => unknown): Promise<WorldError> {
  try {
    await work();
  } catch (error) {
    expect(error).to.be.instanceOf(WorldError);
    return error as WorldError;
  }
  throw new Error('it was not refused');
}

describe('access', () => {
  let clock: VirtualClock;
  let store: MemoryStore;
  let access: Access;
  let today: string;
  const password = 'a long enough password';
  beforeEach(async () => {
    clock = new VirtualClock();
    store = new MemoryStore();
    today = '2026-01-01T00:00:00.000Z';
    access = await Access.open(store, clock, () => today);
  });

  it('a token counts until it is removed, and its secret is kept nowhere', async () => {
    const { id, token } = await access.addToken({ role: 'operator', vms: ['vm1'] }, 'backup', undefined);
    expect(access.principalOf(token, 'a')).to.deep.equal({
      kind: 'token',
      name: id,
      role: 'operator',
      vms: ['vm1'],
    });
    const [, , secret = ''] = token.split('_');
    expect(JSON.stringify(store.document)).to.not.contain(secret);
    expect(JSON.stringify(access.tokens)).to.not.contain('hash');
    await access.removeToken(id);
    expect((await refusal(() => access.principalOf(token, 'a'))).code).to.equal('not-authenticated');
  });

  it('a token with an end counts no longer afterwards', async () => {
    const { token } = await access.addToken({ role: 'viewer' }, '', '2026-01-02T00:00:00.000Z');
    expect(access.principalOf(token, 'a').role).to.equal('viewer');
    today = '2026-01-02T00:00:00.000Z';
    expect((await refusal(() => access.principalOf(token, 'a'))).code).to.equal('not-authenticated');
  });

  it('the id of a token with the secret of another one is refused', async () => {
    const first = await access.addToken({ role: 'admin' }, '', undefined);
    const second = await access.addToken({ role: 'viewer' }, '', undefined);
    const mixed = `vmpair_${first.id}_${second.token.slice('vmpair_12345678_'.length)}`;
    expect((await refusal(() => access.principalOf(mixed, 'a'))).code).to.equal('not-authenticated');
  });

  it('an unknown user and a wrong password are told in the same words', async () => {
    await access.addUser('anna', password, { role: 'admin' });
    const wrong = await refusal(() => access.login('anna', 'something else', 'a'));
    const unknown = await refusal(() => access.login('otto', 'something else', 'a'));
    expect(unknown.message).to.equal(wrong.message);
    expect(wrong.code).to.equal('not-authenticated');
  });

  it('a session ends by itself, with logout, with the user, and with a new password', async () => {
    await access.addUser('anna', password, { role: 'operator' });
    const begin = async (): Promise<string> => {
      clock.advance(60_000);
      return (await access.login('anna', password, 'a')).token;
    };
    const isOver = async (token: string): Promise<void> => {
      expect((await refusal(() => access.principalOf(token, 'a'))).code).to.equal('not-authenticated');
    };
    const first = await begin();
    expect(access.principalOf(first, 'a')).to.include({ kind: 'user', name: 'anna', role: 'operator' });
    expect(access.logout(first)).to.equal(true);
    await isOver(first);
    const second = await begin();
    clock.advance(sessionMaxMs);
    await isOver(second);
    const third = await begin();
    await access.setPassword('anna', 'another long password');
    await isOver(third);
    await access.setPassword('anna', password);
    const fourth = await begin();
    await access.removeUser('anna');
    await isOver(fourth);
  });

  it('guessing a password is held up per user, also from many addresses, and the right one works later', async () => {
    await access.addUser('anna', password, { role: 'admin' });
    const codes: string[] = [];
    for (let attempt = 0; attempt < 6; attempt += 1) {
      codes.push((await refusal(() => access.login('anna', 'a wrong password', `address ${attempt}`))).code);
    }
    expect(codes.slice(0, 5)).to.deep.equal(Array(5).fill('not-authenticated'));
    expect(codes[5]).to.equal('limit-reached');
    expect((await refusal(() => access.login('anna', password, 'b'))).code).to.equal('limit-reached');
    clock.advance(31_000);
    expect((await access.login('anna', password, 'b')).token).to.match(/^vmpair_/);
  });

  it('an address that guesses tokens is held up, and one with a right token is not', async () => {
    const { token } = await access.addToken({ role: 'viewer' }, '', undefined);
    const codes = new Set<string>();
    for (let attempt = 0; attempt < 30; attempt += 1)
      codes.add((await refusal(() => access.principalOf('vmpair_00000000_x', 'a'))).code);
    expect([...codes]).to.deep.equal(['not-authenticated', 'limit-reached']);
    expect(access.principalOf(token, 'a').kind).to.equal('token');
  });

  it('what could not be made durable does not count', async () => {
    store.failure = new Error('no space');
    const failed = await access.addToken({ role: 'admin' }, '', undefined).then(
      () => false,
      () => true,
    );
    expect(failed).to.equal(true);
    expect(access.tokens).to.deep.equal([]);
    store.failure = undefined;
    await access.addToken({ role: 'admin' }, '', undefined);
    expect(access.tokens).to.have.length(1);
  });

  it('inventing keys takes no memory beyond the limit', () => {
    const limits = new AttemptLimits({ perSecond: 1, burst: 1 });
    expect(limits.take('first', 0)).to.equal(true);
    expect(limits.take('first', 0)).to.equal(false);
    for (let index = 0; index < keysMax; index += 1) limits.take(`key ${index}`, 0);
    expect(limits.take('first', 0), 'the oldest was forgotten').to.equal(true);
  });
});
