/** The sections of `cluster.yaml` that live in files of their own: key of the section -> its schema. */
import { membershipSections } from './membership-keys.ts';
import { clusterConfigSchema, type ClusterSections } from './cluster-config.ts';

const clusterSections = { ...membershipSections } as const satisfies ClusterSections;

/** Schema of `cluster.yaml` with all its sections. */
export const fullClusterSchema = clusterConfigSchema(clusterSections);
