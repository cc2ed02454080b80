/** `vmpair witness check`: everything that can be found wrong before the witness is started, without changing anything. */
import { existsSync } from 'node:fs';
import { WorldError } from '../base/errors.ts';
import { checkSocketPath } from '../platform/socket-path.ts';
import { ClusterIdentities } from './cluster-identities.ts';
import { listIdentitySources, readWitnessConfig, type WitnessConfig } from './config.ts';
import { expiryWarnings } from './expiry.ts';
import { storageFailed } from './record-store.ts';
import { clustersOf, copiesWarning } from './status.ts';
import { inspectStore } from './store-directory.ts';

export interface WitnessCheck {
  readonly clusters: readonly { readonly clusterId: string; readonly certificateUntil: string }[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/** Throws `WorldError` file-missing or config-invalid when the configuration itself cannot be read. */
export async function checkWitness(configFile: string): Promise<WitnessCheck> {
  const config = readWitnessConfig(configFile);
  const problems: string[] = [];
  const warnings: string[] = [];
  const clusters = problemOf(problems, () => ClusterIdentities.load(listIdentitySources(config)));
  problemOf(problems, () => checkSocketPath(config.controlSocket));
  for (const { name, problem } of clusters?.refused ?? []) problems.push(`${name}: ${problem.message}`);
  for (const { expired, because } of expiryWarnings(clusters?.expiries ?? [], Date.now()))
    (expired ? problems : warnings).push(because);
  await checkStore(config, problems, warnings);
  return {
    clusters: clusters === undefined ? [] : clustersOf(clusters, () => 0),
    problems,
    warnings,
  };
}

async function checkStore({ dataDir }: WitnessConfig, problems: string[], warnings: string[]): Promise<void> {
  if (!existsSync(dataDir)) return;
  try {
    const { problem, records, tellsCopies } = await inspectStore(dataDir);
    if (problem !== undefined) problems.push(problem.message);
    for (const record of records) if (record.problem !== undefined) problems.push(record.problem.message);
    if (!tellsCopies) warnings.push(copiesWarning);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    problems.push(storageFailed(dataDir, error).message);
  }
}

function problemOf<Result>(problems: string[], work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof WorldError)) throw error;
    problems.push(error.message);
    return undefined;
  }
}
