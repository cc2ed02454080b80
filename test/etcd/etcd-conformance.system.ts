/** etcd as the keeper of records: one member with TLS and users, and a plain one behind something that spoils requests. */
import type { Arbiter } from '../../src/arbiter/arbiter.ts';
import { EtcdArbiter } from '../../src/platform/etcd-arbiter.ts';
import { type ArbiterFixture, arbiterConformance, type Asker } from '../conformance/arbiter.ts';
import { EtcdLab, type EtcdLabOptions, labPrefix } from './etcd-lab.ts';
import { type Fate, type StandIn, standInFor } from './etcd-stand-in.ts';

const deadlineMs = 5000;
/** Of a way on which no answer comes, ms. */
const faultyDeadlineMs = 1500;

interface Fixture extends ArbiterFixture {
  readonly lab: EtcdLab;
  readonly standIns: StandIn[];
  readonly key: string;
}

/** etcd serves all tests of a suite; each has keys of its own. */
class SharedEtcd {
  #lab: EtcdLab | undefined;
  #tests = 0;

  constructor(options: EtcdLabOptions) {
    before(async () => {
      this.#lab = await EtcdLab.start(options);
    });
    after(() => this.#lab?.dispose());
  }

  async fixture(): Promise<Fixture> {
    const lab = this.#lab;
    if (lab === undefined) throw new Error('etcd was not started');
    this.#tests += 1;
    const prefix = `${labPrefix}${this.#tests}`;
    const keyOf = ({ cluster = 1, module = 1 }: Asker = {}) => `${prefix}/${cluster}/${module}`;
    const standIns: StandIn[] = [];
    return {
      lab,
      standIns,
      key: keyOf(),
      reach: (asker) =>
        new EtcdArbiter({ endpoints: lab.endpoints, ...lab.credentials, key: keyOf(asker), deadlineMs }),
      kill: () => lab.killAll(),
      restart: () => lab.startAll(),
      loseStore: () => lab.loseData(),
      dispose: async () => {
        for (const standIn of standIns) standIn.close();
        await lab.startAll();
      },
    };
  }
}

const shared = {
  deadlineMs,
  knowsNodes: false,
  answersNonsense: true,
  tellsApart: ['module', 'cluster'],
  knowsUnsent: true,
} as const;

describe('etcd with TLS and users', () => {
  const etcd = new SharedEtcd({ tls: 'on', users: true });
  arbiterConformance({ ...shared, name: 'etcd, with TLS and users', faulty: [] }, () => etcd.fixture());
});

/** A way to etcd on which requests to `path` meet a fate. */
async function spoiled({ lab, standIns, key }: Fixture, path: string, fate: Fate): Promise<Arbiter> {
  const standIn = await standInFor(lab.endpoints[0] as URL, (asked) => (asked === path ? fate : 'pass'));
  standIns.push(standIn);
  return new EtcdArbiter({ endpoints: [standIn.url], tls: {}, key, deadlineMs: faultyDeadlineMs });
}

const json = (text: string, status = '200 OK'): Fate => ({
  bytes: `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
});
const range = '/v3/kv/range';
const txn = '/v3/kv/txn';
const header = '"header":{"cluster_id":"1","revision":"2"}';
const fates: readonly [string, Fate][] = [
  ['dies at the request', 'die'],
  ['does not answer', 'hang'],
  ['answers what is no HTTP', { bytes: 'garbage\r\n\r\n' }],
  ['answers what is no JSON', json('garbage')],
  ['answers another question', json('{"token":"x"}')],
  ['answers with less than it says', { bytes: 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}' }],
  ['answers more than anybody wants to hear', json(`"${'x'.repeat(100_000)}"`)],
  ['has lost its leader', json('{"message":"etcdserver: no leader","code":14}', '503 Service Unavailable')],
  ['has no space', json('{"message":"etcdserver: mvcc: database space exceeded"}', '429 Too Many Requests')],
];

describe('etcd behind something that spoils requests', () => {
  const etcd = new SharedEtcd({});
  arbiterConformance<Fixture>(
    {
      ...shared,
      name: 'etcd, behind something that spoils requests',
      faulty: [
        ...fates.flatMap(([what, fate]) => [
          { what: `it ${what} (reading)`, sent: false, open: (each: Fixture) => spoiled(each, range, fate) },
          { what: `it ${what} (changing)`, sent: true, open: (each: Fixture) => spoiled(each, txn, fate) },
        ]),
        {
          what: 'it answers with a value that is none (reading)',
          sent: false,
          open: (each) =>
            spoiled(each, range, json(`{${header},"kvs":[{"mod_revision":"2","value":"e30="}]}`)),
        },
        {
          what: 'it carries the change out, and its answer is lost',
          sent: true,
          open: (each) => spoiled(each, txn, 'lose-answer'),
        },
      ],
    },
    () => etcd.fixture(),
  );
});
