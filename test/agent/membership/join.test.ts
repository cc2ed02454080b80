/** Two bare servers become a cluster, with interruptions at every step. The HTTPS server is a stand-in; the handlers are not. */
import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { membersOf, parseCluster, withVacantPlace } from '../../../src/agent/membership/cluster-document.ts';
import { joinCluster } from '../../../src/agent/membership/join.ts';
import { joinPath } from '../../../src/agent/membership/join-messages.ts';
import { encodeJoinToken, parseJoinToken } from '../../../src/agent/membership/join-token.ts';
import { makeToken } from '../../../src/agent/membership/make-token.ts';
import type { NodeFiles } from '../../../src/agent/membership/node-files.ts';
import { readNodeConfig } from '../../../src/config/node-config.ts';
import { certificateKeyId } from '../../../src/platform/certificate-identity.ts';
import { readIdentity } from '../../../src/platform/tls.ts';
import { errorOf } from '../../platform/loopback-pair.ts';
import { makeTempDirectory, type TempDirectory } from '../../temp-directory.ts';
import {
  answerJoins,
  filesUnder,
  firstNode,
  loopback,
  type StandInAgent,
  startAgent,
} from './membership-fixture.ts';

const minuteMs = 60_000;

describe('a server joins', () => {
  let directory: TempDirectory;
  let a: NodeFiles;
  let agent: StandInAgent;
  let nowMs: number;
  const address = { host: loopback, port: 7443 };

  beforeEach(async () => {
    directory = makeTempDirectory();
    nowMs = Date.now();
    a = await firstNode(directory.file('a'), 1);
    agent = await startAgent(a);
    const text = readFileSync(a.clusterFile, 'utf8').replace('port: 1\n', `port: ${agent.port}\n`);
    writeFileSync(a.clusterFile, text);
    answerJoins(agent, a, () => nowMs);
  });
  afterEach(async () => {
    await agent.close();
    directory.remove();
  });

  const tokenOf = async (node?: string) =>
    (await makeToken({ files: a, self: 'A', hours: 1, node, nowMs })).token;
  const joinAs = (root: string, token: string, node = 'B') =>
    joinCluster({ files: filesUnder(directory.file(root)), token, node, address });
  const cluster = () => parseCluster(a.clusterFile, readFileSync(a.clusterFile, 'utf8'));

  it('with a token: it gets a certificate for a key that it made, the authority, and all documents', async () => {
    writeFileSync(join(a.modulesDir, 'vm1.yaml'), 'module of vm1\n');
    const joined = await joinAs('b', await tokenOf());
    expect(joined).to.include({ node: 'B', peer: 'A' });
    expect(joined.modules).to.deep.equal(['vm1']);
    const b = filesUnder(directory.file('b'));
    const { self } = readIdentity(readNodeConfig(b.nodeFile).tls);
    expect(self).to.deep.equal({ clusterId: cluster().cluster, role: 'node', name: 'B' });
    expect(readFileSync(b.clusterFile, 'utf8')).to.equal(readFileSync(a.clusterFile, 'utf8'));
    expect(readFileSync(join(b.modulesDir, 'vm1.yaml'), 'utf8')).to.equal('module of vm1\n');
    const keyId = certificateKeyId(new X509Certificate(readFileSync(b.tls.cert)));
    expect(membersOf(cluster())).to.deep.include({ name: 'B', agent: address, keyId });
    for (const file of [...Object.values(b.tls).filter(existsSync), b.nodeFile])
      expect(statSync(file).mode & 0o777, file).to.equal(0o600);
    expect(existsSync(b.pending)).to.equal(false);
  });

  it('only the hash of the secret is stored', async () => {
    const token = await tokenOf();
    const { secret } = parseJoinToken(token);
    const stored = join(a.stateDir, 'join-tokens');
    for (const name of readdirSync(stored))
      expect(readFileSync(join(stored, name), 'utf8')).not.to.contain(secret);
  });

  it('a token is good for one server', async () => {
    const token = await tokenOf();
    await joinAs('b', token);
    const error = await errorOf(joinAs('c', token, 'C'));
    expect(error.code).to.equal('join-refused');
    expect(error.found).to.equal('a token that another server has used');
  });

  it('a third server is refused: a cluster is two nodes', async () => {
    await joinAs('b', await tokenOf());
    const error = await errorOf(joinAs('c', await tokenOf(), 'C'));
    expect(error.found).to.contain('a cluster is two nodes');
  });

  it('a token that has ended, one that was never made, and one for another name each have a sentence', async () => {
    const token = await tokenOf();
    const bound = await tokenOf('B');
    const unknown = encodeJoinToken({ ...parseJoinToken(token), secret: 'A'.repeat(43) });
    expect((await errorOf(joinAs('b1', unknown))).found).to.contain('was not made on this node');
    expect((await errorOf(joinAs('b2', bound, 'C'))).found).to.contain('bound to another node name');
    expect((await errorOf(joinAs('b3', token, 'A'))).found).to.contain(
      'the name of the node that made the token',
    );
    nowMs += 61 * minuteMs;
    expect((await errorOf(joinAs('b4', token))).found).to.equal('a token that has ended');
    expect(membersOf(cluster()).map(({ name }) => name)).to.deep.equal(['A']);
  });

  it('a text that is no token, or not a whole one, is refused before anything is asked', async () => {
    const token = await tokenOf();
    const other = token[30] === 'x' ? 'y' : 'x';
    const wrong = `${token.slice(0, 30)}${other}${token.slice(31)}`;
    for (const text of ['', 'vmpair1', token.slice(0, -1), wrong])
      expect((await errorOf(joinAs('b', text))).code, text).to.equal('join-refused');
    expect(existsSync(directory.file('b'))).to.equal(false);
  });

  it('somebody else at the address of the token learns nothing', async () => {
    const stranger = await firstNode(directory.file('stranger'), 1);
    const trap = await startAgent(stranger);
    let asked = 0;
    trap.handlers.set(joinPath, async () => (asked += 1));
    const token = encodeJoinToken({
      ...parseJoinToken(await tokenOf()),
      address: { host: loopback, port: trap.port },
    });
    const error = await errorOf(joinAs('b', token));
    await trap.close();
    expect(error.code).to.equal('certificate-rejected');
    expect(error.next).to.contain('nothing was sent');
    expect(asked).to.equal(0);
  });

  it('an answer that got lost: the same command, repeated, completes, also after the end of the token', async () => {
    const token = await tokenOf();
    const answer = agent.handlers.get(joinPath);
    agent.handlers.set(joinPath, async (body, caller) => {
      await answer?.(body, caller);
      throw new Error('the connection is lost');
    });
    await errorOf(joinAs('b', token));
    expect(membersOf(cluster())).to.have.length(2);
    expect(existsSync(filesUnder(directory.file('b')).nodeFile)).to.equal(false);
    if (answer !== undefined) agent.handlers.set(joinPath, answer);
    nowMs += 120 * minuteMs;
    await joinAs('b', token);
    expect(existsSync(filesUnder(directory.file('b')).nodeFile)).to.equal(true);
  });

  it('the joining server dies before node.yaml: the same command goes on with the same key', async () => {
    const token = await tokenOf();
    await joinAs('b', token);
    const b = filesUnder(directory.file('b'));
    const key = readFileSync(b.tls.key, 'utf8');
    rmSync(b.nodeFile);
    rmSync(b.tls.cert);
    writeFileSync(b.pending, 'join\n');
    await joinAs('b', token);
    expect(readFileSync(b.tls.key, 'utf8')).to.equal(key);
    expect(readIdentity(b.tls).self.name).to.equal('B');
  });

  it('a server that is a node already is refused, and so is init after a join that did not end', async () => {
    const token = await tokenOf();
    await joinAs('b', token);
    expect((await errorOf(joinAs('b', token))).code).to.equal('file-exists');
    rmSync(filesUnder(directory.file('b')).nodeFile);
    writeFileSync(filesUnder(directory.file('b')).pending, 'join\n');
    expect((await errorOf(firstNode(directory.file('b'), 1))).code).to.equal('cluster-unusable');
    expect((await errorOf(firstNode(directory.file('a'), 1))).code).to.equal('file-exists');
  });

  it('the name of a member with another key is refused, until its place was made vacant', async () => {
    await joinAs('b', await tokenOf());
    const error = await errorOf(joinAs('new', await tokenOf('B')));
    expect(error.found).to.equal('a node of that name with another key');
    const [member] = membersOf(cluster()).filter(({ name }) => name === 'B');
    if (member !== undefined)
      writeFileSync(a.clusterFile, withVacantPlace(readFileSync(a.clusterFile, 'utf8'), member));
    expect(cluster().revoked).to.deep.equal([member?.keyId]);
    await joinAs('new', await tokenOf('B'));
    expect(membersOf(cluster())).to.have.length(2);
    rmSync(filesUnder(directory.file('b')).nodeFile);
    const old = await errorOf(joinAs('b', await tokenOf()));
    expect(old.found, 'the machine that was replaced').to.contain('a key that was revoked');
  });

  it('guessing is bounded', async () => {
    const token = parseJoinToken(await tokenOf());
    const errors = [];
    for (let count = 0; count < 12; count += 1) {
      const guess = encodeJoinToken({ ...token, secret: `${'A'.repeat(42)}${'AEIMQUYcgkow'[count]}` });
      errors.push((await errorOf(joinAs('b', guess))).code);
    }
    expect(errors.slice(0, 10)).to.deep.equal(Array(10).fill('join-refused'));
    expect(errors.slice(10)).to.deep.equal(['limit-reached', 'limit-reached']);
    nowMs += minuteMs;
    expect((await errorOf(joinAs('b', encodeJoinToken({ ...token, secret: 'B'.repeat(43) })))).code).to.equal(
      'join-refused',
    );
  });

  it('bytes that are no request to join are refused with what is wrong', async () => {
    const desk = answerJoins(agent, a);
    for (const body of [undefined, {}, { version: 1, secret: 's', node: 'both' }, []])
      expect((await errorOf(desk.answer(body))).code).to.equal('join-refused');
    const request = { version: 1, secret: 's', node: 'B', agent: address, request: 'no PKCS 10' };
    expect((await errorOf(desk.answer(request))).wanted).to.contain('a certificate request');
  });
});
