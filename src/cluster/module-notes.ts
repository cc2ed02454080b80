/** What stands beside the state of a module and was decided outside of the cluster rules: by its checks. For people; nothing is decided by it. */

export interface ModuleNotes {
  /** Why a module that is stopped is so, when no operator stopped it. */
  readonly stopped: { readonly state: 'STOP' | 'WAIT'; readonly because: string } | undefined;
  /** What is ready is orange as long as there is one. */
  readonly warnings: readonly string[];
}

export const noNotes: ModuleNotes = { stopped: undefined, warnings: [] };
