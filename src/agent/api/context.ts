/** What the routes of the API may use. Each file of routes takes what it needs. */
import type { Access } from '../access/access.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { AuditLog } from '../journal/audit-log.ts';
import type { EventJournal } from '../journal/event-journal.ts';
import type { Membership } from '../membership/membership.ts';
import type { AgentMetrics } from '../metrics.ts';
import type { ModuleCalls } from '../module-calls.ts';
import type { ClusterView } from '../view/cluster-view.ts';
import type { NodeReport } from '../view/reports.ts';

export interface ApiContext {
  readonly node: string;
  readonly version: string;
  /** From memory. */
  readonly view: () => ClusterView;
  /** Of this node. */
  readonly report: () => NodeReport;
  /** Of the other node, as its agent told last. */
  readonly peerReport: () => NodeReport | undefined;
  readonly calls: ModuleCalls;
  readonly jobs: Jobs;
  readonly journal: EventJournal;
  readonly audit: AuditLog;
  readonly access: Access;
  readonly metrics: AgentMetrics;
  readonly membership: Pick<Membership, 'join' | 'rotate'>;
}
