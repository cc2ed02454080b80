/**
 * What the checks of a module are told to do: one entry per check, and rules that combine several. The same on both nodes; what
 * differs between them is named per node. `src/config/checks-config.ts` reads it from `module.yaml`.
 */
import type { NodeName } from '../base/identity.ts';

/**
 * `restart`: end the VM and start it here. `swap`: move it to the peer, if it is better off there. `stop`: as the operator's stop.
 * `wait`: leave the pair until the check is well again. `notify`: only say so.
 */
export type CheckAction = 'restart' | 'swap' | 'stop' | 'wait' | 'notify';

export type CheckKind =
  | 'vm'
  | 'guest'
  | 'tcp'
  | 'ping'
  | 'disk-space'
  | 'network-link'
  | 'hypervisor'
  | 'command';

export type CheckTarget =
  | { readonly kind: 'vm' | 'guest' | 'hypervisor' }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'ping'; readonly host: string }
  | {
      readonly kind: 'disk-space';
      readonly path: Readonly<Record<NodeName, string>>;
      readonly minFreeBytes: number;
    }
  | { readonly kind: 'network-link'; readonly interface: Readonly<Record<NodeName, string>> }
  | { readonly kind: 'command'; readonly command: readonly string[] };

/** When a series of results counts as a failure, and when it is over. */
export interface Hysteresis {
  /** So many of the last `of` results failed. */
  readonly fails: number;
  readonly of: number;
  /** Results in a row that must be well again. */
  readonly recovers: number;
}

export type CheckSettings = CheckTarget & {
  /** Also the name of its rule. */
  readonly name: string;
  /**
   * `host`: about the node, asked on both nodes all the time. `vm`: about the VM, asked only where it runs, and not before
   * `graceMs` after its start.
   */
  readonly on: 'host' | 'vm';
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly graceMs: number;
  readonly hysteresis: Hysteresis;
  readonly action: CheckAction;
};

export interface RuleSettings {
  readonly name: string;
  readonly when: { readonly kind: 'all' | 'any'; readonly checks: readonly string[] };
  readonly action: CheckAction;
}

export interface ChecksSettings {
  /** With one of the kind `vm`, always. */
  readonly checks: readonly CheckSettings[];
  /** In the order of the file: of two that ask for the same, the first one gives its name. */
  readonly rules: readonly RuleSettings[];
  /** Automatic restarts of the VM in `restartWindowMs`, on both nodes together. */
  readonly restartsMax: number;
}

/** Every rule: that of each check, which is named after it, then those that combine several. */
export function rulesOf({ checks, rules }: ChecksSettings): readonly RuleSettings[] {
  const own = checks.map(
    ({ name, action }): RuleSettings => ({ name, when: { kind: 'any', checks: [name] }, action }),
  );
  return [...own, ...rules];
}
