/**
 * Every error code that people or programs can meet, with its meaning. Codes are stable: scripts match on them.
 * Messages carry the particulars (wanted, found, next); this list carries what the code means in general.
 */
export const errorCatalogue = {
  // configuration and command line
  'config-invalid':
    'A configuration file, or a value in it, is not what the program can use. Nothing was changed.',
  'config-changed':
    'The configuration is not the one that a change was made for: somebody changed it meanwhile.',
  'config-busy':
    'Another change of the configuration is under way, on this node or the other one. Nothing was changed.',
  'config-in-doubt':
    'The other node was lost while it was told of a change of the configuration. The change is completed or dropped when it answers.',
  'config-diverged':
    'Both nodes changed the configuration without each other. Nothing is changed until an operator has chosen one.',
  'config-drifted':
    'A file of the applied configuration was changed by hand, and would be overwritten or lost by what was asked.',
  'revision-damaged': 'A stored revision of the configuration is not what vmpair wrote. It is never used.',
  'usage-wrong': 'The command line is not one that the program understands. Nothing was changed.',
  // control sockets
  'control-unreachable': 'The process that should answer on a control socket does not.',
  'control-refused': 'The process understood the request and refused it; the message says why.',
  'already-running': 'Another process of the same kind already does this work.',
  'socket-path-too-long': 'A unix socket path is longer than the operating system allows.',
  'socket-failed': 'The operating system refused a step of making a socket.',
  // supervisor and lab
  'module-unknown': 'No module of this name is configured here.',
  'module-not-running': 'The module process does not run, or did not do in time what it was asked.',
  'lab-unusable': 'The directory holds no lab, or a lab that does not allow this step.',
  // files and disks
  'file-missing': 'A file that must exist does not.',
  'file-not-writable': 'A file exists but may not be written by this user.',
  'file-locked': 'Another process holds the file: a second instance, or a tool on the host.',
  'file-too-small': 'A disk file is smaller than the volume that it should hold.',
  'file-exists': 'A file that is to be created exists already. It was not changed.',
  'file-io':
    'The operating system failed to open, size or lock a file for a reason that has no code of its own.',
  'platform-unsupported':
    'The program needs a system call or a library that this operating system does not have.',
  'metadata-damaged': 'The metadata file has no valid superblock, or is cut short.',
  'metadata-mismatch': 'The metadata file belongs to another cluster, module, node or volume set.',
  'metadata-version': 'The metadata file was written by a format version that this program does not know.',
  'metadata-io': 'Reading or writing the metadata file failed.',
  // sockets, TLS and peers
  'port-in-use': 'A socket address that the program must listen on is taken by another process.',
  'listen-failed': 'A socket address that the program must listen on cannot be used on this host.',
  'peer-unreachable': 'The other node does not answer.',
  'certificate-rejected': 'A TLS certificate is not one of this cluster, is expired, or names another node.',
  'protocol-violation':
    'The other side sent bytes that the protocol does not allow; the connection was closed.',
  // making a cluster
  'join-refused':
    'A server may not join the cluster, or not with this token; the message says why. Nothing was changed on either side.',
  'cluster-unusable':
    'The files of the cluster on this node, or the state of its two nodes, do not allow this step; the message says which.',
  // block devices over NBD
  'nbd-unreachable': 'Nobody answers at the address of a block device, or not in time.',
  'nbd-export-refused':
    'The server does not offer the block device that was asked for, or not now; the message says why.',
  'nbd-connection-lost':
    'The connection to a block device ended; what was not answered may or may not have happened.',
  'nbd-request-failed': 'The server of a block device answered a request with an error.',
  // arbiter
  'arbiter-unreachable': 'The arbiter does not answer.',
  'arbiter-refused': 'The arbiter answered and the record says that this node may not go on.',
  'arbiter-rejected':
    'The arbiter answered that it cannot or may not keep the record: user, rights, space or version; the message says which.',
  'record-damaged':
    'A record at the arbiter (a file of the witness, a key of etcd) is not what vmpair wrote. It is never taken for "no record".',
  'record-restored':
    'A record file of the witness was put back from a copy, and may be older than what the witness last wrote. It is not used.',
  'store-restored':
    'The directory of the witness was restored, copied or moved to another file system, or its identity is damaged. Nothing in it is used.',
  'storage-failed':
    'The witness could not read a record or make one durable. It grants nothing on a guess: it ends, or goes on when there is room.',
  'limit-reached': 'A named limit of the program is reached; the message says which one.',
  // agent
  'agent-unreachable': 'The agent of a node does not answer.',
  'request-invalid': 'A request to the agent is not one that it understands. Nothing was changed.',
  'not-authenticated': 'The agent does not know who asks: no token, a wrong one, or one that has ended.',
  'not-allowed': 'The agent knows who asks, and that role may not do this. Nothing was changed.',
  'not-found': 'What a request names does not exist: a user, a token, a job, a page of the API.',
  'agent-failed': 'The agent met a fault of its own; its log has the details.',
  // hypervisor
  'hypervisor-unavailable': 'The hypervisor, or a program it needs, is not there or does not work.',
  'vm-start-failed': 'The hypervisor could not start the VM.',
  'vm-already-running': 'The VM runs, or may run: it cannot be started a second time.',
  'vm-not-found': 'The hypervisor knows no such VM.',
  'vm-action-failed': 'An action on the VM failed or did not end within its deadline.',
} as const satisfies Record<string, string>;

export type ErrorCode = keyof typeof errorCatalogue;
