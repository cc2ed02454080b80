/** The fence that a configuration asks for. */
import type { Fence } from '../../arbiter/fence.ts';
import { assertNever } from '../../base/assert.ts';
import { CommandFence, type CommandFenceConfig } from './command-fence.ts';
import { IpmiFence, type IpmiFenceConfig } from './ipmi-fence.ts';
import { SshFence, type SshFenceConfig } from './ssh-fence.ts';

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

export function createFence(config: NodeFenceConfig, target: FenceTarget): Fence {
  switch (config.kind) {
    case 'command':
      return new CommandFence(config, target);
    case 'ipmi':
      return new IpmiFence(config, target);
    case 'ssh':
      return new SshFence(config, target);
    default:
      return assertNever(config, 'kind of fence');
  }
}
