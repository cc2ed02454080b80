/**
 * Five more, chosen and written by somebody who had not seen the checkers, the faults or the scenarios, before any of them was run.
 */
import type { PlantedBug } from './planted-bugs.ts';

export const blindBugs: Readonly<Record<string, PlantedBug>> = {
  'settling-tick-off-by-one': {
    because: 'a flush settles what completed while it ran',
    seedsMax: 100,
    edits: [
      {
        file: 'src/engine/activity-log.ts',
        find: '    const tick = this.#tick;\n    this.#tick += 1;\n    return tick;\n',
        replace: '    this.#tick += 1;\n    return this.#tick;\n',
      },
    ],
  },
  'target-keeps-log-unfolded': {
    because: 'a primary that stood down and becomes the target does not fold its activity log',
    seedsMax: 900,
    edits: [
      {
        file: 'src/cluster/pairing.ts',
        find: '          (replica, done) => replica.fold(done),\n',
        replace: '          (replica, done) => replica.writeBitmap(done),\n',
      },
    ],
  },
  'comparing-target-counts-as-given-up': {
    because: 'the source of a comparison goes on alone without the arbiter',
    seedsMax: 100,
    edits: [
      {
        file: 'src/cluster/pairing.ts',
        find: "this.phase === 'finishing' && !this.#pointOfNoReturn && !this.#comparing;\n",
        replace: "this.phase === 'finishing' && !this.#pointOfNoReturn;\n",
      },
    ],
  },
  'lost-target-unstable-forgotten': {
    because: 'what a lost target answered and had not flushed does not become dirty',
    seedsMax: 300,
    edits: [
      {
        file: 'src/engine/primary-engine.ts',
        find: '    this.#markUnstableDirty();\n    for (const request of awaiting) if',
        replace: '    for (const request of awaiting) if',
      },
    ],
  },
  'secondary-zero-ignores-fua': {
    because: 'the secondary answers a durable zero before it is durable',
    seedsMax: 100,
    edits: [
      {
        file: 'src/engine/secondary-engine.ts',
        find: 'device.zero(offsetBytes, lengthBytes, { fua, mayPunch, fast: false }, this);',
        replace: 'device.zero(offsetBytes, lengthBytes, { fua: false, mayPunch, fast: false }, this);',
      },
    ],
  },
};
