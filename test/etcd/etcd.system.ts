/**
 * What can happen to etcd, and what modules then say: members that die, hang or restart, restored snapshots, users and certificates
 * that do not fit. What every keeper of records must do is in etcd-conformance.system.ts.
 */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import type { ArbiterAnswer, ReadAnswer } from '../../src/arbiter/arbiter.ts';
import type { ArbiterRecord, StoreId } from '../../src/disk/state.ts';
import { EtcdArbiter, type EtcdArbiterOptions, etcdDeadlineMs } from '../../src/platform/etcd-arbiter.ts';
import { record } from '../conformance/arbiter.ts';
import { until } from '../until.ts';
import { EtcdLab, labPrefix, labUser } from './etcd-lab.ts';

const both = record(1, 'both');
const forAlpha = record(2, 'alpha', 0xa);
const forBeta = record(2, 'beta', 0xb);
const key = `${labPrefix}vm1`;
const deadlineMs = 5000;
/** A majority elects a leader, or a module finds a member that answers, within this time, ms. */
const settledMs = 30_000;

let lab: EtcdLab;
const reach = (options: Partial<EtcdArbiterOptions> = {}): EtcdArbiter =>
  new EtcdArbiter({ endpoints: lab.endpoints, ...lab.credentials, key, deadlineMs, ...options });
const read = (arbiter: EtcdArbiter) => new Promise<ReadAnswer>((resolve) => arbiter.read(resolve));
const swap = (
  arbiter: EtcdArbiter,
  expected: ArbiterRecord | undefined,
  next: ArbiterRecord,
  store?: StoreId,
) => new Promise<ArbiterAnswer>((resolve) => arbiter.swap({ store, expected, next }, resolve));

/** As a module does: asks again until there is an answer. */
const swapUntilAnswered = (arbiter: EtcdArbiter, expected: ArbiterRecord | undefined, next: ArbiterRecord) =>
  until(
    'an answer of etcd',
    async () => {
      const answer = await swap(arbiter, expected, next);
      if (answer.kind === 'no-answer') throw new Error(answer.because);
      return answer;
    },
    settledMs,
  );

async function storeWith(arbiter: EtcdArbiter, wanted: ArbiterRecord): Promise<StoreId> {
  const answer = await read(arbiter);
  if (answer.kind === 'no-answer') throw new Error(answer.because);
  expect(answer.record).to.deep.equal(wanted);
  return answer.store;
}

describe('etcd of three members', () => {
  before(async () => {
    lab = await EtcdLab.start({ members: 3, tls: 'on', users: true });
  });
  after(() => lab?.dispose());
  let tests = 0;
  let own: Partial<EtcdArbiterOptions>;
  beforeEach(async () => {
    await lab.startAll();
    own = { key: `${labPrefix}${(tests += 1)}` };
    expect(await swapUntilAnswered(reach(own), undefined, both)).to.have.property('kind', 'granted');
  });

  it('one dies: the others answer, whichever it was', async () => {
    let last = both;
    for (const index of lab.members.keys()) {
      await lab.kill(index);
      const next = record(last.generation + 1, index % 2 === 0 ? 'alpha' : 'both');
      expect(await swapUntilAnswered(reach(own), last, next)).to.deep.include({
        kind: 'granted',
        record: next,
      });
      last = next;
      await lab.start(index);
    }
  });

  it('one hangs: another one is asked in time', async () => {
    for (const index of lab.members.keys()) {
      const thaw = lab.freeze(index);
      try {
        const next = record(2, 'alpha', 0xa);
        expect(await swapUntilAnswered(reach(own), both, next)).to.deep.include({
          kind: 'granted',
          record: next,
        });
      } finally {
        thaw();
      }
    }
  });

  it('two die: no answer, nothing was sent; they are back: it goes on where it was', async () => {
    const arbiter = reach(own);
    const store = await storeWith(arbiter, both);
    await Promise.all([lab.kill(0), lab.kill(1)]);
    const answer = await swap(arbiter, both, forAlpha);
    expect(answer).to.deep.include({ kind: 'no-answer', sent: false });
    expect(answer)
      .to.have.property('because')
      .that.matches(/^arbiter-unreachable: wanted .*ECONNREFUSED \(127.*Next: check/);
    expect(await read(reach(own))).to.have.property('kind', 'no-answer');
    await lab.startAll();
    expect(await swapUntilAnswered(arbiter, both, forAlpha)).to.deep.equal({
      kind: 'granted',
      record: forAlpha,
      store,
    });
  });

  it('all restart: a login from before is not valid any more, and the next operation logs in anew', async () => {
    const arbiter = reach(own);
    const store = await storeWith(arbiter, both);
    await lab.killAll();
    await lab.startAll();
    const answer = await swapUntilAnswered(arbiter, both, forAlpha);
    expect(answer).to.deep.equal({ kind: 'granted', record: forAlpha, store });
  });

  it('an endpoint that leads nowhere comes first: another one is asked, within the default deadline', async () => {
    // TEST-NET-1: nobody answers there, not even with a refusal.
    const endpoints = [new URL('https://192.0.2.1:2379'), ...lab.endpoints];
    const arbiter = reach({ ...own, endpoints, deadlineMs: 2 * etcdDeadlineMs });
    expect(await swapUntilAnswered(arbiter, both, forAlpha)).to.have.property('kind', 'granted');
  });
});

describe('etcd that is restored from a snapshot', () => {
  beforeEach(async () => {
    lab = await EtcdLab.start();
  });
  afterEach(() => lab?.dispose());

  // What etcd calls the id of a cluster is made of its addresses and its token.
  for (const token of ['same', 'other'] as const) {
    it(`with the ${token} token: another store, for good; the claim of a node that knows the one before changes nothing`, async () => {
      await swap(reach(), undefined, both);
      const store = await storeWith(reach(), both);
      const snapshot = await lab.saveSnapshot();
      expect(await swap(reach(), both, forAlpha, store)).to.have.property('kind', 'granted');
      await lab.restoreSnapshot(snapshot, ...(token === 'other' ? ['restored'] : []));

      const answer = await swap(reach(), both, forBeta, store);
      const restored = await storeWith(reach(), both);
      expect(restored).to.not.equal(store);
      expect(answer).to.deep.equal({ kind: 'other-store', store: restored });
      // A log that has grown long since tells nothing any more.
      for (let put = 0; put < 50; put += 1) await swap(reach({ key: `${key}-${put}` }), undefined, both);
      expect(await swap(reach(), both, forBeta, store)).to.deep.equal({
        kind: 'other-store',
        store: restored,
      });
      expect(await storeWith(reach(), both)).to.equal(restored);
    });
  }

  it('that was only restarted is the same store, as often as that is', async () => {
    await swap(reach(), undefined, both);
    const store = await storeWith(reach(), both);
    for (let round = 0; round < 3; round += 1) {
      await lab.killAll();
      await lab.startAll();
      expect(await storeWith(reach(), both)).to.equal(store);
    }
  });

  it('the key of a module holds something else: it is said to be damaged, and stays as it is', async () => {
    for (const [text, found] of [
      ['garbage', /no JSON/],
      ['{}', /did not write/],
      [`{"format":1,"store":"${'a'.repeat(32)}","surplus":1,"record":{"generation":0}}`, /generation/],
    ] as const) {
      await lab.etcdctl(['put', key, text]);
      const answer = await swap(reach(), undefined, both);
      expect(answer).to.deep.include({ kind: 'no-answer', sent: false });
      expect(answer)
        .to.have.property('because')
        .that.matches(/^record-damaged: .*\/vmpair\/c1\/vm1/);
      expect(answer).to.have.property('because').that.matches(found);
      expect(await lab.etcdctl(['get', '--print-value-only', key])).to.equal(`${text}\n`);
    }
  });
});

describe('etcd and a module whose configuration does not fit', () => {
  before(async () => {
    lab = await EtcdLab.start({ tls: 'mutual', users: true });
  });
  after(() => lab?.dispose());

  it('with a certificate and a user it is answered', async () => {
    const answer = await swap(reach(), undefined, both);
    expect(answer, JSON.stringify(answer)).to.deep.include({ kind: 'granted', record: both });
  });

  const misfits: readonly [string, () => Partial<EtcdArbiterOptions>, RegExp][] = [
    [
      'a wrong password',
      () => ({ user: { ...labUser, password: 'wrong' } }),
      /^arbiter-rejected: .*authentication failed.*passwordFile/,
    ],
    ['no user', () => ({ user: undefined }), /^arbiter-rejected: .*permission denied.*set `arbiter.user`/],
    [
      'a prefix that the user has no right to',
      () => ({ key: '/vmpair/c2/vm1' }),
      /^arbiter-rejected: .*permission denied.*etcdctl role grant-permission/,
    ],
    [
      'no client certificate where etcd wants one',
      () => ({ tls: { ca: lab.credentials.tls.ca } }),
      /^certificate-rejected: wanted etcd to accept our certificate.*arbiter\.tls\.cert/,
    ],
    [
      'a client certificate with a common name',
      () => {
        const { cert, key } = lab.tlsFiles('administrator');
        return {
          tls: { ...lab.credentials.tls, cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') },
        };
      },
      /^arbiter-rejected: .*CommonName.*without a common name/,
    ],
    [
      'an authority that did not sign the certificate of etcd',
      () => ({ tls: { ...lab.credentials.tls, ca: undefined } }),
      /^certificate-rejected: .*arbiter\.tls\.ca/,
    ],
    [
      'a host name that is not in the certificate of etcd',
      () => ({ endpoints: lab.endpoints.map(({ port }) => new URL(`https://localhost:${port}`)) }),
      /^certificate-rejected: .*names this host/,
    ],
    [
      'http where etcd speaks https',
      () => ({ endpoints: lab.endpoints.map(({ host }) => new URL(`http://${host}`)) }),
      /^arbiter-unreachable: .*https or http/,
    ],
    [
      'the address of something else',
      () => ({ endpoints: [new URL(lab.members[0]?.peerUrl ?? '')], tls: {}, user: undefined }),
      /^protocol-violation: .*HTTP status 404.*arbiter\.endpoints/,
    ],
  ];
  for (const [what, options, because] of misfits) {
    it(`${what}: nothing was sent, and it is said what to do`, async () => {
      const answer = await swap(reach(options()), both, forAlpha);
      expect(answer).to.deep.include({ kind: 'no-answer', sent: false });
      expect('because' in answer && answer.because).to.match(because);
    });
  }

  it('certificates that were renewed count from the next operation on', async () => {
    const arbiter = reach({ tls: { ...lab.credentials.tls, ca: undefined } });
    expect((await read(arbiter)).kind).to.equal('no-answer');
    arbiter.useTls(lab.credentials.tls);
    expect((await read(arbiter)).kind).to.equal('record');
  });

  it('a user where etcd has none: nothing was sent, and it is said what to do', async () => {
    const open = await EtcdLab.start();
    try {
      const answer = await swap(reach({ endpoints: open.endpoints, tls: {} }), undefined, both);
      expect(answer).to.deep.include({ kind: 'no-answer', sent: false });
      expect(answer)
        .to.have.property('because')
        .that.matches(/authentication is not enabled.*etcdctl auth enable/);
    } finally {
      await open.dispose();
    }
  });
});
