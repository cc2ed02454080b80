/**
 * Reads a YAML file against a schema. Every problem names file, line, path in the document, what was wanted and what was
 * found; unknown keys are problems, with the key that was probably meant. Reads only: a bad file changes nothing.
 * Anchors are allowed, but aliases cannot blow a document up (`maxAliasCount`), and files have a size limit.
 */
import { readFileSync, statSync } from 'node:fs';
import { type Document, isNode, isMap, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { WorldError } from '../base/errors.ts';
import { knownKeys } from './known-keys.ts';
import { nearestKey } from './nearest-key.ts';

export const configBytesMax = 1024 * 1024;
const maxAliasCount = 100;
/** Problems of one file that a message lists. */
const problemsShownMax = 10;
/** Characters of a found value that a message shows. */
const foundCharactersMax = 60;

export interface ConfigProblem {
  readonly line: number;
  /** `volumes[0].size`; empty for the document itself. */
  readonly path: string;
  readonly wanted: string;
  readonly found: string;
}

const typeNames: Readonly<Record<string, string>> = {
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
};

function pathText(path: readonly PropertyKey[]): string {
  let text = '';
  for (const step of path)
    text += typeof step === 'number' ? `[${step}]` : `${text === '' ? '' : '.'}${String(step)}`;
  return text;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== 'object' || current === null) return undefined;
    current = Reflect.get(current, step);
  }
  return current;
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value);
  return text.length > foundCharactersMax ? `${text.slice(0, foundCharactersMax)}...` : text;
}

/** Line of the value at the path, or of the nearest thing above it that the file has. */
function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[], key?: string): number {
  for (let length = path.length; length >= 0; length -= 1) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (!isNode(node)) continue;
    let offset = node.range?.[0] ?? 0;
    if (key !== undefined && length === path.length && isMap(node)) {
      const pair = node.items.find((item) => isNode(item.key) && String(item.key) === key);
      if (isNode(pair?.key)) offset = pair.key.range?.[0] ?? offset;
    }
    return lines.linePos(offset).line;
  }
  return 1;
}

function wantedBy(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_key')
    return `a key that is ${issue.issues.map(({ message }) => message).join(', ')}`;
  if (!/^(Invalid|Too|Unrecognized)/.test(issue.message)) return issue.message;
  if (issue.code === 'invalid_type') return typeNames[issue.expected] ?? issue.expected;
  if (issue.code === 'invalid_value') return `one of ${issue.values.map(String).join(', ')}`;
  if (issue.code === 'invalid_union' && 'options' in issue && Array.isArray(issue.options)) {
    return `one of ${issue.options.map(String).join(', ')}`;
  }
  return issue.message.replace(/^[^:]*: /, '');
}

/** Problems of one issue: one per unknown key, else one. */
function problemsOf(
  issue: z.core.$ZodIssue,
  schema: z.ZodType,
  value: unknown,
  document: Document,
  lines: LineCounter,
): ConfigProblem[] {
  const path = pathText(issue.path);
  if (issue.code !== 'unrecognized_keys') {
    const line = lineOf(document, lines, issue.path);
    return [{ line, path, wanted: wantedBy(issue), found: show(valueAt(value, issue.path)) }];
  }
  const known = knownKeys(schema, issue.path, value);
  return issue.keys.map((key) => {
    const near = nearestKey(key, known);
    const hint = near === undefined ? '' : ` (did you mean "${near}"?)`;
    const line = lineOf(document, lines, issue.path, key);
    return { line, path, wanted: `only the keys ${known.join(', ')}`, found: `the key "${key}"${hint}` };
  });
}

function configError(file: string, problems: readonly ConfigProblem[]): WorldError {
  const [first, ...others] = problems.toSorted((left, right) => left.line - right.line);
  const place = (problem: ConfigProblem) =>
    `${file}:${problem.line}${problem.path === '' ? '' : `: ${problem.path}`}`;
  const more = others
    .slice(0, problemsShownMax - 1)
    .map((problem) => `; also ${place(problem)}: wanted ${problem.wanted}, found ${problem.found}`)
    .join('');
  const hidden =
    others.length >= problemsShownMax ? `; and ${others.length - problemsShownMax + 1} more` : '';
  return new WorldError('config-invalid', {
    wanted: first === undefined ? 'a valid file' : `${place(first)}: ${first.wanted}`,
    found: `${first?.found ?? 'another one'}${more}${hidden}`,
    next: 'Correct the file; nothing was changed.',
  });
}

/** Checks YAML text. `file` is used in messages only. Throws `config-invalid`. */
export function parseYaml<Schema extends z.ZodType>(
  file: string,
  text: string,
  schema: Schema,
): z.infer<Schema> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, stringKeys: true });
  const syntax = document.errors.map((error): ConfigProblem => {
    const [message = error.message] = error.message.split(' at line ');
    return { line: lines.linePos(error.pos[0]).line, path: '', wanted: 'valid YAML', found: message };
  });
  if (syntax.length > 0) throw configError(file, syntax);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount });
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    throw configError(file, [{ line: 1, path: '', wanted: 'valid YAML', found }]);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw configError(
    file,
    parsed.error.issues.flatMap((issue) => problemsOf(issue, schema, value, document, lines)),
  );
}

/** Reads and checks a YAML file. Throws `file-missing` or `config-invalid`. */
export function readYamlFile<Schema extends z.ZodType>(file: string, schema: Schema): z.infer<Schema> {
  let text: string;
  try {
    const { size } = statSync(file);
    if (size > configBytesMax) {
      const found = `${size} bytes`;
      throw configError(file, [{ line: 1, path: '', wanted: `at most ${configBytesMax} bytes`, found }]);
    }
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof WorldError) throw error;
    throw new WorldError(
      'file-missing',
      {
        wanted: `to read the configuration file ${file}`,
        found: error instanceof Error ? error.message : String(error),
        next: 'Check the path and the rights of the file.',
      },
      error,
    );
  }
  return parseYaml(file, text, schema);
}
