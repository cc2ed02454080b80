/** What the joining server asks and what the other node answers; both are parsed as bytes of strangers. */
import { z } from 'zod';
import { hexIdPattern, nodeNamePattern } from '../../base/identity.ts';

/** Where a joining server asks, beside the other paths of the agent. */
export const joinPath = '/api/v1/cluster/join';
const pemCharactersMax = 8192;
const documentsMax = 128;
const documentCharactersMax = 1024 * 1024;

const port = z.int().min(1).max(65_535);
const pem = z.string().max(pemCharactersMax);
/** Documents of the configuration: nothing else may be named, wherever it is written. */
export const documentPathPattern = /^(?:cluster\.yaml|modules\/[A-Za-z0-9_-]{1,64}\.yaml)$/;

export const joinRequestSchema = z.strictObject({
  version: z.literal(1),
  secret: z.string().max(100),
  node: z.string().regex(nodeNamePattern),
  agent: z.strictObject({ host: z.string().min(1).max(255), port }),
  /** PKCS #10. */
  request: pem,
});

export type JoinRequest = z.infer<typeof joinRequestSchema>;

export const joinAnswerSchema = z.object({
  version: z.literal(1),
  cluster: z.string().regex(hexIdPattern),
  /** Of the node that answered. */
  peer: z.string().regex(nodeNamePattern),
  certificatePem: pem,
  trustedPem: pem,
  authorityKeyPem: pem,
  /** Path below `configDir` -> text. */
  documents: z
    .record(z.string().regex(documentPathPattern), z.string().max(documentCharactersMax))
    .refine((documents) => Object.keys(documents).length <= documentsMax),
});

export type JoinAnswer = z.infer<typeof joinAnswerSchema>;
