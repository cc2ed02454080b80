/** The arbiter of the simulations is one like the real ones. It crashes an asker whose operation can never be right, and has one module. */
import type { Arbiter } from '../../src/arbiter/arbiter.ts';
import { type ArbiterFixture, arbiterConformance } from '../conformance/arbiter.ts';
import { Random } from './random.ts';
import { SimulatedArbiter } from './simulated-arbiter.ts';
import { Life, SimulatedTime } from './simulated-time.ts';

const deadlineMs = 2000;
/** Virtual; longer than every way, ms. */
const settledMs = 60_000;

interface Fixture extends ArbiterFixture {
  readonly arbiter: SimulatedArbiter;
}

/** A way on which every operation meets a fault. */
function faultyWay({ arbiter, reach }: Fixture, fault: 'lostAnswers' | 'lateRequests'): Arbiter {
  const way = reach();
  return {
    read: (answered) => way.read(answered),
    swap: (operation, answered) => {
      arbiter[fault] = 1;
      way.swap(operation, (answer) => {
        arbiter[fault] = 0;
        answered(answer);
      });
    },
  };
}

const options = {
  name: 'the simulation',
  deadlineMs,
  knowsNodes: false,
  answersNonsense: false,
  tellsApart: [],
  knowsUnsent: false,
  faulty: [
    { what: 'its answer is lost', sent: true, open: async (each: Fixture) => faultyWay(each, 'lostAnswers') },
    {
      what: 'the request is slow',
      sent: true,
      open: async (each: Fixture) => faultyWay(each, 'lateRequests'),
    },
  ],
};

arbiterConformance<Fixture>(options, async () => {
  const time = new SimulatedTime();
  const arbiter = new SimulatedArbiter(time, new Random(1), () => {});
  return {
    arbiter,
    reach: ({ node = 'alpha' } = {}) => arbiter.reachedBy(node, new Life()),
    settle: () => {
      const endMs = time.nowMs + settledMs;
      while (time.step(endMs));
    },
    kill: async () => {
      arbiter.running = false;
    },
    restart: async () => {
      arbiter.running = true;
    },
    loseStore: async () => arbiter.loseStore(),
    dispose: async () => {},
  };
});
