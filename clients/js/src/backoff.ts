// How long to wait before the next try: ever longer, and never all clients at once.

import type { ReconnectOptions } from "./types.js";

/** The tries that are left out when the other side asks to come back "later". */
const LATER = 4;

export class Backoff {
  #tries = 0;
  #initial: number;
  #max: number;
  #fixed: number | undefined;

  constructor({ initial = 500, max = 30_000, fixed }: ReconnectOptions = {}) {
    this.#initial = initial;
    this.#max = max;
    this.#fixed = fixed;
  }

  /**
   * The first is spread over the whole of `initial`, as everybody may have been cut off at
   * once. The second has the same bound: a restart is over by then. Each further one doubles
   * it, up to `max`.
   */
  next(): number {
    if (this.#fixed !== undefined) return this.#fixed;
    const tries = this.#tries++;
    const bound = Math.min(this.#max, this.#initial * 2 ** Math.max(0, tries - 1));
    return bound * (tries ? (1 + Math.random()) / 2 : Math.random());
  }

  /** Not at once, whatever has been tried. */
  later(): void {
    this.#tries = Math.max(this.#tries, LATER);
  }

  reset(): void {
    this.#tries = 0;
  }
}
