/** `vmpair node`: new hardware in the place of a node that is gone. */
import type { Command } from 'commander';
import { documentFiles } from '../agent/membership/local-host.ts';
import { tokenHoursDefault } from '../agent/membership/make-token.ts';
import { prepareDisks } from '../agent/membership/prepare-disks.ts';
import { replaceNode } from '../agent/membership/replace-node.ts';
import { readModuleConfig } from '../config/module-config.ts';
import { checkedHours } from './cluster-commands.ts';
import { atPlace, checkedName, connectedModules, ownNode, type PlaceOptions } from './cluster-place.ts';
import { preparedText, replacedText } from './membership-text.ts';
import { exitCodes, printResult } from './outcome.ts';

export function addNodeCommands(program: Command): void {
  const node = program.command('node').description('the two servers of the cluster');
  atPlace(
    node
      .command('replace')
      .description('on the node that is left: revoke the key of the other one, and let new hardware in')
      .argument('<node>', 'name of the node that is gone', checkedName),
  )
    .option(
      '--hours <hours>',
      'how long the token for the new hardware is good',
      checkedHours,
      tokenHoursDefault,
    )
    .action(async (gone: string, options: PlaceOptions & { readonly hours: number }) => {
      const own = ownNode(options);
      const { files, node: self } = own;
      const replaced = await replaceNode({
        files,
        self,
        node: gone,
        hours: options.hours,
        nowMs: Date.now(),
        documents: documentFiles(files),
        connectedModules: () => connectedModules(own),
        inform: () => own.inform(),
      });
      printResult(options.json ?? false, replaced, () => replacedText(replaced));
    });
  atPlace(
    node
      .command('prepare-disks')
      .description('on new hardware: make the empty disk files of its modules where there are none'),
  ).action((options: PlaceOptions) => {
    const own = ownNode(options);
    const modules = own.moduleFiles.map((file) => readModuleConfig(file));
    const prepared = prepareDisks(modules, own.node);
    printResult(options.json ?? false, prepared, () => preparedText(prepared));
    if (prepared.missingDirectories.length > 0) process.exitCode = exitCodes.failed;
  });
}
