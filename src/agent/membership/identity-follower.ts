/**
 * The identity of this node as its files hold it, for a process that serves and dials for a long time: looked at again from time to
 * time and by request. Files that are wrong, or half copied by hand, leave the identity of before in force.
 */
import { WorldError } from '../../base/errors.ts';
import type { TlsIdentity } from '../../platform/tls.ts';

export interface IdentityFollowerPorts {
  /** Reads the files. Throws `WorldError`. */
  read(): TlsIdentity;
  /** From now on it is this one. */
  use(identity: TlsIdentity): void;
  /** The files cannot be used; told once for each reason. */
  refused(problem: WorldError): void;
}

function isSame(left: TlsIdentity, right: TlsIdentity): boolean {
  return (
    left.certificatePem === right.certificatePem &&
    left.keyPem === right.keyPem &&
    left.authorities.map(String).join() === right.authorities.map(String).join() &&
    [...left.revokedKeys].join() === [...right.revokedKeys].join()
  );
}

export class IdentityFollower {
  readonly #ports: IdentityFollowerPorts;
  #current: TlsIdentity;
  #problem: string | undefined;

  constructor(first: TlsIdentity, ports: IdentityFollowerPorts) {
    this.#current = first;
    this.#ports = ports;
  }

  get current(): TlsIdentity {
    return this.#current;
  }

  look(): void {
    let next: TlsIdentity;
    try {
      next = this.#ports.read();
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      if (error.message !== this.#problem) this.#ports.refused(error);
      this.#problem = error.message;
      return;
    }
    this.#problem = undefined;
    if (isSame(this.#current, next)) return;
    this.#current = next;
    this.#ports.use(next);
  }
}
