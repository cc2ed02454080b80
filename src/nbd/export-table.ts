/**
 * What a server offers: export names, each with a device that is served now or the reason why it is not. The table is
 * read when a client chooses; a change concerns later clients only, so whoever withdraws an export also ends the
 * sessions that use it (`ServerSession.shutdown`).
 */
import type { BlockDevice } from '../base/block-device.ts';

export interface ServedExport {
  readonly kind: 'served';
  readonly device: BlockDevice;
  readonly readOnly: boolean;
}

export interface WithheldExport {
  readonly kind: 'withheld';
  /** One sentence for the person at the client, without the full stop. */
  readonly because: string;
}

export type ExportState = ServedExport | WithheldExport;

export class ExportTable {
  readonly #exports = new Map<string, ExportState>();

  serve(
    name: string,
    device: BlockDevice,
    options: { readonly readOnly: boolean } = { readOnly: false },
  ): void {
    this.#exports.set(name, { kind: 'served', device, readOnly: options.readOnly });
  }

  withhold(name: string, because: string): void {
    this.#exports.set(name, { kind: 'withheld', because });
  }

  entries(): readonly (readonly [name: string, state: ExportState])[] {
    return [...this.#exports];
  }

  /** The empty name means the only export, if there is just one ("Option types", `NBD_OPT_EXPORT_NAME`). */
  find(name: string): { readonly name: string; readonly state: ExportState } | undefined {
    const state = this.#exports.get(name);
    if (state !== undefined) return { name, state };
    const [only, another] = this.entries();
    if (name !== '' || only === undefined || another !== undefined) return undefined;
    return { name: only[0], state: only[1] };
  }
}
