// Handlers by event name. One that throws is reported and disturbs no other.

import { report } from "./errors.js";

/** Any function: the typed doors are in front of this. */
type Listener = (...given: any[]) => void;

interface Added {
  once: boolean;
  /** Listens to its signal no more. */
  stop(): void;
}

export class Emitter {
  /** Each handler once per event, as with `EventTarget`. */
  #handlers = new Map<string, Map<Listener, Added>>();

  /** Answers whether it is new: the same handler is not added twice. */
  add(event: string, handler: Listener, once: boolean, signal?: AbortSignal): boolean {
    if (typeof handler !== "function") throw new TypeError(`the handler of ${event} is no function`);
    let handlers = this.#handlers.get(event);
    if (signal?.aborted || handlers?.has(handler)) return false;
    if (!handlers) this.#handlers.set(event, (handlers = new Map()));
    const aborted = () => this.remove(event, handler);
    signal?.addEventListener("abort", aborted);
    handlers.set(handler, { once, stop: () => signal?.removeEventListener("abort", aborted) });
    return true;
  }

  /** Without a handler: all of the event. */
  remove(event: string, handler?: Listener): void {
    const handlers = this.#handlers.get(event);
    if (!handlers) return;
    for (const removed of handler ? [handler] : [...handlers.keys()]) {
      handlers.get(removed)?.stop();
      handlers.delete(removed);
    }
    if (!handlers.size) this.#handlers.delete(event);
  }

  /** Whether anybody listens to one of these. */
  hears(...events: string[]): boolean {
    return events.some((event) => this.#handlers.has(event));
  }

  /** Answers whether anybody was there to hear it. */
  emit(event: string, ...given: unknown[]): boolean {
    const handlers = this.#handlers.get(event);
    if (!handlers) return false;
    for (const [handler, { once }] of [...handlers]) {
      // One before it may have removed it.
      if (!handlers.has(handler)) continue;
      if (once) this.remove(event, handler);
      try {
        handler(...given);
      } catch (error) {
        report(error);
      }
    }
    return true;
  }
}
