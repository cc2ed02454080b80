/** Who may do what: every route and every action for every kind of caller. */
import { expect } from 'chai';
import {
  type Permission,
  permissions,
  type Principal,
  refusalOf,
  type Role,
  roles,
} from '../../src/agent/access/permissions.ts';
import { moduleActions } from '../../src/agent/module-actions.ts';

const principal = (role: Role, vms?: readonly string[]): Principal => ({
  kind: 'token',
  name: 't',
  role,
  vms,
});
const rows = Object.entries(permissions) as [string, Permission][];

describe('permissions', () => {
  it('a route is refused to every lower role and allowed to every other', () => {
    for (const [id, permission] of rows) {
      const { role: needed } = permission;
      if (needed === 'public' || needed === 'peer') continue;
      for (const role of roles) {
        const allowed = roles.indexOf(role) >= roles.indexOf(needed);
        expect(refusalOf(permission, principal(role), undefined) === undefined, `${role} on ${id}`).to.equal(
          allowed,
        );
      }
    }
  });

  it('who is bound to a VM gets nothing of another one, and nothing that concerns the cluster', () => {
    for (const [id, permission] of rows) {
      const bound = principal('admin', ['vm1']);
      if (permission.role === 'public' || permission.role === 'peer') continue;
      expect(refusalOf(permission, bound, 'vm2'), `vm2 on ${id}`).to.be.a('string');
      const own = refusalOf(permission, bound, 'vm1');
      expect(own === undefined, `vm1 on ${id}`).to.equal(permission.scope === 'vm');
    }
  });

  it('what the agents tell each other is for agents only', () => {
    const peer: Principal = { kind: 'peer', name: 'B', role: 'admin', vms: undefined };
    expect(refusalOf(permissions.node, peer, undefined)).to.equal(undefined);
    expect(refusalOf(permissions.node, principal('admin'), undefined)).to.be.a('string');
  });

  it('an action that can lose data takes an administrator, and no action is for everybody', () => {
    for (const name of [
      'prim',
      'second',
      'resolve',
      'accept-disk',
      'fence-confirm',
      'arbiter-recreate',
    ] as const)
      expect(moduleActions[name].role, name).to.equal('admin');
    const viewer = Object.entries(moduleActions).filter(([, { role }]) => role === 'viewer');
    expect(viewer.map(([name]) => name)).to.deep.equal(['arbiter', 'explain']);
  });
});
