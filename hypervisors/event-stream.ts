/** Delivers events to subscribers in order; a subscriber that is added or removed by a listener takes effect with the next event. */
import type { HypervisorEvent } from './port.ts';

type Listener = (event: HypervisorEvent) => void;

export class EventStream {
  readonly #listeners = new Set<Listener>();

  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  emit(event: HypervisorEvent): void {
    const listeners = [...this.#listeners];
    for (const listener of listeners) listener(event);
  }

  clear(): void {
    this.#listeners.clear();
  }
}
