/**
 * Tells whoever subscribed on the control socket what changes, so that nobody has to ask often: `{kind: 'state'}` with what
 * people see of the module, and `{kind: 'decision'}` for each decision. It looks on its own, and only while somebody
 * listens; a subscriber that misses events asks for `status`.
 */
import type { Clock } from '../../src/base/clock.ts';
import type { Axes, ModuleState, Readiness } from '../../src/base/status.ts';
import type { DatedDecision } from '../../src/cluster/decision-log.ts';

/** A change is told within this time, ms. */
export const stateEventsIntervalMs = 50;

export interface ShownState {
  readonly state: ModuleState;
  readonly readiness: Readiness;
  readonly because: string;
  readonly axes: Axes;
}

export interface StateEventPorts {
  readonly clock: Clock;
  readonly hasSubscribers: () => boolean;
  readonly publish: (event: object) => void;
  readonly shown: () => ShownState;
  /** Newest first. */
  readonly decisions: () => readonly DatedDecision[];
}

/** Runs as long as the process. */
export function tellStateEvents({ clock, hasSubscribers, publish, shown, decisions }: StateEventPorts): void {
  let told = '';
  let toldDecision = decisions()[0];
  const look = (): void => {
    const entries = decisions();
    if (hasSubscribers()) {
      const known = toldDecision === undefined ? -1 : entries.indexOf(toldDecision);
      const fresh = entries.slice(0, known < 0 ? entries.length : known);
      for (const decision of fresh.toReversed()) publish({ kind: 'decision', ...decision });
      const now = shown();
      const text = JSON.stringify(now);
      if (text !== told) publish({ kind: 'state', ...now });
      told = text;
    }
    toldDecision = entries[0];
    clock.after(stateEventsIntervalMs, look);
  };
  look();
}
