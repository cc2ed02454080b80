/** The disk of a simulated guest: a volume over NBD that is reconnected as QEMU does it, or a plain file for tests. */
import { type FileHandle, open } from 'node:fs/promises';
import type { Clock } from '../../src/base/clock.ts';
import { WorldError } from '../../src/base/errors.ts';
import type { NbdClient } from '../../src/nbd/client.ts';
import { connectNbd } from '../../src/platform/nbd-connection.ts';

/** Methods reject when the guest should see an I/O error. */
export interface GuestDisk {
  readonly sizeBytes: number;
  read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array>;
  write(offsetBytes: number, data: Uint8Array): Promise<void>;
  flush(): Promise<void>;
  close(): void;
}

/** Between two attempts to reach the server again, ms. */
const reconnectIntervalMs = 50;

export class FileGuestDisk implements GuestDisk {
  readonly sizeBytes: number;
  readonly #file: FileHandle;

  private constructor(file: FileHandle, sizeBytes: number) {
    this.#file = file;
    this.sizeBytes = sizeBytes;
  }

  static async open(path: string): Promise<FileGuestDisk> {
    const file = await open(path, 'r+');
    return new FileGuestDisk(file, (await file.stat()).size);
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const data = new Uint8Array(lengthBytes);
    await this.#file.read(data, 0, lengthBytes, offsetBytes);
    return data;
  }

  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    await this.#file.write(data, 0, data.length, offsetBytes);
  }

  async flush(): Promise<void> {
    await this.#file.datasync();
  }

  close(): void {
    void this.#file.close();
  }
}

export interface NbdGuestDiskOptions {
  readonly socketPath: string;
  readonly exportName: string;
  readonly clock: Clock;
  /** How long requests wait for a server that went away. */
  readonly reconnectDelayMs: number;
}

export class NbdGuestDisk implements GuestDisk {
  readonly sizeBytes: number;
  readonly #options: NbdGuestDiskOptions;
  #client: NbdClient;

  private constructor(client: NbdClient, sizeBytes: number, options: NbdGuestDiskOptions) {
    this.#client = client;
    this.sizeBytes = sizeBytes;
    this.#options = options;
  }

  /** Errors: those of `connectNbd`. */
  static async connect(options: NbdGuestDiskOptions): Promise<NbdGuestDisk> {
    const client = await dial(options);
    const { sizeBytes } = await client.negotiated;
    return new NbdGuestDisk(client, sizeBytes, options);
  }

  read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return this.#request((client) => client.read(offsetBytes, lengthBytes));
  }

  write(offsetBytes: number, data: Uint8Array): Promise<void> {
    return this.#request((client) => client.write(offsetBytes, data));
  }

  flush(): Promise<void> {
    return this.#request((client) => client.flush());
  }

  close(): void {
    void this.#client.disconnect();
  }

  /** What was not answered may or may not have happened: it is done again, as nothing else was written meanwhile. */
  async #request<Value>(issue: (client: NbdClient) => Promise<Value>): Promise<Value> {
    const { clock, reconnectDelayMs } = this.#options;
    const endMs = clock.nowMs() + reconnectDelayMs;
    for (;;) {
      try {
        return await issue(this.#client);
      } catch (error) {
        if (!isOutage(error) || clock.nowMs() >= endMs) throw error;
      }
      await new Promise<void>((resolve) => void clock.after(reconnectIntervalMs, resolve));
      await dial(this.#options).then(
        (client) => {
          this.#client = client;
        },
        () => {},
      );
    }
  }
}

function dial({ socketPath, exportName, clock }: NbdGuestDiskOptions): Promise<NbdClient> {
  return connectNbd({ path: socketPath }, exportName, { clock });
}

function isOutage(error: unknown): boolean {
  return (
    error instanceof WorldError && (error.code === 'nbd-connection-lost' || error.code === 'nbd-unreachable')
  );
}
