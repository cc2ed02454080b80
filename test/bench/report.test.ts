/** The page of results says what was measured, against which goal, on what. */
import { expect } from 'chai';
import { goalsTable, renderPage, renderTable, type Section } from '../../bench/report.ts';

const section: Section = {
  title: 'Opening',
  how: 'A volume is opened.',
  table: { columns: ['case', 'ms'], rows: [['cold', '120']] },
  figures: [
    {
      id: 'open-cold',
      what: 'cold start',
      value: 120,
      unit: 'ms',
      goal: { bound: 'at most', value: 1000 },
    },
    { id: 'open-log', what: 'extents', value: 256, unit: '' },
  ],
};

describe('report of the bench', () => {
  it('a table has columns of one width', () => {
    expect(renderTable(section.table).split('\n')).to.deep.equal([
      '| case | ms  |',
      '| ---- | --- |',
      '| cold | 120 |',
    ]);
  });

  it('only figures with a goal are judged', () => {
    expect(goalsTable([section]).rows).to.deep.equal([['cold start', 'at most 1000 ms', '120 ms', 'met']]);
  });

  it('the page names version, machine and rounds, and holds every table', () => {
    const machine = {
      cpus: 2,
      model: 'some processor',
      memoryGiB: 8,
      kernel: '6.1',
      node: 'v20.19.0',
      tools: ['fio 3.33'],
      version: '1.2.3',
      commit: 'abc1234',
      date: '2026-01-02',
      loadBefore: 0.25,
    };
    const page = renderPage(machine, { rounds: 3, seconds: 4 }, [section]);
    expect(page).to.contain('Version 1.2.3, commit abc1234, 2026-01-02');
    expect(page).to.contain('2 x some processor, 8 GiB, Linux 6.1, Node v20.19.0, fio 3.33');
    expect(page).to.contain('Load of the machine before the run (mean of one minute): 0.3');
    expect(page).to.contain('Medians of 3 interleaved rounds, 4 s of load each');
    expect(page).to.contain('## Opening\n\nA volume is opened.\n\n| case | ms  |');
  });
});
