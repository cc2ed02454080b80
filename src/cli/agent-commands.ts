/** `vmpair agent` and `vmpair cluster status`. */
import type { Command } from 'commander';
import { askAgent } from '../agent/client.ts';
import type { ClusterView } from '../agent/view/cluster-view.ts';
import { type AgentOptions, agentPlace, onAgent } from './agent-place.ts';
import { clusterText } from './cluster-text.ts';
import { printResult } from './outcome.ts';

const defaultNodeFile = '/etc/vmpair/node.yaml';

/** A group of commands, which other files may have begun. */
function groupOf(program: Command, name: string, description: string): Command {
  const known = program.commands.find((command) => command.name() === name);
  return known ?? program.command(name).description(description);
}

export function addAgentCommands(program: Command): void {
  program
    .command('agent')
    .description('run the agent of this node: API, jobs, timeline; VMs and failover do not need it')
    .option('--node <file>', 'configuration of the node', defaultNodeFile)
    .action(async ({ node }: { readonly node: string }) => {
      // The HTTP server takes longer to load than all other commands take to run.
      const { runAgent } = await import('../agent/program.ts');
      await runAgent(node);
    });
  const cluster = groupOf(program, 'cluster', 'both nodes and all VMs');
  onAgent(cluster.command('status').description('both nodes and all VMs, with the reason')).action(
    async (options: AgentOptions) => {
      const { body } = await askAgent(agentPlace(options), 'GET', '/api/v1/cluster');
      const view = body as ClusterView;
      printResult(options.json ?? false, view, () => clusterText(view));
    },
  );
}
