/**
 * The agent of one node: API, jobs, timeline and audit. It is never in the path of data and never needed for a failover:
 * modules and supervisor do not notice whether it lives.
 *
 * Invariants: one agent per state directory (file lock, dropped by the kernel with the process); what a killed agent left
 * behind is cleaned up by the next one; it asks and forwards, and decides nothing about data or VMs.
 */
import { randomBytes, X509Certificate } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { WorldError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { NodeConfig } from '../config/node-config.ts';
import { describeParty } from '../platform/certificate-identity.ts';
import { unfinishedPattern } from '../platform/durable-file.ts';
import { type ExclusiveLock, takeExclusiveLock } from '../platform/exclusive-lock.ts';
import type { TlsIdentity } from '../platform/tls.ts';
import { Access } from './access/access.ts';
import { accessFile } from './access/access-store.ts';
import { allRoutes } from './api/all-routes.ts';
import type { ApiContext } from './api/context.ts';
import { ApiServer } from './api/server.ts';
import { PeerAgent } from './follow/peer-agent.ts';
import type { Job } from './jobs/job.ts';
import { Jobs } from './jobs/jobs.ts';
import { AuditLog } from './journal/audit-log.ts';
import { EventJournal } from './journal/event-journal.ts';
import { identityOfNode, Membership } from './membership/membership.ts';
import { AgentMetrics } from './metrics.ts';
import { ModuleCalls } from './module-calls.ts';
import { NodeWatch } from './node-watch.ts';
import { RecordLog } from './store/record-log.ts';
import { clusterView, type ClusterView } from './view/cluster-view.ts';
import type { NodeReport } from './view/reports.ts';

/** About 30,000 events each. */
const journalFile = { name: 'events.ndjson', fileBytesMax: 8 * 1024 * 1024, filesMax: 4 };
/** Kept longer than the timeline. */
const auditFile = { name: 'audit.ndjson', fileBytesMax: 8 * 1024 * 1024, filesMax: 8 };
/** Jobs that the other agent is told of. */
const jobsReported = 20;
const privateDirectoryMode = 0o700;
const accessFileName = 'access.json';
const jobsFileName = 'jobs.json';
/** Files that are written anew as a whole. */
const replacedFiles = [accessFileName, jobsFileName];

export interface AgentOptions {
  readonly config: NodeConfig;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #membership: Membership;
  readonly #lock: ExclusiveLock;
  readonly #logs: readonly RecordLog[];
  readonly #journal: EventJournal;
  readonly #jobs: Jobs;
  readonly #watch: NodeWatch;
  readonly #peer: PeerAgent;
  readonly #instance = randomBytes(16).toString('hex');
  readonly #startedAt = new Date().toISOString();
  #server: ApiServer | undefined;
  #closing: Promise<void> | undefined;

  /** Takes the state directory, listens, and follows. Throws `WorldError`; then nothing is left behind. */
  static async start(options: AgentOptions): Promise<Agent> {
    const { config, log } = options;
    const identity = identityOfNode(config);
    checkOwnCertificate(identity, config);
    makeDirectory(config.stateDir);
    makeDirectory(dirname(config.agent.socket));
    const lock = takeExclusiveLock(join(config.stateDir, 'agent.lock'), `agent of ${config.stateDir}`);
    try {
      removeUnfinished(config.stateDir);
      const failed = (name: string) => (error: Error) =>
        log.error('record-not-kept', { name, because: error.message });
      const directory = config.stateDir;
      const events = new RecordLog({ directory, ...journalFile, failed: failed('event') });
      const audits = new RecordLog({ directory, ...auditFile, failed: failed('audit') });
      const journal = await EventJournal.open(events, config.node, wallTime);
      const audit = new AuditLog(audits, config.node, wallTime);
      const access = await Access.open(accessFile(join(directory, accessFileName)), options.clock, wallTime);
      const jobs = await Jobs.open({
        file: join(directory, jobsFileName),
        node: config.node,
        wallTime,
        log,
        changed: (job) => journal.add(jobEvent(job)),
        freshStatus: async (module) => self.#watch.follower(module)?.fresh(),
      });
      const self = new Agent(options, identity, lock, [events, audits], journal, jobs);
      await self.#begin(access, audit);
      return self;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  private constructor(
    options: AgentOptions,
    identity: TlsIdentity,
    lock: ExclusiveLock,
    logs: readonly RecordLog[],
    journal: EventJournal,
    jobs: Jobs,
  ) {
    this.#options = options;
    this.#lock = lock;
    this.#logs = logs;
    this.#journal = journal;
    this.#jobs = jobs;
    const { config, clock, log } = options;
    this.#membership = new Membership(identity, {
      config,
      clock,
      wallMs: () => Date.now(),
      event: (severity, rule, because) => journal.add({ kind: 'certificate', to: severity, rule, because }),
      use: (next) => this.#server?.useIdentity(next),
    });
    this.#watch = new NodeWatch({ config, clock, log, journal, changed: (status) => jobs.observe(status) });
    this.#peer = new PeerAgent({
      identity: () => this.#membership.identity,
      where: () => this.#watch.otherNode,
      clock,
      turned: (answers, because) =>
        journal.add({
          kind: 'peer-agent',
          to: answers ? 'answers' : 'silent',
          because: answers
            ? `the agent of ${this.#peer.node} answers`
            : `the agent of ${this.#peer.node} does not answer: ${because}`,
        }),
    });
  }

  get journal(): EventJournal {
    return this.#journal;
  }

  /** Ports that it listens on, in the order of the configuration. */
  get ports(): readonly number[] {
    return this.#server?.ports ?? [];
  }

  view(): ClusterView {
    const { node, report, answers, heardAgoMs, problem } = this.#peer;
    return clusterView({
      clusterId: this.#membership.identity.self.clusterId,
      at: wallTime(),
      own: this.report(),
      peer:
        node === undefined
          ? undefined
          : { node, report, answers, heardAgoMs, because: problem ?? 'it answers' },
    });
  }

  /** Of this node. */
  report(): NodeReport {
    return {
      ...this.#watch.report(),
      version: this.#options.version,
      agent: { pid: process.pid, instance: this.#instance, startedAt: this.#startedAt },
      jobs: this.#jobs.list().slice(0, jobsReported),
    };
  }

  /** Ends the agent; modules and supervisor do not notice. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #begin(access: Access, audit: AuditLog): Promise<void> {
    const { config, clock, log, version } = this.#options;
    const calls = new ModuleCalls({
      node: config.node,
      watch: this.#watch,
      peer: this.#peer,
      jobs: this.#jobs,
      journal: this.#journal,
      supervisorSocket: config.supervisor.controlSocket,
      primaryOf: (module) => this.view().modules.find((each) => each.module === module)?.primary,
    });
    const metrics = new AgentMetrics({
      report: () => this.report(),
      peerAnswers: () => (this.#peer.node === undefined ? undefined : this.#peer.answers),
      certificates: () => certificatesOf(this.#membership.identity),
      wallMs: () => Date.now(),
    });
    const context: ApiContext = {
      node: config.node,
      version,
      view: () => this.view(),
      report: () => this.report(),
      peerReport: () => this.#peer.report,
      calls,
      jobs: this.#jobs,
      journal: this.#journal,
      audit,
      access,
      metrics,
      membership: this.#membership,
    };
    this.#server = await ApiServer.start({
      routes: allRoutes(context),
      identity: this.#membership.identity,
      listen: config.agent.listen,
      socket: config.agent.socket,
      access,
      audit,
      clock,
      log,
      answered: (route, status, tookMs) => metrics.answered(route, status, tookMs),
    });
    this.#journal.add({ kind: 'agent', because: `the agent was started (version ${version})` });
    this.#watch.begin();
    this.#peer.begin();
    this.#membership.begin();
  }

  async #close(): Promise<void> {
    this.#membership.close();
    this.#watch.close();
    this.#peer.close();
    await this.#server?.close();
    this.#journal.add({ kind: 'agent', because: 'the agent was ended' });
    await this.#jobs.close();
    for (const log of this.#logs) await log.close();
    this.#lock.release();
  }
}

const wallTime = (): string => new Date().toISOString();

function jobEvent({ id, module, action, by, state, because }: Job): Parameters<EventJournal['add']>[0] {
  const said = state === 'running' ? `${by} asked for it` : because;
  return { kind: 'action', module, action, by, to: state, because: `${said} (job ${id})` };
}

function certificatesOf({ certificatePem, authorities }: TlsIdentity): Record<string, X509Certificate> {
  const named = authorities.map(
    (authority, index) => [index === 0 ? 'authority' : `authority-${index + 1}`, authority] as const,
  );
  return { node: new X509Certificate(certificatePem), ...Object.fromEntries(named) };
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: privateDirectoryMode });
  } catch (error) {
    throw new WorldError(
      'file-not-writable',
      {
        wanted: `to make the directory ${path}`,
        found: error instanceof Error ? error.message : String(error),
        next: 'Make it, or name another one in the node configuration.',
      },
      error,
    );
  }
}

/** What a killed agent left half written; modules may have files of such names beside it. */
function removeUnfinished(directory: string): void {
  for (const name of readdirSync(directory)) {
    const isOurs = replacedFiles.some((file) => name.startsWith(`${file}.`));
    if (isOurs && unfinishedPattern.test(name)) rmSync(join(directory, name), { force: true });
  }
}

/** A certificate of something else would only be refused by the other agent, later and in another log. */
function checkOwnCertificate({ self }: TlsIdentity, { node, tls }: NodeConfig): void {
  if (self.role === 'node' && self.name === node) return;
  throw new WorldError('certificate-rejected', {
    wanted: `${tls.cert} to be of node ${node}`,
    found: describeParty(self),
    next: 'correct `tls` in the node configuration, or issue a certificate for this node',
  });
}
