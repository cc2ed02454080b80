/**
 * Users, tokens and sessions. A change is durable before it counts. What is wrong about a login is never said: the answer is
 * the same for an unknown user and a wrong password, and takes the same time.
 *
 * Sessions live in memory: after a restart of the agent people log in again.
 */
import type { Clock } from '../../base/clock.ts';
import { WorldError } from '../../base/errors.ts';
import { AttemptLimits } from './attempt-limits.ts';
import type { AccessDocument, AccessStore } from './access-store.ts';
import { isSecret, newToken, parseToken } from './bearer-token.ts';
import { digestPassword, isPassword } from './password.ts';
import type { Principal, Role } from './permissions.ts';

/** A session ends after this time, whatever it does, ms. */
export const sessionMaxMs = 12 * 3_600_000;
export const sessionsMax = 1000;
export const usersMax = 1000;
export const tokensMax = 1000;
/** Logins that are being checked at once; each takes 32 MiB and a thread. */
const loginsAtOnceMax = 2;
const loginsQueuedMax = 16;
/** A person mistypes; a program that guesses is held to six a minute. */
const perAddress = { perSecond: 0.1, burst: 10 };
const perUser = { perSecond: 1 / 30, burst: 5 };
/** Of wrong tokens; a right one costs nothing. */
const wrongTokens = { perSecond: 1, burst: 20 };

interface Session {
  readonly hash: string;
  readonly user: string;
  readonly endsMs: number;
}

export interface Rights {
  readonly role: Role;
  readonly vms?: readonly string[] | undefined;
}

export interface UserFacts extends Rights {
  readonly name: string;
  readonly createdAt: string;
}

export interface TokenFacts extends Rights {
  readonly id: string;
  readonly note: string;
  readonly createdAt: string;
  readonly expiresAt?: string | undefined;
}

export class Access {
  readonly #store: AccessStore;
  readonly #clock: Clock;
  readonly #wallTime: () => string;
  readonly #sessions = new Map<string, Session>();
  readonly #addressLimits = new AttemptLimits(perAddress);
  readonly #userLimits = new AttemptLimits(perUser);
  readonly #wrongTokenLimits = new AttemptLimits(wrongTokens);
  #document: AccessDocument;
  /** Changes one after the other. */
  #changing: Promise<unknown> = Promise.resolve();
  #logins = 0;
  readonly #waitingLogins: (() => void)[] = [];

  /** Throws `config-invalid` when what is kept is damaged. */
  static async open(store: AccessStore, clock: Clock, wallTime: () => string): Promise<Access> {
    return new Access(store, clock, wallTime, await store.load());
  }

  private constructor(store: AccessStore, clock: Clock, wallTime: () => string, document: AccessDocument) {
    this.#store = store;
    this.#clock = clock;
    this.#wallTime = wallTime;
    this.#document = document;
  }

  get users(): UserFacts[] {
    return this.#document.users.map(({ name, role, vms, createdAt }) => ({ name, role, vms, createdAt }));
  }

  get tokens(): TokenFacts[] {
    return this.#document.tokens.map(({ hash: _hash, ...facts }) => facts);
  }

  /** Whose token this is. Throws `not-authenticated`, or `limit-reached` for an address that guesses. */
  principalOf(text: string, address: string): Principal {
    const parsed = parseToken(text);
    const found = parsed === undefined ? undefined : this.#tokenOf(parsed.id, parsed.secret);
    if (found !== undefined) return found;
    if (!this.#wrongTokenLimits.take(address, this.#clock.nowMs())) throw tooOften('tokens of this address');
    throw new WorldError('not-authenticated', {
      wanted: 'a token that counts',
      found: 'one that is wrong, was removed or has ended',
      next: 'Log in again, or ask an administrator for a token (`vmpair token add`).',
    });
  }

  /** Checks a password and begins a session. Throws `not-authenticated` or `limit-reached`. */
  async login(name: string, password: string, address: string): Promise<{ token: string; endsInMs: number }> {
    const nowMs = this.#clock.nowMs();
    if (!this.#addressLimits.take(address, nowMs)) throw tooOften('logins from this address');
    if (!this.#userLimits.take(name, nowMs)) throw tooOften('logins of this user');
    const digest = this.#document.users.find((user) => user.name === name)?.password;
    if (!(await this.#withTurn(() => isPassword(digest, password)))) {
      throw new WorldError('not-authenticated', {
        wanted: 'a user and the password of this user',
        found: 'something else',
        next: 'Check both; an administrator can set a new password (`vmpair user passwd`).',
      });
    }
    const { id, text, hash } = newToken();
    this.#endOldSessions();
    this.#sessions.set(id, { hash, user: name, endsMs: this.#clock.nowMs() + sessionMaxMs });
    return { token: text, endsInMs: sessionMaxMs };
  }

  /** Ends the session of this token; other tokens are left alone. */
  logout(text: string): boolean {
    const parsed = parseToken(text);
    return parsed !== undefined && this.#sessions.delete(parsed.id);
  }

  async addUser(name: string, password: string, rights: Rights): Promise<void> {
    const digest = await this.#withTurn(() => digestPassword(password));
    await this.#change(({ users, ...rest }) => {
      if (users.some((user) => user.name === name)) {
        throw new WorldError('request-invalid', {
          wanted: 'a name that no user has',
          found: name,
          next: 'Choose another name, or remove the user first.',
        });
      }
      if (users.length >= usersMax) throw full('users', usersMax);
      const user = { name, ...rightsOf(rights), createdAt: this.#wallTime(), password: digest };
      return { ...rest, users: [...users, user] };
    });
  }

  async removeUser(name: string): Promise<void> {
    await this.#change(({ users, ...rest }) => {
      if (!users.some((user) => user.name === name)) throw unknown(`a user ${name}`, 'vmpair user list');
      return { ...rest, users: users.filter((user) => user.name !== name) };
    });
    this.#endSessionsOf(name);
  }

  /** The sessions of the user end. */
  async setPassword(name: string, password: string): Promise<void> {
    const digest = await this.#withTurn(() => digestPassword(password));
    await this.#change(({ users, ...rest }) => {
      if (!users.some((user) => user.name === name)) throw unknown(`a user ${name}`, 'vmpair user list');
      return {
        ...rest,
        users: users.map((user) => (user.name === name ? { ...user, password: digest } : user)),
      };
    });
    this.#endSessionsOf(name);
  }

  /** The text of the token is in the answer and nowhere else. */
  async addToken(
    rights: Rights,
    note: string,
    expiresAt: string | undefined,
  ): Promise<{ id: string; token: string }> {
    const { id, text, hash } = newToken();
    await this.#change(({ tokens, ...rest }) => {
      if (tokens.length >= tokensMax) throw full('tokens', tokensMax);
      const kept = { id, ...rightsOf(rights), note, createdAt: this.#wallTime(), hash };
      return { ...rest, tokens: [...tokens, expiresAt === undefined ? kept : { ...kept, expiresAt }] };
    });
    return { id, token: text };
  }

  async removeToken(id: string): Promise<void> {
    await this.#change(({ tokens, ...rest }) => {
      if (!tokens.some((token) => token.id === id)) throw unknown(`a token ${id}`, 'vmpair token list');
      return { ...rest, tokens: tokens.filter((token) => token.id !== id) };
    });
  }

  #tokenOf(id: string, secret: string): Principal | undefined {
    const session = this.#sessions.get(id);
    if (session !== undefined) {
      const user = this.#document.users.find(({ name }) => name === session.user);
      if (user === undefined || session.endsMs <= this.#clock.nowMs()) return undefined;
      if (!isSecret(session.hash, secret)) return undefined;
      return { kind: 'user', name: user.name, role: user.role, vms: user.vms };
    }
    const token = this.#document.tokens.find((each) => each.id === id);
    if (token === undefined || !isSecret(token.hash, secret)) return undefined;
    if (token.expiresAt !== undefined && token.expiresAt <= this.#wallTime()) return undefined;
    return { kind: 'token', name: id, role: token.role, vms: token.vms };
  }

  /** What is durable counts; what the disk refused does not. */
  #change(step: (document: AccessDocument) => AccessDocument): Promise<void> {
    const change = this.#changing.then(async () => {
      const next = step(this.#document);
      await this.#store.save(next);
      this.#document = next;
    });
    this.#changing = change.catch(() => {});
    return change;
  }

  /** Passwords are checked few at a time. Throws `limit-reached`. */
  async #withTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#logins >= loginsAtOnceMax) {
      if (this.#waitingLogins.length >= loginsQueuedMax) throw tooOften('logins at once');
      await new Promise<void>((resolve) => this.#waitingLogins.push(resolve));
    } else this.#logins += 1;
    try {
      return await work();
    } finally {
      const next = this.#waitingLogins.shift();
      if (next === undefined) this.#logins -= 1;
      else next();
    }
  }

  #endOldSessions(): void {
    const nowMs = this.#clock.nowMs();
    for (const [id, { endsMs }] of this.#sessions) if (endsMs <= nowMs) this.#sessions.delete(id);
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size >= sessionsMax && oldest !== undefined) this.#sessions.delete(oldest);
  }

  #endSessionsOf(name: string): void {
    for (const [id, { user }] of this.#sessions) if (user === name) this.#sessions.delete(id);
  }
}

function rightsOf({ role, vms }: Rights): { role: Role; vms?: string[] } {
  return vms === undefined ? { role } : { role, vms: [...vms] };
}

function tooOften(what: string): WorldError {
  return new WorldError('limit-reached', {
    wanted: 'fewer attempts',
    found: `too many ${what}`,
    next: 'Wait a minute, then try again.',
  });
}

function full(what: string, limit: number): WorldError {
  return new WorldError('limit-reached', {
    wanted: `at most ${limit} ${what}`,
    found: 'one more',
    next: `Remove ${what} that nobody uses.`,
  });
}

function unknown(what: string, command: string): WorldError {
  return new WorldError('not-found', { wanted: what, found: 'none', next: `See \`${command}\`.` });
}
