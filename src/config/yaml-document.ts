/**
 * Checks YAML text against a schema. Every problem names file, line, column, path in the document, what was wanted and what was
 * found; unknown keys are problems, with the key that was probably meant. Texts of several files may be checked
 * together: their problems are collected and told as one error. Touches no files.
 * Anchors are allowed, but aliases cannot blow a document up (`maxAliasCount`).
 */
import { type Document, isNode, isMap, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { WorldError } from '../base/errors.ts';
import { knownKeys } from './known-keys.ts';
import { nearestKey } from './nearest-key.ts';

export const configBytesMax = 1024 * 1024;
const maxAliasCount = 100;
/** Problems that a message lists. */
const problemsShownMax = 10;
/** Characters of a found value that a message shows. */
const foundCharactersMax = 60;

/** Where something stands in a file; both count from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface ConfigProblem extends Place {
  readonly file: string;
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

/** Place of the value at the path, or of the nearest thing above it that the file has; of the key `key` in it, when it is named. */
function placeOf(document: Document, lines: LineCounter, path: readonly PropertyKey[], key?: string): Place {
  for (let length = path.length; length >= 0; length -= 1) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (!isNode(node)) continue;
    let offset = node.range?.[0] ?? 0;
    if (key !== undefined && length === path.length && isMap(node)) {
      const pair = node.items.find((item) => isNode(item.key) && String(item.key) === key);
      if (isNode(pair?.key)) offset = pair.key.range?.[0] ?? offset;
    }
    return place(lines, offset);
  }
  return firstPlace;
}

const firstPlace: Place = { line: 1, column: 1 };

function place(lines: LineCounter, offset: number): Place {
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
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
  placeAt: (path: readonly PropertyKey[], key?: string) => Place & { readonly file: string },
): ConfigProblem[] {
  const path = pathText(issue.path);
  if (issue.code !== 'unrecognized_keys')
    return [
      { ...placeAt(issue.path), path, wanted: wantedBy(issue), found: show(valueAt(value, issue.path)) },
    ];
  const known = knownKeys(schema, issue.path, value);
  return issue.keys.map((key) => {
    const near = nearestKey(key, known);
    const hint = near === undefined ? '' : ` (did you mean "${near}"?)`;
    const wanted = known.length === 0 ? 'no keys' : `only the keys ${known.join(', ')}`;
    return { ...placeAt(issue.path, key), path, wanted, found: `the key "${key}"${hint}` };
  });
}

/** The one error of all problems, those of each file in the order of their lines; files in the order in which they first appear. */
export function configError(problems: readonly ConfigProblem[]): WorldError {
  const files = [...new Set(problems.map(({ file }) => file))];
  const [first, ...others] = problems.toSorted(
    (left, right) => files.indexOf(left.file) - files.indexOf(right.file) || left.line - right.line,
  );
  const where = ({ file, line, column, path }: ConfigProblem) =>
    `${file}:${line}:${column}${path === '' ? '' : `: ${path}`}`;
  const more = others
    .slice(0, problemsShownMax - 1)
    .map((problem) => `; also ${where(problem)}: wanted ${problem.wanted}, found ${problem.found}`)
    .join('');
  const hidden =
    others.length >= problemsShownMax ? `; and ${others.length - problemsShownMax + 1} more` : '';
  return new WorldError('config-invalid', {
    wanted: first === undefined ? 'a valid file' : `${where(first)}: ${first.wanted}`,
    found: `${first?.found ?? 'another one'}${more}${hidden}`,
    next: `Correct the file${files.length > 1 ? 's' : ''}; nothing was changed.`,
  });
}

/** A text that was checked. */
export interface CheckedYaml<Value> {
  /** `undefined`: it has problems. */
  readonly value: Value | undefined;
  readonly problems: readonly ConfigProblem[];
  /** A problem that only shows beside other files, at a path of this one. */
  problemAt(path: readonly PropertyKey[], wanted: string, found: string): ConfigProblem;
}

/** Checks YAML text; does not throw for what is wrong in it. `file` is used in messages only. */
export function checkYaml<Schema extends z.ZodType>(
  file: string,
  text: string,
  schema: Schema,
): CheckedYaml<z.infer<Schema>> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, stringKeys: true });
  const placeAt = (path: readonly PropertyKey[], key?: string) => ({
    file,
    ...placeOf(document, lines, path, key),
  });
  const problemAt = (path: readonly PropertyKey[], wanted: string, found: string): ConfigProblem => ({
    ...placeAt(path),
    path: pathText(path),
    wanted,
    found,
  });
  const refused = (problems: readonly ConfigProblem[]) => ({ value: undefined, problems, problemAt });
  const wanted = 'valid YAML';
  if (text.length > configBytesMax)
    return refused([
      { file, ...firstPlace, path: '', wanted: `at most ${configBytesMax} bytes`, found: `${text.length}` },
    ]);
  const syntax = document.errors.map((error): ConfigProblem => {
    const [found = error.message] = error.message.split(' at line ');
    return { file, ...place(lines, error.pos[0]), path: '', wanted, found };
  });
  if (syntax.length > 0) return refused(syntax);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount });
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    return refused([{ file, ...firstPlace, path: '', wanted, found }]);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return { value: parsed.data, problems: [], problemAt };
  return refused(parsed.error.issues.flatMap((issue) => problemsOf(issue, schema, value, placeAt)));
}

/** Checks YAML text. `file` is used in messages only. Throws `config-invalid`. */
export function parseYaml<Schema extends z.ZodType>(
  file: string,
  text: string,
  schema: Schema,
): z.infer<Schema> {
  const { value, problems } = checkYaml(file, text, schema);
  if (problems.length > 0) throw configError(problems);
  return value as z.infer<Schema>;
}
