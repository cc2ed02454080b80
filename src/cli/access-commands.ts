/** `vmpair user` and `vmpair token`: who may ask the agents for what. */
import { type Command, InvalidArgumentError } from 'commander';
import { askAgent } from '../agent/client.ts';
import type { TokenFacts, UserFacts } from '../agent/access/access.ts';
import { type Role, roles } from '../agent/access/permissions.ts';
import { type AgentOptions, agentPlace, onAgent } from './agent-place.ts';
import { printResult } from './outcome.ts';
import { readPassword } from './read-password.ts';

interface RightsOptions extends AgentOptions {
  readonly role: Role;
  readonly vm?: readonly string[];
}

interface TokenOptions extends RightsOptions {
  readonly note: string;
  readonly days?: number;
}

const dayMs = 86_400_000;

function roleArgument(text: string): Role {
  const found = roles.find((role) => role === text);
  if (found !== undefined) return found;
  throw new InvalidArgumentError(`wanted one of ${roles.join(', ')}`);
}

function daysArgument(text: string): number {
  const days = Number(text);
  if (Number.isInteger(days) && days > 0) return days;
  throw new InvalidArgumentError('wanted a whole number of days');
}

function withRights(command: Command): Command {
  return onAgent(command)
    .requiredOption('--role <role>', `one of ${roles.join(', ')}`, roleArgument)
    .option('--vm <name...>', 'only for these VMs');
}

function rightsOf({ role, vm }: RightsOptions): object {
  return vm === undefined ? { role } : { role, vms: vm };
}

function rightsText({ role, vms }: UserFacts | TokenFacts): string {
  return `${role}${vms === undefined ? '' : ` for ${vms.join(', ')}`}`;
}

export function addAccessCommands(program: Command): void {
  addUserCommands(program.command('user').description('people who may log in to the agents'));
  addTokenCommands(program.command('token').description('tokens by which programs ask the agents'));
}

function addUserCommands(user: Command): void {
  withRights(user.command('add <name>').description('add a user; asks for the password')).action(
    async (name: string, options: RightsOptions) => {
      const body = { name, password: await readPassword(), ...rightsOf(options) };
      await askAgent(agentPlace(options), 'POST', '/api/v1/users', body);
      printResult(options.json ?? false, { added: name }, () => `user ${name} was added`);
    },
  );
  onAgent(user.command('list').description('users and their roles')).action(async (options: AgentOptions) => {
    const { body } = await askAgent(agentPlace(options), 'GET', '/api/v1/users');
    const { users } = body as { readonly users: readonly UserFacts[] };
    const lines = users.map((each) => `${each.name}: ${rightsText(each)}, since ${each.createdAt}`);
    printResult(options.json ?? false, users, () => lines.join('\n') || 'no users');
  });
  onAgent(user.command('remove <name>').description('remove a user; the sessions of the user end')).action(
    async (name: string, options: AgentOptions) => {
      await askAgent(agentPlace(options), 'DELETE', `/api/v1/users/${encodeURIComponent(name)}`);
      printResult(options.json ?? false, { removed: name }, () => `user ${name} was removed`);
    },
  );
  onAgent(user.command('passwd <name>').description('set the password of a user; asks for it')).action(
    async (name: string, options: AgentOptions) => {
      const body = { password: await readPassword() };
      await askAgent(agentPlace(options), 'PUT', `/api/v1/users/${encodeURIComponent(name)}/password`, body);
      printResult(options.json ?? false, { changed: name }, () => `user ${name} has a new password`);
    },
  );
}

function addTokenCommands(token: Command): void {
  withRights(token.command('add').description('add a token; it is shown once'))
    .option('--note <text>', 'what it is for', '')
    .option('--days <days>', 'it ends after so many days', daysArgument)
    .action(async (options: TokenOptions) => {
      const { note, days } = options;
      const ends = days === undefined ? {} : { expiresAt: new Date(Date.now() + days * dayMs).toISOString() };
      const sent = { ...rightsOf(options), note, ...ends };
      const { body } = await askAgent(agentPlace(options), 'POST', '/api/v1/tokens', sent);
      const added = body as { readonly id: string; readonly token: string };
      printResult(options.json ?? false, added, () => added.token);
    });
  onAgent(token.command('list').description('tokens and their roles, without their secrets')).action(
    async (options: AgentOptions) => {
      const { body } = await askAgent(agentPlace(options), 'GET', '/api/v1/tokens');
      const { tokens } = body as { readonly tokens: readonly TokenFacts[] };
      const lines = tokens.map((each) => {
        const ends = each.expiresAt === undefined ? 'does not end' : `ends ${each.expiresAt}`;
        return `${each.id}: ${rightsText(each)}, ${ends}, since ${each.createdAt}${each.note === '' ? '' : `: ${each.note}`}`;
      });
      printResult(options.json ?? false, tokens, () => lines.join('\n') || 'no tokens');
    },
  );
  onAgent(token.command('remove <id>').description('remove a token; it counts no longer at once')).action(
    async (id: string, options: AgentOptions) => {
      await askAgent(agentPlace(options), 'DELETE', `/api/v1/tokens/${encodeURIComponent(id)}`);
      printResult(options.json ?? false, { removed: id }, () => `token ${id} was removed`);
    },
  );
}
