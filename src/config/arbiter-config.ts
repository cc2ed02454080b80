/** The `arbiter` of a `module.yaml`: who keeps the record of the module. `docs/configuration.md` describes every key. */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { endpoint } from './link-config.ts';

/** Members of one etcd cluster that may be named. */
const endpointsMax = 9;
/** Longest name of a key in etcd that vmpair makes, characters. */
const prefixCharactersMax = 200;

const absolutePath = z.string('an absolute path').refine(isAbsolute, 'an absolute path');
const endpointWanted = 'an address like https://192.0.2.21:2379, without a user and without a path';

function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, pathname, search, hash } = new URL(text);
  const bare = username === '' && password === '' && pathname === '/' && search === '' && hash === '';
  return (protocol === 'https:' || protocol === 'http:') && bare;
}

const etcdSchema = z
  .strictObject({
    kind: z.literal('etcd'),
    endpoints: z
      .array(z.string(endpointWanted).refine(isEndpoint, endpointWanted), 'a list of addresses')
      .min(1, `1 to ${endpointsMax} addresses`)
      .max(endpointsMax, `1 to ${endpointsMax} addresses`),
    tls: z
      .strictObject({
        ca: absolutePath.optional(),
        cert: absolutePath.optional(),
        key: absolutePath.optional(),
      })
      .optional(),
    user: z.string('the name of a user of etcd').min(1, 'the name of a user of etcd').optional(),
    passwordFile: absolutePath.optional(),
    prefix: z
      .string('a prefix of keys')
      .regex(/^\/.*[^/]$/, 'a prefix of keys that begins with "/" and does not end with it')
      .max(prefixCharactersMax, `at most ${prefixCharactersMax} characters`)
      .optional(),
  })
  .superRefine(({ endpoints, tls, user, passwordFile }, context) => {
    const complain = (path: string[], message: string): void =>
      context.addIssue({ code: 'custom', path, message });
    const secure = endpoints.filter((each) => each.startsWith('https:')).length;
    if (secure !== 0 && secure !== endpoints.length)
      complain(['endpoints'], 'addresses that all begin with https, or all with http');
    if (secure === 0 && tls !== undefined) complain(['tls'], 'no `tls` for endpoints without https');
    if (secure === 0 && user !== undefined)
      complain(['user'], 'endpoints with https, because the password would travel in the clear');
    if ((tls?.cert === undefined) !== (tls?.key === undefined))
      complain(['tls'], '`cert` and `key`, or neither');
    if ((user === undefined) !== (passwordFile === undefined))
      complain(['passwordFile'], '`user` and `passwordFile`, or neither');
  });

export const arbiterSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('witness'), ...endpoint }),
  etcdSchema,
  z.strictObject({
    kind: z.literal('none'),
    /** Both nodes may go on alone when they lose each other. */
    allowSplitBrain: z.boolean('true or false').default(false),
  }),
]);

export type ArbiterConfig = z.infer<typeof arbiterSchema>;
export type EtcdConfig = Extract<ArbiterConfig, { kind: 'etcd' }>;
