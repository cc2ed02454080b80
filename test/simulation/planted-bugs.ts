/**
 * Bugs that the simulation must find: each takes one rule away, as it is easily forgotten or was seen to be forgotten in
 * programs of this kind. A bug that is not found within its number of seeds means that a checker or the world is too weak.
 */
import { blindBugs } from './blind-bugs.ts';
import type { SourceEdit } from './planted-tree.ts';

export interface PlantedBug {
  /** What goes wrong, in words. */
  readonly because: string;
  /** Seeds, from 1 on, within which it must be found. */
  readonly seedsMax: number;
  readonly edits: readonly SourceEdit[];
}

const primary = 'src/engine/primary-engine.ts';
const mirror = 'src/cluster/mirror.ts';
const claims = 'src/cluster/claims.ts';
const pairing = 'src/cluster/pairing.ts';
const departure = 'src/cluster/departure.ts';

export const plantedBugs: Readonly<Record<string, PlantedBug>> = {
  'ack-before-peer': {
    because: 'a write is acknowledged when the own disk has it',
    seedsMax: 100,
    edits: [
      {
        file: primary,
        find: '    this.#localAnswered(mutation);\n  }',
        replace: '    this.#finish(mutation);\n  }',
      },
    ],
  },
  'ack-before-own-disk': {
    because: 'a write is acknowledged when the peer has it',
    seedsMax: 100,
    edits: [
      {
        file: primary,
        find: '    request.peerPending = false;\n    if (!request.localPending) this.#finish(request);\n  }',
        replace: '    request.peerPending = false;\n    this.#finish(request);\n  }',
      },
    ],
  },
  'no-activity-log': {
    because: 'cold extents are written without a durable entry in the activity log',
    seedsMax: 100,
    edits: [
      {
        file: 'src/engine/activity-log.ts',
        find: '    this.#port.write([...this.#hot.keys()], (ok) => this.#finishTransaction(ok));',
        replace: '    this.#finishTransaction(true);',
      },
    ],
  },
  'extent-evicted-before-flush': {
    because: 'an extent leaves the activity log while what was written in it is not flushed',
    seedsMax: 300,
    edits: [
      {
        file: 'src/engine/activity-log.ts',
        find: 'extent.inFlight > 0 || extent.lastWriteTick > this.#settledTick) continue;',
        replace: 'extent.inFlight > 0) continue;',
      },
    ],
  },
  'log-not-folded': {
    because: 'after a crash the activity log does not become part of the dirty bitmap',
    seedsMax: 100,
    edits: [
      {
        file: 'src/engine/replica.ts',
        find: '    for (const extent of volume.hotExtents) this.#markExtent(extent);\n',
        replace: '',
      },
    ],
  },
  'equal-ids-clear-bits': {
    because: 'equal generations are taken for equal copies',
    seedsMax: 100,
    edits: [
      {
        file: pairing,
        find: '    this.#proposed = undefined;\n    const { verdict } = proposal;\n',
        replace:
          '    this.#proposed = undefined;\n    const { verdict } = proposal;\n' +
          '    if (theirs.facts.path.at(-1) === this.#mirror.state.path.at(-1))\n' +
          '      for (const { bitmap } of this.#parts.replicas) bitmap.clearAll();\n',
      },
    ],
  },
  'no-unstable-set': {
    because: 'a peer that lost power is taken to have kept what it had not flushed',
    seedsMax: 100,
    edits: [
      {
        file: 'src/engine/replica.ts',
        find: '      this.bitmap.or(blocks);\n      blocks.clearAll();\n',
        replace: '      blocks.clearAll();\n',
      },
    ],
  },
  'flush-clears-later-writes': {
    because: 'a flush settles writes that began after it',
    seedsMax: 300,
    edits: [
      {
        file: primary,
        find: '      replica.unstableFlushing.clearAll();\n',
        replace: '      replica.unstableFlushing.clearAll();\n      replica.unstable.clearAll();\n',
      },
    ],
  },
  'ack-before-claim': {
    because: 'a primary goes on alone without waiting for the answer of the arbiter',
    seedsMax: 100,
    edits: [
      {
        file: primary,
        find: '    this.#channel = undefined;\n    if (this.#soloAllowed) {\n',
        replace:
          '    this.#channel = undefined;\n    this.#soloAllowed = true;\n    if (this.#soloAllowed) {\n',
      },
    ],
  },
  'alone-before-fdatasync': {
    because: 'a node goes on alone with what only its page cache holds',
    seedsMax: 300,
    edits: [
      {
        file: primary,
        find:
          '      (replica, flushed) => replica.device.flush(completion(flushed)),\n' +
          '      (ok) => {\n        // Otherwise it was abandoned',
        replace:
          '      (_replica, flushed) => flushed(true),\n      (ok) => {\n        // Otherwise it was abandoned',
      },
      {
        file: claims,
        find: '(replica, flushed) => replica.device.flush(completion(flushed)), then),',
        replace: '(_replica, flushed) => flushed(true), then),',
      },
    ],
  },
  'bits-decide-direction': {
    because: 'of equal copies the one with dirty bits becomes the source',
    seedsMax: 100,
    edits: [
      { file: mirror, find: '      guestRuns,\n', replace: '      guestRuns: false,\n' },
      {
        file: mirror,
        find: '      rebooted: this.rebooted,\n      lastRole',
        replace: '      rebooted: this.replicas.every(({ bitmap }) => bitmap.count === 0),\n      lastRole',
      },
    ],
  },
  'base-moves-early': {
    because: 'the base moves before the peer has persisted the new generation',
    seedsMax: 300,
    edits: [
      {
        file: pairing,
        find: "    channel.control({ type: 'in-sync', path: [...path], generation, holder: 'both', ...store });",
        replace:
          '    this.#mirror.persist({ base: path.at(-1) }, () => {});\n' +
          "    channel.control({ type: 'in-sync', path: [...path], generation, holder: 'both', ...store });",
      },
    ],
  },
  'bits-cleared-before-flush': {
    because: 'bits are cleared on disk while a copy is only in a page cache',
    seedsMax: 300,
    edits: [
      {
        file: pairing,
        find: '    primary.flushAll(() => {\n      if (this.#channel !== channel) return;\n      // Both copies',
        replace:
          '    ((next: () => void) => next())(() => {\n      if (this.#channel !== channel) return;\n      // Both copies',
      },
    ],
  },
  'equal-block-counts-as-flushed': {
    because: 'a block that was copied or compared does not count as unstable until the next flush',
    seedsMax: 300,
    edits: [
      {
        file: 'src/engine/resync-source.ts',
        find: '    replica.markUnstable(offsetBytes, lengthBytes);\n',
        replace: '',
      },
    ],
  },
  'reboot-and-claim-at-once': {
    because: 'a node that lost its page cache claims before it has tried its peer',
    seedsMax: 100,
    edits: [
      {
        file: 'src/cluster/decide-alone.ts',
        find: '(situation.rebooted ? (situation.preferred ? 2 : 3) : 1)',
        replace: '(situation.rebooted ? 0 : 1)',
      },
    ],
  },
  'no-intent-resend': {
    because: 'an intent that was persisted is not sent again after a restart',
    seedsMax: 100,
    edits: [
      {
        file: mirror,
        find: '        if (state.pending !== undefined) this.claims.continue(state.pending);\n',
        replace: '',
      },
    ],
  },
  'withdraw-what-was-sent': {
    because: 'a claim that may have reached the arbiter is withdrawn when the peer is back',
    seedsMax: 600,
    edits: [
      {
        file: 'src/cluster/arbiter-operation.ts',
        find: '    if (this.#open === undefined || this.#maybeSent || this.#withdrawing !== undefined) return;',
        replace: '    if (this.#open === undefined || this.#withdrawing !== undefined) return;',
      },
      {
        file: 'src/cluster/arbiter-operation.ts',
        find: '    if (this.#withdrawing !== undefined && !this.#maybeSent) return this.#withdraw();\n    if (this.#unanswered',
        replace:
          '    if (this.#withdrawing !== undefined) return this.#withdraw();\n    if (this.#unanswered',
      },
      {
        file: 'src/cluster/arbiter-operation.ts',
        find: '    if (this.#withdrawing !== undefined && !this.#maybeSent) return this.#withdraw();\n    this.#retry',
        replace: '    if (this.#withdrawing !== undefined) return this.#withdraw();\n    this.#retry',
      },
    ],
  },
  'handshake-with-open-claim': {
    because: 'a handshake completes while a claim is open',
    seedsMax: 300,
    edits: [
      {
        file: 'src/cluster/decide-resync.ts',
        find: '    matches: (mine, theirs) => either((side) => side.claimOpen, mine, theirs),',
        replace: '    matches: () => false,',
      },
      {
        file: pairing,
        find: 'this.#accepting || this.#host.operationOpen()) return;',
        replace: 'this.#accepting) return;',
      },
    ],
  },
  'secondary-not-idle': {
    because: 'what an earlier connection brought is still being applied when the next one begins',
    seedsMax: 300,
    edits: [
      {
        file: 'src/engine/secondary-engine.ts',
        find: '    this.#idleWaiters.push(done);\n    this.#reportIdle();',
        replace: '    done();',
      },
    ],
  },
  'leave-without-grant': {
    because: 'a node marks itself outdated without the word of its peer',
    seedsMax: 300,
    edits: [
      {
        file: departure,
        find: "    channel.control({ type: 'leave-request' });",
        replace: '    this.#leaveGranted();',
      },
    ],
  },
  'grant-without-flush': {
    because: 'a leave is granted by a node that has not flushed',
    seedsMax: 300,
    edits: [
      {
        file: departure,
        find: '        (replica, done) => replica.device.flush(completion(done)),\n',
        replace: '        (_replica, done) => done(true),\n',
      },
    ],
  },
  'overlaps-not-ordered': {
    because: 'overlapping writes reach the two copies in different orders',
    seedsMax: 100,
    edits: [
      {
        file: 'src/engine/range-locks.ts',
        find: 'if (other.startBytes < endBytes && startBytes < other.endBytes) blockers += 1;',
        replace: 'if (other.startBytes < endBytes && startBytes < other.endBytes) blockers += 0;',
      },
    ],
  },
  'target-not-marked': {
    because: 'the target of a resync keeps its flag until the end',
    seedsMax: 300,
    edits: [
      {
        file: pairing,
        find: "    const given: PersistPatch = { role: 'secondary', data: 'inconsistent' };",
        replace: "    const given: PersistPatch = { role: 'secondary' };",
      },
    ],
  },
  'source-does-not-flush-first': {
    because: 'the target gives up its copy while that of the source is only in its page cache',
    seedsMax: 600,
    edits: [
      {
        file: pairing,
        find: 'const flush = (): void => this.#flushOwn(send);',
        replace: 'const flush = send;',
      },
    ],
  },
  'resume-after-reboot': {
    because: 'the link resumes although the peer lost its page cache meanwhile',
    seedsMax: 300,
    edits: [
      {
        file: 'src/cluster/decide-resync.ts',
        find: '  primary.resumeWithBoot !== undefined && primary.resumeWithBoot === secondary.bootId && !secondary.rebooted;',
        replace: '  primary.resumeWithBoot !== undefined && secondary.bootId !== undefined;',
      },
    ],
  },
  'in-sync-before-record': {
    because: 'the target is told that it is up to date before the record says so',
    seedsMax: 300,
    edits: [
      {
        file: pairing,
        find: '          this.#pointOfNoReturn = true;\n          this.#askForBoth();',
        replace:
          '          this.#pointOfNoReturn = true;\n          this.#tellInSync(channel);\n          this.#askForBoth();',
      },
    ],
  },
  'failed-flush-is-retried': {
    because: 'an fdatasync that failed is done again, and its success believed',
    seedsMax: 300,
    edits: [
      {
        file: primary,
        find:
          '    cycle.localPending = false;\n    if (error !== undefined) {\n' + '      cycle.failed = true;',
        replace:
          '    if (error !== undefined) return cycle.replica.device.flush(cycle);\n' +
          '    cycle.localPending = false;\n    if (error !== undefined) {\n      cycle.failed = true;',
      },
    ],
  },
  'write-error-is-acknowledged': {
    because: 'a write that the own disk failed is acknowledged because the peer has it',
    seedsMax: 300,
    edits: [
      {
        file: primary,
        find: '        mutation.failed = true;\n        this.#awaitingPeer.delete(mutation);\n',
        replace: '        mutation.error = undefined;\n',
      },
    ],
  },
  'supervisor-ignores-the-link': {
    because:
      'the supervisor pauses the VM of a hung module by its watchdog only, however long the link has been silent',
    seedsMax: 600,
    edits: [
      {
        file: 'src/supervisor/module-watch.ts',
        find: '    this.#lastAnswerMs = this.#clock.nowMs();\n    this.#limitGuest(pauseByMs);\n',
        replace: '    this.#lastAnswerMs = this.#clock.nowMs();\n',
      },
    ],
  },
  ...blindBugs,
};
