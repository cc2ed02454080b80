/**
 * One VM of one module, seen through its hypervisor: the port that the module process uses and every adapter implements.
 *
 * Invariants that every adapter keeps (test/conformance/hypervisor.ts checks them):
 * - Every call ends by its deadline, with a result or with a `WorldError` (`hypervisor-unavailable`, `vm-start-failed`,
 *   `vm-already-running`, `vm-not-found`, `vm-action-failed`). An abort counts as a deadline that has passed.
 * - `stopped`, as state or as event, means that the VM provably does not run: nothing of it can write any more. When that
 *   is not known, the state is `unknown`.
 * - The VM outlives the adapter object and the process that made it; `adopt` finds it again.
 * - After a failed `start` the VM does not run, unless the state says `unknown`.
 *
 * What a port deliberately does not do: decide. It never restarts, resumes or escalates by itself.
 */
import type { Axes } from '../src/base/status.ts';

export type VmState = Exclude<Axes['vm'], 'none'>;

/** How long a call may take. */
export interface Wait {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * `operator`: `suspend` of this adapter object. `elsewhere`: somebody else paused it (the supervisor, an administrator, a
 * start that was cut off before the guest ran), or it was found paused and the hypervisor does not tell why.
 */
export type PauseReason = 'io-error' | 'no-space' | 'operator' | 'elsewhere' | 'guest-panicked';

/**
 * `guest-shutdown`: the guest powered itself off. `destroyed`: `destroy` of this adapter object. `host-request`: the
 * hypervisor was asked to end it. `crashed`: the VM is gone and nobody said why.
 */
export type StopReason = 'guest-shutdown' | 'destroyed' | 'host-request' | 'crashed';

export type HypervisorEvent =
  | { readonly type: 'started' }
  | { readonly type: 'stopped'; readonly reason: StopReason }
  | { readonly type: 'paused'; readonly reason: PauseReason }
  | { readonly type: 'resumed' }
  /** The guest's kernel says that it crashed. What the guest does next is its own policy. */
  | { readonly type: 'guest-panicked' }
  /** The guest restarted itself; the VM keeps running. */
  | { readonly type: 'guest-reset' }
  /** The VM, or the hypervisor, cannot be asked any more; the state is `unknown` until `hypervisor-found` or `stopped`. */
  | { readonly type: 'hypervisor-lost'; readonly because: string }
  | { readonly type: 'hypervisor-found'; readonly state: VmState };

export interface VmInspection {
  /** The hypervisor knows a definition of the VM. */
  readonly exists: boolean;
  readonly state: VmState;
  /** Why it is paused; `undefined` in other states. */
  readonly pauseReason: PauseReason | undefined;
  /** The host's process that is the VM, where there is one. */
  readonly pid: number | undefined;
}

export interface HypervisorHealth {
  /** A VM could be started now. */
  readonly usable: boolean;
  /** One sentence for a person. */
  readonly because: string;
}

/** What the VM takes of its host while it runs. */
export interface VmNeeds {
  readonly memoryBytes: number;
  /** Virtual CPUs. */
  readonly cpus: number;
}

/** The replicated definition of the VM. The adapter that wrote the text is the one that reads it. */
export interface VmDefinition {
  readonly text: string;
}

/** Where the guest's disk is served: one per volume, the same for every start. */
export interface VolumeAttachment {
  readonly volume: string;
  /** Unix socket of the NBD server. */
  readonly socketPath: string;
  readonly exportName: string;
}

/** Memory state to a file and back. */
export interface SaveRestore {
  /** Ends with the VM stopped and its memory in `file`. */
  save(file: string, wait: Wait): Promise<void>;
  restore(file: string, wait: Wait): Promise<void>;
}

/** Moving the running VM to the same adapter on the other node. */
export interface LiveMigration {
  /** Makes this side wait for the VM; the result is what `send` needs to reach it. */
  receive(wait: Wait): Promise<string>;
  send(target: string, wait: Wait): Promise<void>;
  cancel(wait: Wait): Promise<void>;
}

/** Whether the guest gives a sign of life, as far as the hypervisor can tell. */
export interface GuestPulse {
  readonly alive: boolean;
  /** One sentence for a person. */
  readonly because: string;
}

/** What an adapter may lack is `undefined` here, so that a caller has to look. */
export interface HypervisorCapabilities {
  readonly saveRestore: SaveRestore | undefined;
  readonly liveMigration: LiveMigration | undefined;
  /** Asks a guest that runs; answers by the deadline, and never rejects. */
  readonly guestPulse: ((wait: Wait) => Promise<GuestPulse>) | undefined;
  /** The VM waits for a disk server that restarts, without an error and without being resumed. */
  readonly reconnectsDisks: boolean;
}

export interface Hypervisor {
  readonly kind: string;
  readonly capabilities: HypervisorCapabilities;
  /** Last known; changes before the event that tells of it is delivered. `unknown` until `adopt` or `start`. */
  state(): VmState;
  /** Events in order. The result ends the subscription. A listener must not throw. */
  subscribe(listener: (event: HypervisorEvent) => void): () => void;
  health(wait: Wait): Promise<HypervisorHealth>;
  /** By its definition, without asking anybody; `undefined`: it does not say. */
  needs(): VmNeeds | undefined;
  /** Asks the hypervisor, not the memory of this object. */
  inspect(wait: Wait): Promise<VmInspection>;
  /** Replaces the definition; a running VM keeps its own until the next start. Errors: `config-invalid`. */
  define(definition: VmDefinition, wait: Wait): Promise<void>;
  /** Finds the VM that an earlier process started, or that there is none. Call it once, before anything else. */
  adopt(wait: Wait): Promise<VmInspection>;
  /** Resolves when the guest runs. Refused with `vm-already-running` unless the VM is provably stopped. */
  start(wait: Wait): Promise<void>;
  /** Asks the guest to power off. `still-running` after the deadline: escalation is the caller's decision. */
  shutdown(wait: Wait): Promise<'stopped' | 'still-running'>;
  /** Ends the VM at once. Resolves only when it provably no longer runs; a stopped one is fine. */
  destroy(wait: Wait): Promise<void>;
  /** Resolves when no virtual CPU runs any more; requests in flight may still reach the disks. Idempotent. */
  suspend(wait: Wait): Promise<void>;
  /** Also after an I/O error: failed requests are issued again. Idempotent. */
  resume(wait: Wait): Promise<void>;
  /** Lets go of the VM without touching it; no event follows. Idempotent. */
  close(): void;
}
