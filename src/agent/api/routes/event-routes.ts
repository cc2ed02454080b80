/** The timeline of this node, as a list and as a stream, and the audit log. */
import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import { WorldError } from '../../../base/errors.ts';
import { type Principal, seesVm } from '../../access/permissions.ts';
import { auditPerAnswerMax, auditSchema } from '../../journal/audit-log.ts';
import {
  type EventJournal,
  eventSchema,
  eventsPerAnswerMax,
  type JournalEvent,
} from '../../journal/event-journal.ts';
import type { ApiContext } from '../context.ts';
import { route, type Route, Stream } from '../route.ts';

/** Streams of one agent. */
export const streamsMax = 32;
/** A stream whose reader does not read is ended. */
const unreadBytesMax = 1024 * 1024;
/** So that both ends notice a dead connection, ms. */
const signOfLifeMs = 15_000;

const since = z.iso.datetime().optional().describe('not earlier than this time of day');
const vm = z.string().max(31).optional();
const after = z.coerce.number().int().min(0).optional().describe('later than the event with this id');

const node = z.string().max(31).optional().describe('the node that is asked; default: this one');
const eventsAnswer = z.object({ events: z.array(eventSchema) });
const auditAnswer = z.object({ records: z.array(auditSchema) });

type Context = Pick<ApiContext, 'journal' | 'audit' | 'calls'>;

export function eventRoutes({ journal, audit, calls }: Context): Route[] {
  let streams = 0;
  return [
    route({
      id: 'events',
      method: 'GET',
      path: '/api/v1/events',
      summary: 'What happened on a node, oldest first.',
      query: z.strictObject({
        node,
        since,
        vm,
        after,
        limit: z.coerce.number().int().min(1).max(eventsPerAnswerMax).default(200),
      }),
      response: eventsAnswer,
      handle: async ({ query: { node: asked, ...query }, principal }) => {
        const path = `/api/v1/events?${queryText(query)}`;
        const there = await calls.askOther(asked, path, principal);
        const events = there === undefined ? journal.query(query) : parseAnswer(eventsAnswer, there).events;
        return { events: events.filter((event) => seesEvent(principal, event)) };
      },
    }),
    route({
      id: 'event-stream',
      method: 'GET',
      path: '/api/v1/events/stream',
      summary: 'Server-sent events: those after `after`, then each as it happens.',
      query: z.strictObject({ after, vm }),
      response: z.string(),
      handle: ({ query, principal }) => {
        if (streams >= streamsMax) {
          throw new WorldError('limit-reached', {
            wanted: `at most ${streamsMax} event streams`,
            found: 'one more',
            next: 'End one of them, or ask /api/v1/events now and then.',
          });
        }
        const wanted = (event: JournalEvent): boolean =>
          seesEvent(principal, event) && (query.vm === undefined || event.module === query.vm);
        return new Stream((response) => {
          streams += 1;
          response.on('close', () => {
            streams -= 1;
          });
          streamEvents(response, journal, query.after, wanted);
        });
      },
    }),
    route({
      id: 'audit',
      method: 'GET',
      path: '/api/v1/audit',
      summary: 'Who did what on a node, newest first.',
      query: z.strictObject({
        node,
        since,
        limit: z.coerce.number().int().min(1).max(auditPerAnswerMax).default(200),
      }),
      response: auditAnswer,
      handle: async ({ query: { node: asked, ...query }, principal }) => {
        const there = await calls.askOther(asked, `/api/v1/audit?${queryText(query)}`, principal);
        return there === undefined ? { records: await audit.query(query) } : parseAnswer(auditAnswer, there);
      },
    }),
  ];
}

/** Events of no VM concern the node: who is bound to some VMs does not see them. */
function seesEvent(principal: Principal, { module }: JournalEvent): boolean {
  return module === undefined ? principal.vms === undefined : seesVm(principal, module);
}

/** The members that are there, for a URL. */
function queryText(query: Readonly<Record<string, string | number | undefined>>): string {
  const pairs = Object.entries(query).flatMap(([key, value]): [string, string][] =>
    value === undefined ? [] : [[key, String(value)]],
  );
  return new URLSearchParams(pairs).toString();
}

/** What the other agent answered. Throws `agent-unreachable` for something else. */
function parseAnswer<Schema extends z.ZodType>(schema: Schema, answer: unknown): z.output<Schema> {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new WorldError('agent-unreachable', {
    wanted: 'an answer of the other agent as this version knows it',
    found: 'one of another form',
    next: 'Ask that agent itself; both nodes should run the same version.',
  });
}

function streamEvents(
  response: ServerResponse,
  journal: EventJournal,
  after: number | undefined,
  wanted: (event: JournalEvent) => boolean,
): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  const write = (text: string): void => {
    if (response.writableLength > unreadBytesMax) response.destroy();
    else response.write(text);
  };
  const tell = (event: JournalEvent): void => {
    if (wanted(event)) write(`id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`);
  };
  // A reader that begins sees at once that it is connected.
  write(': connected\n\n');
  if (after !== undefined) for (const event of journal.query({ after })) tell(event);
  const ended = journal.listen(tell);
  const alive = setInterval(() => write(': alive\n\n'), signOfLifeMs);
  response.on('close', () => {
    clearInterval(alive);
    ended();
  });
}
