/** How long a maintenance lasts: what the command line understands, and what the module takes. */
import { expect } from 'chai';
import { maintenanceLength } from '../../modules/mirror/verbs.ts';
import { WorldError } from '../../src/base/errors.ts';
import { maintenanceArguments, parseDuration } from '../../src/cli/maintenance-command.ts';

const hourMs = 3_600_000;

function refusal(attempt: () => unknown): string {
  try {
    attempt();
    return 'accepted';
  } catch (error) {
    return error instanceof WorldError ? `${error.code}: ${error.found}` : String(error);
  }
}

describe('how long a maintenance lasts', () => {
  it('days, hours, minutes and seconds, alone or together', () => {
    expect(['2h', '1h30m', '45m', '90s', '1d'].map(parseDuration)).to.deep.equal([
      2 * hourMs,
      1.5 * hourMs,
      0.75 * hourMs,
      90_000,
      24 * hourMs,
    ]);
    expect(['', '2', 'h', '0h', '2 h', '-2h', '2w'].map(parseDuration)).to.deep.equal(
      Array.from({ length: 7 }, () => undefined),
    );
  });

  it('the command wants exactly one of its options, with a length that is one', () => {
    expect(maintenanceArguments({ for: '2h' })).to.deep.equal({ forMs: 2 * hourMs });
    expect(maintenanceArguments({ off: true })).to.deep.equal({ off: true });
    for (const wrong of [{}, { for: '2h', off: true }, { for: 'soon' }])
      expect(refusal(() => maintenanceArguments(wrong))).to.include('usage-wrong');
  });

  it('the module takes a length, an end or off, and no end that has passed or is too far away', () => {
    const nowMs = 1_000_000;
    expect(maintenanceLength({ forMs: 5 }, nowMs)).to.equal(5);
    expect(maintenanceLength({ untilMs: nowMs + hourMs }, nowMs)).to.equal(hourMs);
    expect(maintenanceLength({ off: true }, nowMs)).to.equal(0);
    expect(refusal(() => maintenanceLength({}, nowMs))).to.include('0 of them');
    expect(refusal(() => maintenanceLength({ untilMs: nowMs }, nowMs))).to.include('an end that has passed');
    expect(refusal(() => maintenanceLength({ forMs: 200 * hourMs }, nowMs))).to.include('8.3 days');
  });
});
