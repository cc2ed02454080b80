import { expect } from 'chai';
import fc from 'fast-check';
import { WorldError } from '../../src/base/errors.ts';
import {
  describeRefusal,
  type KeptValue,
  logSurplus,
  parsePut,
  parseRange,
  parseToken,
  putRequest,
} from '../../src/platform/etcd-protocol.ts';

const key = '/vmpair/c1/vm1';
const store = 'a'.repeat(32);
const record = { generation: 3, holder: 'alpha', operationId: 'b'.repeat(32) };
const value: KeptValue = { store, surplus: 7, record };
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const asText = (request: object): string =>
  JSON.stringify(request, (_, each: unknown) =>
    typeof each === 'string' && /^(?=.*[^0-9])[A-Za-z0-9+/]{12,}=*$/.test(each)
      ? Buffer.from(each, 'base64').toString()
      : each,
  );

describe('what is said to etcd', () => {
  it('the first value is put only where there is none, another one only over what was read', () => {
    const none = parseRange(key, { header: { cluster_id: '5' } });
    expect(none).to.deep.equal({ clusterId: '5', value: undefined, modRevision: '0' });
    expect(asText(putRequest(key, none, value))).to.include(
      `"compare":[{"key":"${key}","result":"EQUAL","target":"CREATE","create_revision":"0"}]`,
    );
    const read = { clusterId: '5', value, modRevision: '12345678901234567890' };
    expect(asText(putRequest(key, read, value))).to.include(
      `"compare":[{"key":"${key}","result":"EQUAL","target":"MOD","mod_revision":"12345678901234567890"}]`,
    );
  });

  it('what was put is read again, with and without a record, with and without the length of the log', () => {
    for (const kept of [
      value,
      { ...value, record: undefined },
      { ...value, surplus: undefined },
      { ...value, surplus: -3 },
    ]) {
      const none = { clusterId: '5', value: undefined, modRevision: '0' };
      const request = putRequest(key, none, kept) as { success: [{ request_put: { value: string } }] };
      const text = request.success[0].request_put.value;
      const header = { cluster_id: '5', revision: '9' };
      const read = parseRange(key, { header, kvs: [{ mod_revision: '8', value: text }] });
      expect(read).to.deep.equal({ clusterId: '5', value: kept, modRevision: '8' });
    }
  });

  it('after its own change a key has the revision of that change; after that of another one it is as that left it', () => {
    const header = { cluster_id: '5', revision: '9' };
    expect(parsePut(key, value, { header, succeeded: true })).to.deep.equal({
      succeeded: true,
      asPut: { clusterId: '5', value, modRevision: '9' },
    });
    expect(parsePut(key, value, { header, responses: [{ response_range: {} }] })).to.deep.equal({
      succeeded: false,
      now: { clusterId: '5', value: undefined, modRevision: '0' },
    });
  });

  it('how much longer the log is than the data', () => {
    expect(logSurplus({ header: { cluster_id: '5', revision: '40' }, raftAppliedIndex: '50' })).to.equal(10);
    expect(logSurplus({ header: { cluster_id: '5', revision: '40' }, raftAppliedIndex: '4' })).to.equal(-36);
  });

  it('a refusal says what to do', () => {
    const next = (message: string) => describeRefusal(400, { message }, '').next;
    expect(next('etcdserver: user name is empty')).to.match(/set `arbiter.user`/);
    expect(next('etcdserver: mvcc: database space exceeded')).to.match(/alarm disarm/);
    expect(next('etcdserver: corrupt cluster')).to.match(/alarm list/);
    expect(next('something new')).to.match(/log of etcd/);
    expect(describeRefusal(503, { error: 'etcdserver: request timed out' }, '').code).to.equal(
      'arbiter-unreachable',
    );
    expect(describeRefusal(404, undefined, 'Not Found').found).to.equal('HTTP status 404');
  });

  it('any answer whatever is understood or refused, never taken for another one', () => {
    const header = fc.record({ cluster_id: fc.constantFrom('5', '', 'x', 5) }, { requiredKeys: [] });
    const kvs = fc.array(
      fc.record(
        {
          mod_revision: fc.constantFrom('1', '-1', 1, null),
          value: fc.oneof(fc.string().map(base64), fc.string()),
        },
        { requiredKeys: [] },
      ),
      { maxLength: 2 },
    );
    const answer = fc.oneof(
      fc.jsonValue(),
      fc.record({ header, kvs, succeeded: fc.constantFrom(true, false, 'yes'), responses: fc.jsonValue() }),
    );
    const parsers = [
      (json: unknown) => parseRange(key, json),
      (json: unknown) => parsePut(key, value, json),
      logSurplus,
      parseToken,
      (json: unknown) => {
        throw describeRefusal(500, json, 'text');
      },
    ];
    fc.assert(
      fc.property(answer, fc.constantFrom(...parsers), (json, parser) => {
        try {
          parser(json);
        } catch (error) {
          if (!(error instanceof WorldError)) throw error;
        }
      }),
      { numRuns: 1000 },
    );
  });
});
