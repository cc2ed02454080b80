/**
 * Imports go one way: base <- protocols and disk <- engine, arbiter, cluster <- edges <- programs. Reads the import lines of
 * all product sources: nothing imports from a layer above its own, layers of one rank do not import each other in a circle,
 * and every folder is a layer that is listed here. What a package does inside is not verified.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Lowest first. */
const ranks: readonly (readonly string[])[] = [
  ['src/base'],
  ['src/nbd', 'src/iscsi', 'src/link', 'src/disk'],
  ['src/engine', 'src/arbiter', 'src/cluster', 'src/starts', 'src/checks'],
  ['src/platform', 'src/config', 'hypervisors'],
  ['src/supervisor', 'src/witness', 'src/agent', 'src/lab', 'src/cli', 'src/console', 'modules'],
];
/** Ranks below this one are pure: they import no package of Node and no other package but these. */
const pureRanks = 3;
const purePackages = ['zod'];

const layers = ranks.flat();
const rankOf = (layer: string): number => ranks.findIndex((rank) => rank.includes(layer));

interface Import {
  readonly file: string;
  readonly specifier: string;
}

function sourceFiles(folder: string): string[] {
  const entries = readdirSync(join(root, folder), { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Import, export-from and dynamic import specifiers of a source text; comments with such text would count too. */
function importSpecifiers(text: string): string[] {
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s[^;'"]*?from\s*'([^']+)'|(?:^|\n)\s*import\s*'([^']+)'|\bimport\('([^']+)'\)/g;
  return [...text.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
}

/** Layer of a file: the first listed folder that holds it. */
function layerOf(file: string): string | undefined {
  const path = relative(root, file).split(sep).join('/');
  return layers.find((layer) => path.startsWith(`${layer}/`));
}

const imports: Import[] = ['src', 'hypervisors', 'modules']
  .filter((folder) => readdirSync(root).includes(folder))
  .flatMap(sourceFiles)
  .filter((file) => !file.endsWith('pure-globals.d.ts'))
  .flatMap((file) =>
    importSpecifiers(readFileSync(file, 'utf8')).map((specifier) => ({
      file: relative(root, file),
      specifier,
    })),
  );

describe('layering', () => {
  it('every source file belongs to a listed layer', () => {
    const strangers = imports.filter(({ file }) => layerOf(join(root, file)) === undefined);
    expect(strangers.map(({ file }) => file)).to.deep.equal([]);
  });

  it('no file imports from a layer above its own, and relative imports name sources', () => {
    const wrong: string[] = [];
    for (const { file, specifier } of imports) {
      if (!specifier.startsWith('.')) continue;
      const target = resolve(root, dirname(file), specifier);
      const from = layerOf(join(root, file));
      const to = layerOf(target);
      if (from === undefined) continue;
      const upward = to === undefined || rankOf(to) > rankOf(from);
      if (upward || !specifier.endsWith('.ts')) wrong.push(`${file} imports ${specifier}`);
    }
    expect(wrong).to.deep.equal([]);
  });

  it('layers of one rank do not import each other in a circle', () => {
    const edges = new Map<string, Set<string>>(layers.map((layer) => [layer, new Set()]));
    for (const { file, specifier } of imports) {
      const from = layerOf(join(root, file));
      const to = specifier.startsWith('.') ? layerOf(resolve(root, dirname(file), specifier)) : undefined;
      if (from !== undefined && to !== undefined && from !== to) edges.get(from)?.add(to);
    }
    const reachable = (from: string, seen = new Set<string>()): Set<string> => {
      for (const next of edges.get(from) ?? []) {
        if (seen.has(next)) continue;
        seen.add(next);
        reachable(next, seen);
      }
      return seen;
    };
    expect(layers.filter((layer) => reachable(layer).has(layer))).to.deep.equal([]);
  });

  it('pure layers import no package of Node and no package that is not pure itself', () => {
    const wrong = imports.filter(({ file, specifier }) => {
      const layer = layerOf(join(root, file));
      if (layer === undefined || rankOf(layer) >= pureRanks || specifier.startsWith('.')) return false;
      return !purePackages.includes(specifier);
    });
    expect(wrong.map(({ file, specifier }) => `${file} imports ${specifier}`)).to.deep.equal([]);
  });

  it('finds imports of every form', () => {
    const text = `import a from './a.ts';\nimport type {\n  B,\n} from './b.ts';\nimport './c.ts';\nexport { d } from './d.ts';\nconst e = await import('./e.ts');`;
    expect(importSpecifiers(text)).to.deep.equal(['./a.ts', './b.ts', './c.ts', './d.ts', './e.ts']);
  });
});
