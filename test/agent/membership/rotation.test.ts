/** The authority of a cluster is replaced, step by step, between two nodes whose HTTPS servers are stand-ins. The witness is a port. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { parseCluster } from '../../../src/agent/membership/cluster-document.ts';
import { joinCluster } from '../../../src/agent/membership/join.ts';
import { makeToken } from '../../../src/agent/membership/make-token.ts';
import type { NodeFiles } from '../../../src/agent/membership/node-files.ts';
import { askPeer, peerOf } from '../../../src/agent/membership/peer-exchange.ts';
import {
  answerRotation,
  rotateAuthority,
  type RotationNode,
  type RotationPorts,
  rotationPath,
} from '../../../src/agent/membership/rotate-authority.ts';
import { rotationState } from '../../../src/agent/membership/rotation-files.ts';
import { rotationSteps } from '../../../src/agent/membership/rotation-state.ts';
import { readIdentity, type TlsIdentity } from '../../../src/platform/tls.ts';
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

describe('replacement of the authority', () => {
  let directory: TempDirectory;
  let agents: StandInAgent[];
  let a: RotationNode;
  let b: RotationNode;
  let informed: string[];
  let probes: TlsIdentity[];
  let witnessSays: string | undefined;

  const nodeOf = (files: NodeFiles, node: string): RotationNode => ({
    files,
    node,
    inform: async () => {
      for (const agent of agents) agent.reload();
      informed.push(node);
      return [];
    },
  });

  const serve = async (own: RotationNode): Promise<StandInAgent> => {
    const agent = await startAgent(own.files);
    agent.handlers.set(rotationPath, (body, caller) => answerRotation(body, caller, own));
    agents.push(agent);
    return agent;
  };

  beforeEach(async () => {
    directory = makeTempDirectory();
    [agents, informed, probes, witnessSays] = [[], [], [], undefined];
    const files = await firstNode(directory.file('a'), 1);
    a = nodeOf(files, 'A');
    const agentA = await serve(a);
    const text = readFileSync(files.clusterFile, 'utf8').replace('port: 1\n', `port: ${agentA.port}\n`);
    writeFileSync(files.clusterFile, text);
    answerJoins(agentA, files);
    const { token } = await makeToken({ files, self: 'A', hours: 1, nowMs: Date.now() });
    const filesB = filesUnder(directory.file('b'));
    await joinCluster({ files: filesB, token, node: 'B', address: { host: loopback, port: 1 } });
    b = nodeOf(filesB, 'B');
    const agentB = await serve(b);
    for (const { clusterFile } of [files, filesB])
      writeFileSync(
        clusterFile,
        readFileSync(clusterFile, 'utf8').replace('port: 1\n', `port: ${agentB.port}\n`),
      );
  });
  afterEach(async () => {
    for (const agent of agents) await agent.close();
    directory.remove();
  });

  function portsOf({ files, node }: RotationNode, lost?: 'before' | 'after'): RotationPorts {
    const peer = peerOf(parseCluster('cluster.yaml', readFileSync(files.clusterFile, 'utf8')), node);
    return {
      peer: peer.name,
      askPeer: async (request) => {
        if (lost === 'before' && request.step !== 'state') throw new Error('the request is lost');
        const answer = await askPeer(files, peer, rotationPath, request);
        if (lost === 'after' && request.step !== 'state') throw new Error('the answer is lost');
        return answer;
      },
      witnessProblem: async (identity) => {
        probes.push(identity);
        return witnessSays;
      },
    };
  }

  it('trust, issue, finish: afterwards both nodes know and use the new one alone', async () => {
    const before = await rotationState(a.files.tls);
    for (const step of rotationSteps) {
      const { node, peer, witnessDir } = await rotateAuthority(step, a, portsOf(a));
      expect(readFileSync(`${witnessDir}/ca.pem`, 'utf8')).to.equal(readFileSync(a.files.tls.ca, 'utf8'));
      expect([...peer.trusted].toSorted()).to.deep.equal([...node.trusted].toSorted());
      expect(node.trusted).to.have.length(step === 'finish' ? 1 : 2);
    }
    const [after, other] = [await rotationState(a.files.tls), await rotationState(b.files.tls)];
    expect(after).to.deep.equal(other);
    expect(after.trusted).to.deep.equal([after.issuer]);
    expect(after.signer).to.equal(after.issuer);
    expect(after.issuer).not.to.equal(before.issuer);
    expect(informed).to.deep.equal(['A', 'B', 'A', 'B', 'A', 'B']);
  });

  for (const lost of ['before', 'after'] as const)
    it(`each step is repeated after its request was lost ${lost} the other node took it`, async () => {
      for (const step of rotationSteps) {
        expect((await errorOf(rotateAuthority(step, a, portsOf(a, lost)))).message).to.contain('is lost');
        await rotateAuthority(step, a, portsOf(a));
      }
      expect(await rotationState(a.files.tls)).to.deep.equal(await rotationState(b.files.tls));
    });

  it('a step out of turn is refused and changes nothing', async () => {
    const before = await rotationState(a.files.tls);
    expect((await errorOf(rotateAuthority('issue', a, portsOf(a)))).code).to.equal('cluster-unusable');
    await rotateAuthority('trust', a, portsOf(a));
    await rotateAuthority('issue', a, portsOf(a));
    expect((await errorOf(rotateAuthority('trust', a, portsOf(a)))).next).to.contain('finish');
    expect((await rotationState(a.files.tls)).trusted[0]).to.equal(before.issuer);
  });

  it('no certificate of the new authority is shown before the witness was seen to trust it', async () => {
    await rotateAuthority('trust', a, portsOf(a));
    const before = await rotationState(a.files.tls);
    witnessSays = '192.0.2.20:7300: rejected';
    const error = await errorOf(rotateAuthority('issue', a, portsOf(a)));
    expect(error.code).to.equal('arbiter-unreachable');
    expect(error.found).to.equal(witnessSays);
    expect(await rotationState(a.files.tls)).to.deep.equal(before);
    expect(await rotationState(b.files.tls)).to.deep.include({
      issuer: before.issuer,
      signer: before.issuer,
    });
    expect(probes[0]?.certificatePem).not.to.equal(readFileSync(a.files.tls.cert, 'utf8'));
  });

  it('the old authority is trusted until the witness was seen to show a certificate of the new one', async () => {
    await rotateAuthority('trust', a, portsOf(a));
    await rotateAuthority('issue', a, portsOf(a));
    witnessSays = '192.0.2.20:7300: a certificate that no authority of ours signed';
    await errorOf(rotateAuthority('finish', a, portsOf(a)));
    expect(probes.at(-1)?.authorities).to.have.length(1);
    expect((await rotationState(a.files.tls)).trusted).to.have.length(2);
  });

  it('each node may give each step', async () => {
    await rotateAuthority('trust', a, portsOf(a));
    await rotateAuthority('issue', b, portsOf(b));
    await rotateAuthority('finish', a, portsOf(a));
    expect(await rotationState(a.files.tls)).to.deep.equal(await rotationState(b.files.tls));
  });

  it('nobody but the other node may ask for a step', async () => {
    const { clusterId } = readIdentity(a.files.tls).self;
    const callers = [
      undefined,
      { clusterId, role: 'witness', name: 'witness' },
      { clusterId, role: 'node', name: 'A' },
      { clusterId: 'other', role: 'node', name: 'B' },
    ] as const;
    for (const caller of callers)
      expect((await errorOf(answerRotation({ step: 'state' }, caller, a))).code).to.equal(
        'certificate-rejected',
      );
    const peer = { clusterId, role: 'node', name: 'B' } as const;
    expect((await errorOf(answerRotation({ step: 'leap' }, peer, a))).code).to.equal('protocol-violation');
  });

  it('an authority of another cluster is not taken over from the other node', async () => {
    const stranger = await firstNode(directory.file('stranger'), 1);
    const { clusterId } = readIdentity(a.files.tls).self;
    const body = {
      step: 'trust',
      certificatePem: readFileSync(stranger.tls.ca, 'utf8'),
      keyPem: readFileSync(stranger.tls.caKey, 'utf8'),
    };
    const error = await errorOf(answerRotation(body, { clusterId, role: 'node', name: 'B' }, a));
    expect(error.code).to.equal('certificate-rejected');
    expect((await rotationState(a.files.tls)).trusted).to.have.length(1);
  });
});
