/**
 * `vmpair cluster`: two bare servers become a cluster, and its certificates are kept good. Works on the files of this server, also
 * while no process of vmpair runs; only `join` and `rotate-authority` speak to the agent of the other node.
 */
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { initCluster } from '../agent/membership/init.ts';
import { joinCluster } from '../agent/membership/join.ts';
import { makeToken, tokenHoursDefault, tokenHoursMax } from '../agent/membership/make-token.ts';
import { directoriesUnder, nodeFilesIn } from '../agent/membership/node-files.ts';
import { renewCertificate } from '../agent/membership/renew.ts';
import { rotateAuthority, rotationPath } from '../agent/membership/rotate-authority.ts';
import { type RotationStep, rotationSteps } from '../agent/membership/rotation-state.ts';
import { askPeer, peerOf } from '../agent/membership/peer-exchange.ts';
import { readClusterText } from '../agent/membership/node-files.ts';
import { parseCluster } from '../agent/membership/cluster-document.ts';
import { readClusterStatus } from '../agent/membership/cluster-status.ts';
import { witnessProblem } from '../agent/membership/witness-probe.ts';
import type { SocketAddress } from '../platform/tls-sockets.ts';
import { atPlace, checkedAddress, checkedName, ownNode, type PlaceOptions } from './cluster-place.ts';
import {
  clusterStatusText,
  initializedText,
  joinedText,
  renewedText,
  rotatedText,
  tokenText,
} from './membership-text.ts';
import { exitCodes, printResult } from './outcome.ts';

interface JoiningOptions extends PlaceOptions {
  readonly node: string;
  readonly address: SocketAddress;
}

export function checkedHours(text: string): number {
  const hours = Number(text);
  if (hours > 0 && hours <= tokenHoursMax) return hours;
  throw new InvalidArgumentError(`wanted a number of hours, at most ${tokenHoursMax}`);
}

function checkedStep(text: string): RotationStep {
  const step = rotationSteps.find((each) => each === text);
  if (step !== undefined) return step;
  throw new InvalidArgumentError(`wanted one of ${rotationSteps.join(', ')}`);
}

function asNode(command: Command): Command {
  return atPlace(command)
    .requiredOption('--node <name>', 'name of this server as a node', checkedName)
    .requiredOption(
      '--address <address>',
      'where the other node reaches the agent of this server, ADDRESS[:PORT]',
      checkedAddress,
    );
}

export function addClusterCommands(program: Command): void {
  const cluster = program
    .command('cluster')
    .description('make a cluster of two servers, and keep its certificates');
  asNode(cluster.command('init').description('make a cluster with this server as its first node'))
    .requiredOption('--name <name>', 'name of the cluster, for people')
    .action(async ({ dir, json, node, address, name }: JoiningOptions & { readonly name: string }) => {
      const files = nodeFilesIn(directoriesUnder(resolve(dir)));
      const made = await initCluster({ files, name, node, address });
      printResult(json ?? false, made, () => initializedText(made));
    });
  atPlace(cluster.command('token').description('make a token with which one server may join, once'))
    .option('--hours <hours>', 'how long it is good', checkedHours, tokenHoursDefault)
    .option('--node <name>', 'good for this node name only', checkedName)
    .action(async (options: PlaceOptions & { readonly hours: number; readonly node?: string }) => {
      const { node: self, files } = ownNode(options);
      const { hours, node, json } = options;
      const made = await makeToken({ files, self, hours, node, nowMs: Date.now() });
      printResult(json ?? false, made, () => tokenText(made));
    });
  asNode(cluster.command('join').description('make this server the second node of a cluster'))
    .argument('<token>', 'the line that `vmpair cluster token` printed on the first node')
    .action(async (token: string, { dir, json, node, address }: JoiningOptions) => {
      const files = nodeFilesIn(directoriesUnder(resolve(dir)));
      const joined = await joinCluster({ files, token, node, address });
      printResult(json ?? false, joined, () => joinedText(joined));
    });
  atPlace(
    cluster
      .command('certificates')
      .description('the nodes of the cluster and how long the certificates of this one last'),
  ).action(async (options: PlaceOptions) => {
    const { files, node } = ownNode(options);
    const status = await readClusterStatus(files, node, Date.now());
    printResult(options.json ?? false, status, () => clusterStatusText(status));
  });
  atPlace(
    cluster
      .command('renew-certificates')
      .description('give this node a new certificate for its key; the modules go on in sync'),
  ).action(async (options: PlaceOptions) => {
    const own = ownNode(options);
    const renewed = await renewCertificate(own.files.tls, own.node);
    const result = { node: own.node, ...renewed, modules: await own.inform() };
    printResult(options.json ?? false, result, () => renewedText(result));
    if (result.modules.some(({ problem }) => problem !== undefined)) process.exitCode = exitCodes.failed;
  });
  addRotation(cluster);
}

function addRotation(cluster: Command): void {
  atPlace(
    cluster
      .command('rotate-authority')
      .description('replace the authority of the cluster: trust, then issue, then finish')
      .argument('<step>', 'trust, issue or finish; each may be repeated', checkedStep),
  )
    .option('--skip-witness', 'go on although the witness was not seen to be ready for the step')
    .action(async (step: RotationStep, options: PlaceOptions & { readonly skipWitness?: boolean }) => {
      const own = ownNode(options);
      const text = await readClusterText(own.files.clusterFile);
      const peer = peerOf(parseCluster(own.files.clusterFile, text), own.node);
      const rotated = await rotateAuthority(step, own, {
        peer: peer.name,
        askPeer: (request) => askPeer(own.files, peer, rotationPath, request),
        witnessProblem: async (identity) =>
          options.skipWitness === true ? undefined : witnessProblem(own.moduleFiles, identity),
      });
      printResult(options.json ?? false, rotated, () => rotatedText(rotated));
      if (rotated.modules.some(({ problem }) => problem !== undefined)) process.exitCode = exitCodes.failed;
    });
}
