/**
 * Who may do what: one row a route, one row an action. A role may everything that a lower one may. Whoever is bound to some
 * VMs sees and does nothing with others, and nothing that concerns the cluster as a whole.
 */

/** Lowest first. */
export const roles = ['viewer', 'operator', 'admin'] as const;
export type Role = (typeof roles)[number];

export interface Permission {
  /** `public`: everybody, without a token. `peer`: the agent of the other node alone. */
  readonly role: Role | 'public' | 'peer';
  /** `vm`: also who is bound to the VM of the path, or sees only the own ones in the answer. `cluster`: only who is bound to none. */
  readonly scope: 'vm' | 'cluster';
}

const vm = (role: Permission['role']): Permission => ({ role, scope: 'vm' });
const cluster = (role: Permission['role']): Permission => ({ role, scope: 'cluster' });

/** Route -> who may call it. */
export const permissions = {
  health: vm('public'),
  'module-health': vm('public'),
  openapi: vm('public'),
  login: vm('public'),
  logout: vm('viewer'),
  whoami: vm('viewer'),
  cluster: vm('viewer'),
  nodes: vm('viewer'),
  // Proves itself by its token.
  'cluster-join': vm('public'),
  'cluster-authority': cluster('peer'),
  node: cluster('peer'),
  modules: vm('viewer'),
  module: vm('viewer'),
  // And what the table of actions asks.
  'module-action': vm('viewer'),
  'module-process': vm('operator'),
  jobs: vm('viewer'),
  job: vm('viewer'),
  events: vm('viewer'),
  'event-stream': vm('viewer'),
  audit: cluster('admin'),
  metrics: cluster('viewer'),
  users: cluster('admin'),
  'user-add': cluster('admin'),
  'user-remove': cluster('admin'),
  'user-password': cluster('admin'),
  tokens: cluster('admin'),
  'token-add': cluster('admin'),
  'token-remove': cluster('admin'),
} as const satisfies Record<string, Permission>;

export type RouteId = keyof typeof permissions;

/** Who calls. */
export interface Principal {
  readonly kind: 'local' | 'user' | 'token' | 'peer';
  /** Name of the user, id of the token, name of the node. */
  readonly name: string;
  readonly role: Role;
  /** `undefined`: all. */
  readonly vms: readonly string[] | undefined;
  /** Whom the other agent speaks for. */
  readonly onBehalfOf?: string | undefined;
}

/** For audit and journal. */
export function describePrincipal({ kind, name, onBehalfOf }: Principal): string {
  const own = kind === 'local' ? 'local' : `${kind} ${name}`;
  return onBehalfOf === undefined ? own : `${own} for ${onBehalfOf}`;
}

export function hasRole(principal: Principal, role: Role): boolean {
  return roles.indexOf(principal.role) >= roles.indexOf(role);
}

export function seesVm(principal: Principal, module: string): boolean {
  return principal.vms === undefined || principal.vms.includes(module);
}

/** Why the call is refused; `undefined`: it is allowed. `module`: the VM that the path names, if it names one. */
export function refusalOf(
  permission: Permission,
  principal: Principal,
  module: string | undefined,
): string | undefined {
  const { role, scope } = permission;
  if (role === 'public') return undefined;
  if (role === 'peer') return principal.kind === 'peer' ? undefined : 'only the agent of the other node may';
  if (!hasRole(principal, role)) return `the role ${principal.role}; it takes ${role}`;
  if (scope === 'cluster' && principal.vms !== undefined)
    return `a role for ${principal.vms.join(', ') || 'no VM'} only; this concerns the whole cluster`;
  if (module !== undefined && !seesVm(principal, module))
    return `a role for ${principal.vms?.join(', ') || 'no VM'} only`;
  return undefined;
}
