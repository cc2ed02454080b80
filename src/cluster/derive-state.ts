/**
 * What people see: one of five states, a colour and one sentence, derived from the separate axes and never stored.
 */
import { assertNever } from '../base/assert.ts';
import type { Axes, ModuleState, Readiness } from '../base/status.ts';
import type { Mirror } from './mirror.ts';
import type { PairPhase } from './pairing.ts';

export interface DerivedState {
  readonly state: ModuleState;
  readonly readiness: Readiness;
  readonly because: string;
}

export function axesOf(mirror: Mirror): Axes {
  return {
    role: mirror.serving ? 'primary' : 'secondary',
    data: mirror.state.data,
    link: linkOf(mirror.pairing.phase),
    vm: mirror.config.hasVm ? mirror.vm : 'none',
    run: mirror.run,
  };
}

function linkOf(phase: PairPhase): Axes['link'] {
  switch (phase) {
    case 'down':
    case 'handshake':
    case 'resync-source':
    case 'resync-target':
    case 'in-sync':
      return phase;
    case 'compare-source':
    case 'finishing':
      return 'resync-source';
    case 'compare-target':
      return 'resync-target';
    default:
      return assertNever(phase, 'phase of a pair');
  }
}

/** What people read first; a network that is down is said beside it, as long as another one carries the link. */
export function deriveState(mirror: Mirror): DerivedState {
  const derived = situationOf(mirror);
  const { slowness } = mirror.disk;
  const { warning } = mirror.fencing;
  const { channel, paths } = mirror.session;
  const down = paths.flatMap(({ state, because }, index) =>
    channel !== undefined && state === 'down' ? `; network ${index + 1} is down: ${because}` : [],
  );
  const said = { ...derived, because: `${derived.because}${down.join('')}` };
  // What is ready is orange as long as something that it would need is known not to work.
  const ifReady = derived.readiness === 'ready' ? [slowness, warning] : [];
  const warnings = [...ifReady.filter((each) => each !== undefined), ...mirror.notes.warnings];
  if (warnings.length === 0) return said;
  const readiness = derived.readiness === 'ready' ? 'transient' : derived.readiness;
  return { ...said, readiness, because: [said.because, ...warnings].join('; ') };
}

function situationOf(mirror: Mirror): DerivedState {
  const { pairing, primary } = mirror;
  const trouble = mirror.disk.sentence;
  const { phase } = pairing;
  if (mirror.run === 'stopped') {
    const { stopped } = mirror.notes;
    if (stopped !== undefined && trouble === undefined)
      return { ...stopped, readiness: stopped.state === 'WAIT' ? 'transient' : 'not-ready' };
    return {
      state: 'STOP',
      readiness: 'not-ready',
      because: trouble ?? 'stopped; run `vmpair start VM` to start it',
    };
  }
  const { status: split } = mirror.splitBrain;
  if (split !== undefined && trouble === undefined)
    return { state: mirror.serving ? 'ALONE' : 'WAIT', readiness: 'not-ready', because: split.because };
  if (mirror.serving) {
    const state = primary.soloAllowed || phase === 'down' || phase === 'handshake' ? 'ALONE' : 'PRIM';
    if (trouble !== undefined) return { state, readiness: 'not-ready', because: trouble };
    const { waits, isStuck } = mirror.fencing;
    if (waits !== undefined) {
      const because = `this node has the only up-to-date copy; ${waits}`;
      return { state: 'ALONE', readiness: isStuck ? 'not-ready' : 'transient', because };
    }
    if (mirror.leaving)
      return { state, readiness: 'transient', because: `it stops or swaps: ${mirror.departure.because}` };
    if (primary.gate !== 'open')
      return { state, readiness: 'transient', because: `the guest waits: ${whyApart(mirror)}` };
    if (mirror.config.hasVm && mirror.vm !== 'running') {
      return { state, readiness: 'transient', because: `this node is primary and its VM is ${mirror.vm}` };
    }
    const { obstacle } = mirror.claims;
    if (phase === 'finishing' && obstacle !== undefined)
      return { state, readiness: 'not-ready', because: `both copies are equal; ${obstacle}` };
    if (phase === 'in-sync') return { state, readiness: 'ready', because: 'both copies hold every write' };
    if (state === 'PRIM') {
      return {
        state,
        readiness: 'transient',
        because: 'every write goes to both copies; recent blocks are being compared',
      };
    }
    const peer =
      phase === 'down' || phase === 'handshake'
        ? whyApart(mirror)
        : `the peer is being resynchronised${percent(mirror)}`;
    // Its word counts when it answers: until then nothing is settled.
    if (mirror.claims.isUnconfirmed) {
      const because = `this node goes on alone by the word of the operator, which the arbiter has not confirmed; ${peer}`;
      return { state, readiness: 'transient', because };
    }
    return { state, readiness: 'ready', because: `this node has the only up-to-date copy; ${peer}` };
  }
  if (trouble !== undefined) return { state: 'WAIT', readiness: 'not-ready', because: trouble };
  if (phase === 'in-sync')
    return { state: 'SECOND', readiness: 'ready', because: 'this copy holds every write of the primary' };
  if (phase === 'resync-target' || phase === 'compare-target') {
    return {
      state: 'SECOND',
      readiness: 'transient',
      because: `this copy is being resynchronised${percent(mirror)}`,
    };
  }
  const asking = mirror.operationOpen || phase === 'handshake';
  return { state: 'WAIT', readiness: asking ? 'transient' : 'not-ready', because: whyApart(mirror) };
}

function whyApart(mirror: Mirror): string {
  const away = `the peer is not connected${mirror.linkProblem === '' ? '' : ` (${mirror.linkProblem})`}`;
  if (mirror.operationOpen) {
    const problem = mirror.claims.problem === '' ? 'no answer yet' : mirror.claims.problem;
    const peer = mirror.pairing.phase === 'down' ? `; ${away}` : '';
    return `waiting for the arbiter: ${problem}${peer}`;
  }
  if (mirror.pairing.phase === 'handshake') {
    return mirror.claims.obstacle === undefined
      ? mirror.pairing.waiting
      : `${mirror.pairing.waiting}; ${mirror.claims.obstacle}`;
  }
  const arbiter = mirror.claims.problem === '' ? '' : `; the arbiter: ${mirror.claims.problem}`;
  return `${away}; ${mirror.aloneBecause}${arbiter}`;
}

function percent(mirror: Mirror): string {
  const progress = mirror.pairing.progress;
  if (progress === undefined || progress.totalBytes === 0) return '';
  return ` (${Math.floor((100 * progress.examinedBytes) / progress.totalBytes)} %)`;
}
