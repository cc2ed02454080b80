/** The fence that a configuration asks for. */
import type { Fence } from '../../arbiter/fence.ts';
import { assertNever } from '../../base/assert.ts';
import { CommandFence, type CommandFenceConfig } from './command-fence.ts';
import { IpmiFence, type IpmiFenceConfig } from './ipmi-fence.ts';
import type { SshFenceConfig } from './ssh-fence.ts';

/** How one node is switched off. */
export type NodeFenceConfig = CommandFenceConfig | IpmiFenceConfig | SshFenceConfig;

/** What every kind needs beside its own configuration. */
export interface FenceTarget {
  /** The node that is switched off. */
  readonly node: string;
  /** The node that does it. */
  readonly self: string;
  readonly module: string;
  readonly deadlineMs: number;
}

/** Everything that the fence needs is loaded when this resolves, and nothing of what other kinds need: SSH alone takes 4 MB of each module. */
export async function createFence(config: NodeFenceConfig, target: FenceTarget): Promise<Fence> {
  switch (config.kind) {
    case 'command':
      return new CommandFence(config, target);
    case 'ipmi':
      return new IpmiFence(config, target);
    case 'ssh': {
      const { SshFence } = await import('./ssh-fence.ts');
      return new SshFence(config, target);
    }
    default:
      return assertNever(config, 'kind of fence');
  }
}
