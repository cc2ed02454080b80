/**
 * Real etcd for tests: 1 to 3 members as processes on the loopback, with TLS and users where asked for, data in a temporary directory.
 * Set up with the commands of the administrator's guide. Every process is ended by its own handle.
 */
import 'reflect-metadata';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import * as x509 from '@peculiar/x509';
import type { EtcdTls } from '../../src/platform/etcd-connection.ts';
import { findFreePort } from '../../src/platform/free-port.ts';
import { makeTempDirectory, type TempDirectory } from '../temp-directory.ts';
import { until } from '../until.ts';

const host = '127.0.0.1';
const startDeadlineMs = 30_000;
const toolDeadlineMs = 20_000;
const dayMs = 24 * 60 * 60 * 1000;
const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' };
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' };

/** Passwords of the users of a lab with authentication. */
export const labUser = { name: 'vmpair-c1', password: 'correct horse' };
const rootUser = { name: 'root', password: 'root of the lab' };
/** What `labUser` may read and write. */
export const labPrefix = '/vmpair/c1/';

export interface EtcdLabOptions {
  readonly members?: 1 | 3;
  /** `mutual`: clients need a certificate too. */
  readonly tls?: 'off' | 'on' | 'mutual';
  readonly users?: boolean;
}

interface Member {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly metricsUrl: string;
  dataDir: string;
  process: ChildProcess | undefined;
}

function flags(values: Readonly<Record<string, string>>): string[] {
  return Object.entries(values).map(([name, value]) => `--${name}=${value}`);
}

export class EtcdLab {
  readonly temp: TempDirectory;
  readonly members: readonly Member[];
  readonly #options: EtcdLabOptions;
  #token = 'lab';
  #usersMade = false;

  /** Resolves when every member answers and users are set up. */
  static async start(options: EtcdLabOptions = {}): Promise<EtcdLab> {
    const scheme = (options.tls ?? 'off') === 'off' ? 'http' : 'https';
    const members: Member[] = [];
    const temp = makeTempDirectory();
    for (let index = 0; index < (options.members ?? 1); index += 1) {
      const [client, peer, metrics] = await Promise.all([
        findFreePort(host),
        findFreePort(host),
        findFreePort(host),
      ]);
      members.push({
        name: `m${index}`,
        clientUrl: `${scheme}://${host}:${client}`,
        peerUrl: `http://${host}:${peer}`,
        metricsUrl: `http://${host}:${metrics}`,
        dataDir: temp.file(`m${index}`),
        process: undefined,
      });
    }
    const self = new EtcdLab(temp, members, options);
    try {
      if (scheme === 'https') await self.#writeCertificates();
      await self.startAll();
      if (options.users === true) await self.#makeUsers();
    } catch (error) {
      await self.dispose();
      throw error;
    }
    return self;
  }

  private constructor(temp: TempDirectory, members: readonly Member[], options: EtcdLabOptions) {
    this.temp = temp;
    this.members = members;
    this.#options = options;
  }

  get endpoints(): URL[] {
    return this.members.map(({ clientUrl }) => new URL(clientUrl));
  }

  /** Files of the authority, and of the certificate of a module or of the administrator. */
  tlsFiles(owner: 'module' | 'administrator') {
    const [cert, key] = [this.temp.file(`${owner}.pem`), this.temp.file(`${owner}.key`)];
    return { ca: this.temp.file('etcd-ca.pem'), cert, key };
  }

  /** With what a module comes. */
  get credentials() {
    return { tls: this.#tls, user: this.#options.users === true ? labUser : undefined };
  }

  get #tls(): EtcdTls {
    if (!this.#isSecure) return {};
    const { ca, cert, key } = this.tlsFiles('module');
    const own = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
    return { ca: readFileSync(ca, 'utf8'), ...(this.#options.tls === 'mutual' ? own : {}) };
  }

  /** Starts the members that do not run. */
  async startAll(): Promise<void> {
    const missing = [...this.members.keys()].filter((index) => this.members[index]?.process === undefined);
    await Promise.all(missing.map((index) => this.start(index)));
  }

  /** Resolves when the member answers, which needs a majority. */
  async start(index: number): Promise<void> {
    const member = this.#member(index);
    const { name, clientUrl, peerUrl, metricsUrl, dataDir } = member;
    const log = openSync(this.temp.file(`${name}.log`), 'a');
    const options = flags({
      name,
      'data-dir': dataDir,
      'listen-client-urls': clientUrl,
      'advertise-client-urls': clientUrl,
      'listen-peer-urls': peerUrl,
      'initial-advertise-peer-urls': peerUrl,
      'listen-metrics-urls': metricsUrl,
      'initial-cluster': this.#initialCluster(),
      'initial-cluster-token': this.#token,
      // Hashing a password is what a login costs; the weakest is enough for a lab.
      'bcrypt-cost': '4',
      ...this.#serverTls(),
    });
    const child = spawn('etcd', options, { stdio: ['ignore', log, log] });
    closeSync(log);
    member.process = child;
    await until(
      `member ${name} answers`,
      async () => {
        if (child.exitCode !== null)
          throw new Error(readFileSync(this.temp.file(`${name}.log`), 'utf8').slice(-500));
        const { health } = (await (await fetch(`${metricsUrl}/health`)).json()) as { health: string };
        return health === 'true';
      },
      startDeadlineMs,
    );
  }

  /** SIGKILL. */
  async kill(index: number): Promise<void> {
    const child = this.#member(index).process;
    this.#member(index).process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** The member goes on existing and does nothing; the result lets it go on. */
  freeze(index: number): () => void {
    const child = this.#member(index).process;
    child?.kill('SIGSTOP');
    return () => void child?.kill('SIGCONT');
  }

  async killAll(): Promise<void> {
    await Promise.all(this.members.map((_, index) => this.kill(index)));
  }

  /** The data is lost; the same addresses and token, so the cluster has the same id as before. */
  async loseData(): Promise<void> {
    await this.killAll();
    for (const { dataDir } of this.members) rmSync(dataDir, { recursive: true });
    await this.startAll();
    if (this.#options.users === true) await this.#makeUsers();
  }

  /** Saves a snapshot; returns its file. */
  async saveSnapshot(): Promise<string> {
    const file = this.temp.file(`snapshot-${Math.random()}.db`);
    await this.etcdctl(['snapshot', 'save', file]);
    return file;
  }

  /** Replaces the data of every member by the snapshot. `token`: of the new cluster, by default that of the old one. */
  async restoreSnapshot(file: string, token = this.#token): Promise<void> {
    await this.killAll();
    this.#token = token;
    for (const member of this.members) {
      rmSync(member.dataDir, { recursive: true });
      const { name, peerUrl, dataDir } = member;
      const options = flags({
        name,
        'data-dir': dataDir,
        'initial-cluster': this.#initialCluster(),
        'initial-cluster-token': token,
        'initial-advertise-peer-urls': peerUrl,
      });
      await this.etcdctl(['snapshot', 'restore', file, ...options]);
    }
    await this.startAll();
  }

  /** Runs the client of etcd as its administrator; resolves to its output. */
  async etcdctl(args: readonly string[]): Promise<string> {
    const { ca, cert, key } = this.tlsFiles('administrator');
    const endpoint = this.members.find((each) => each.process !== undefined)?.clientUrl;
    const options = flags({
      ...(endpoint === undefined ? {} : { endpoints: endpoint }),
      ...(this.#isSecure ? { cacert: ca, cert, key } : {}),
      ...(this.#usersMade ? { user: `${rootUser.name}:${rootUser.password}` } : {}),
    });
    const { stdout } = await promisify(execFile)('etcdctl', [...options, ...args], {
      timeout: toolDeadlineMs,
      env: { ...process.env, ETCDCTL_API: '3' },
    });
    return stdout;
  }

  async dispose(): Promise<void> {
    await this.killAll();
    this.temp.remove();
  }

  async #makeUsers(): Promise<void> {
    this.#usersMade = false;
    // As in docs/setup.md.
    await this.etcdctl(['user', 'add', `${rootUser.name}:${rootUser.password}`]);
    await this.etcdctl(['user', 'grant-role', 'root', 'root']);
    await this.etcdctl(['role', 'add', labUser.name]);
    await this.etcdctl(['role', 'grant-permission', labUser.name, '--prefix=true', 'readwrite', labPrefix]);
    await this.etcdctl(['user', 'add', `${labUser.name}:${labUser.password}`]);
    await this.etcdctl(['user', 'grant-role', labUser.name, labUser.name]);
    await this.etcdctl(['auth', 'enable']);
    this.#usersMade = true;
  }

  #member(index: number): Member {
    const member = this.members[index];
    if (member === undefined) throw new Error(`no member ${index}`);
    return member;
  }

  get #isSecure(): boolean {
    return (this.#options.tls ?? 'off') !== 'off';
  }

  #serverTls(): Record<string, string> {
    if (!this.#isSecure) return {};
    const own = { 'cert-file': this.temp.file('server.pem'), 'key-file': this.temp.file('server.key') };
    const ofClients = { 'client-cert-auth': 'true', 'trusted-ca-file': this.tlsFiles('module').ca };
    return this.#options.tls === 'mutual' ? { ...own, ...ofClients } : own;
  }

  #initialCluster(): string {
    return this.members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',');
  }

  async #writeCertificates(): Promise<void> {
    const authority = await newAuthority();
    writeFileSync(this.tlsFiles('module').ca, authority.certificate.toString('pem'));
    for (const name of ['server', 'module', 'administrator']) {
      const { certificate, key } = await issue(authority, name);
      writeFileSync(this.temp.file(`${name}.pem`), certificate);
      writeFileSync(this.temp.file(`${name}.key`), key);
    }
  }
}

interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
}

const newKeys = () => webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify']);
const validity = () => ({
  notBefore: new Date(Date.now() - dayMs),
  notAfter: new Date(Date.now() + dayMs),
});

async function newAuthority(): Promise<Authority> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: '01',
      name: 'CN=etcd of a lab',
      ...validity(),
      signingAlgorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      ],
    },
    webcrypto,
  );
  return { certificate, keys };
}

/** For both directions: the JSON gateway of etcd is itself a client of etcd, with the certificate of the server. */
async function issue({ certificate, keys: { privateKey } }: Authority, name: string) {
  const keys = await newKeys();
  const issued = await x509.X509CertificateGenerator.create(
    {
      serialNumber: `0${name.length}`,
      // etcd takes no common name of a client that gives a user and a password.
      subject: name === 'module' ? 'O=vmpair' : `CN=${name}`,
      issuer: certificate.subjectName,
      ...validity(),
      signingAlgorithm,
      publicKey: keys.publicKey,
      signingKey: privateKey,
      extensions: [
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.serverAuth,
          x509.ExtendedKeyUsage.clientAuth,
        ]),
        new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: host }]),
      ],
    },
    webcrypto,
  );
  const key = x509.PemConverter.encode(
    await webcrypto.subtle.exportKey('pkcs8', keys.privateKey),
    'PRIVATE KEY',
  );
  return { certificate: issued.toString('pem'), key };
}
