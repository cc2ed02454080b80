/** Who starts after whom, as a graph: unknown names, cycles, and who must run before whom. */

export interface NamedDependencies {
  readonly module: string;
  readonly after: readonly string[];
}

export interface DependencyProblem {
  readonly module: string;
  readonly kind: 'unknown-name' | 'cycle';
  /** The name that is none; or the cycle, which begins and ends with `module`. */
  readonly names: readonly string[];
}

/** The shortest way from `from` along `after` back to itself, both ends included; `undefined`: there is none. */
export function cycleThrough(from: string, set: readonly NamedDependencies[]): readonly string[] | undefined {
  const after = new Map(set.map((each) => [each.module, each.after]));
  const seen = new Set<string>();
  let paths: string[][] = [[from]];
  while (paths.length > 0) {
    const longer: string[][] = [];
    for (const path of paths) {
      for (const next of after.get(path.at(-1) as string) ?? []) {
        if (next === from) return [...path, next];
        if (seen.has(next)) continue;
        seen.add(next);
        longer.push([...path, next]);
      }
    }
    paths = longer;
  }
  return undefined;
}

/** What is wrong with the dependencies of a set of modules: each unknown name, and each cycle once. */
export function findDependencyProblems(set: readonly NamedDependencies[]): readonly DependencyProblem[] {
  const known = new Set(set.map(({ module }) => module));
  const problems: DependencyProblem[] = [];
  const inCycles = new Set<string>();
  for (const { module, after } of set) {
    for (const name of after)
      if (!known.has(name)) problems.push({ module, kind: 'unknown-name', names: [name] });
    const cycle = inCycles.has(module) ? undefined : cycleThrough(module, set);
    if (cycle === undefined) continue;
    for (const name of cycle) inCycles.add(name);
    problems.push({ module, kind: 'cycle', names: cycle });
  }
  return problems;
}

/** The modules that `module` is after, directly or through others. */
export function allBefore(module: string, set: readonly NamedDependencies[]): ReadonlySet<string> {
  const after = new Map(set.map((each) => [each.module, each.after]));
  const found = new Set<string>();
  const open = [module];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const name of after.get(next) ?? []) {
      if (found.has(name)) continue;
      found.add(name);
      open.push(name);
    }
  }
  return found;
}
