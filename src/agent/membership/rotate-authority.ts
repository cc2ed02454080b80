/**
 * `vmpair cluster rotate-authority`: one step on this node, then on the other one, and what the witness needs of it. The steps
 * and what each requires are in rotation-state.ts.
 */
import { z } from 'zod';
import { WorldError } from '../../base/errors.ts';
import type { Party } from '../../platform/certificate-identity.ts';
import { type CertificateAndKey, certifyKey, publicKeyOf } from '../../platform/pki.ts';
import { makeIdentity, readIdentity, type TlsIdentity } from '../../platform/tls.ts';
import { readAuthority } from './authority.ts';
import type { NodeFiles, TlsFiles } from './node-files.ts';
import type { ModuleInformed } from './renew.ts';
import {
  dropOthers,
  issueFromNext,
  nextAuthority,
  readNext,
  rotationState,
  trustNext,
} from './rotation-files.ts';
import {
  checkOwnStep,
  checkPeerStep,
  type RotationState,
  type RotationStep,
  rotationSteps,
} from './rotation-state.ts';
import { writeForWitness } from './witness-files.ts';

/** Where an agent takes the steps of the other node's operator. */
export const rotationPath = '/api/v1/cluster/authority';
const pemCharactersMax = 8192;

const pem = z.string().max(pemCharactersMax);
const requestSchema = z.discriminatedUnion('step', [
  z.strictObject({ step: z.literal('state') }),
  z.strictObject({ step: z.literal('trust'), certificatePem: pem, keyPem: pem }),
  z.strictObject({ step: z.literal('issue') }),
  z.strictObject({ step: z.literal('finish') }),
]);
export type RotationRequest = z.infer<typeof requestSchema>;

const pin = z.string().regex(/^[0-9a-f]{64}$/);
const stateSchema = z.object({ trusted: z.array(pin), issuer: pin, signer: pin, next: pin.optional() });
export const rotationAnswerSchema = z.object({
  state: stateSchema,
  modules: z.array(z.object({ module: z.string(), problem: z.string().optional() })),
});

export interface RotationAnswer {
  readonly state: RotationState;
  readonly modules: readonly ModuleInformed[];
}

export interface RotationNode {
  readonly files: NodeFiles;
  readonly node: string;
  /** Lets the modules of this node, and its agent, take the files up. */
  inform(): Promise<readonly ModuleInformed[]>;
}

export interface RotationPorts {
  readonly peer: string;
  /** Asks the agent of the other node; answers the parsed JSON. */
  askPeer(request: RotationRequest): Promise<unknown>;
  /** Why a witness of this cluster's modules does not accept this identity, or is not accepted by it; `undefined`: all do. */
  witnessProblem(identity: TlsIdentity): Promise<string | undefined>;
}

export interface RotatedStep {
  readonly step: RotationStep;
  readonly node: RotationState;
  readonly peer: RotationState;
  readonly modules: readonly (ModuleInformed & { readonly node: string })[];
  /** Directory to be copied to the witness. */
  readonly witnessDir: string;
}

/** The side that is asked, over the connection of `caller`. Throws `certificate-rejected`, `cluster-unusable`. */
export async function answerRotation(
  body: unknown,
  caller: Party | undefined,
  { files, node, inform }: RotationNode,
): Promise<RotationAnswer> {
  const { self } = readIdentity(files.tls);
  if (caller?.role !== 'node' || caller.clusterId !== self.clusterId || caller.name === node) {
    throw new WorldError('certificate-rejected', {
      wanted: 'the other node of this cluster',
      found: caller === undefined ? 'nobody who showed a certificate' : `${caller.role} ${caller.name}`,
      next: 'give the command on the other node',
    });
  }
  const request = requestSchema.safeParse(body);
  if (!request.success) {
    throw new WorldError('protocol-violation', {
      wanted: `one of the steps ${rotationSteps.join(', ')}`,
      found: 'another request',
      next: 'run the same version of vmpair on both nodes',
    });
  }
  const { data } = request;
  if (data.step !== 'state') {
    if (data.step !== 'trust') checkOwnStep(data.step, await rotationState(files.tls));
    await takeStep(data.step, files.tls, node, data.step === 'trust' ? data : undefined);
  }
  const modules = data.step === 'state' ? [] : await inform();
  return { state: await rotationState(files.tls), modules };
}

async function takeStep(
  step: RotationStep,
  tls: TlsFiles,
  node: string,
  next: CertificateAndKey | undefined,
): Promise<void> {
  switch (step) {
    case 'trust':
      return trustNext(tls, next ?? (await nextAuthority(tls)));
    case 'issue':
      return issueFromNext(tls, node);
    case 'finish':
      return dropOthers(tls);
  }
}

/**
 * One step on both nodes; may be repeated until it succeeds. Throws `cluster-unusable` (nothing was changed), `arbiter-unreachable`
 * for a witness that is not ready for it, and what asking the peer throws.
 */
export async function rotateAuthority(
  step: RotationStep,
  own: RotationNode,
  ports: RotationPorts,
): Promise<RotatedStep> {
  const { files, node } = own;
  const before = await rotationState(files.tls);
  checkOwnStep(step, before);
  const ask = async (request: RotationRequest): Promise<RotationAnswer> =>
    rotationAnswerSchema.parse(await ports.askPeer(request));
  checkPeerStep(step, before, (await ask({ step: 'state' })).state, ports.peer);
  await checkWitness(step, files.tls, node, ports);
  await takeStep(step, files.tls, node, undefined);
  const mine = await own.inform();
  const next = step === 'trust' ? await readNext(files.tls) : undefined;
  const answer = await ask(
    next === undefined ? { step: step === 'trust' ? 'state' : step } : { step: 'trust', ...next },
  );
  const witnessDir = await writeForWitness(files);
  return {
    step,
    node: await rotationState(files.tls),
    peer: answer.state,
    modules: [
      ...mine.map((each) => ({ ...each, node })),
      ...answer.modules.map((each) => ({ ...each, node: ports.peer })),
    ],
    witnessDir,
  };
}

/** Before `issue` the witness has to accept a certificate of the new authority; before `finish` it has to show one. */
async function checkWitness(
  step: RotationStep,
  tls: TlsFiles,
  node: string,
  { witnessProblem }: RotationPorts,
): Promise<void> {
  if (step === 'trust') return;
  const own = readIdentity(tls);
  const next = step === 'issue' ? await readNext(tls) : undefined;
  const problem = await witnessProblem(await probeIdentity(step, own, node, tls, next));
  if (problem === undefined) return;
  throw new WorldError('arbiter-unreachable', {
    wanted:
      step === 'issue' ? 'the witness to trust the new authority' : 'the witness to show its new certificate',
    found: problem,
    next: 'copy the files that the step before named to the witness, `vmpair witness reload` there, and repeat; --skip-witness goes on without it',
  });
}

async function probeIdentity(
  step: RotationStep,
  own: TlsIdentity,
  node: string,
  tls: TlsFiles,
  next: CertificateAndKey | undefined,
): Promise<TlsIdentity> {
  if (step === 'issue') {
    if (next === undefined) return own;
    const certificate = await certifyKey(next, 'node', node, publicKeyOf(own.keyPem));
    const trusted = own.authorities.map(String).join('\n');
    return makeIdentity(trusted, certificate, own.keyPem, own.revokedKeys);
  }
  const { issuer } = await readAuthority(tls);
  return makeIdentity(issuer.certificatePem, own.certificatePem, own.keyPem, own.revokedKeys);
}
