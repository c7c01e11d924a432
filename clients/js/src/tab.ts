// Where the pages of this tab stood when they were left, for who is loaded next: in `sessionStorage`,
// which each tab has for itself. What one page has no use for, the next may.

import type { UrlSource } from "./types.js";
import { onLeave } from "./wake.js";

/** Keys that are remembered; of more, the last. */
const KEYS_MAX = 2_000;

export class Tab {
  #name: string;
  /** As it was at load, without what was asked for since. */
  #left = new Map<string, unknown>();
  #stop: () => void;

  constructor(url: UrlSource, private readonly positions: () => Iterable<[string, string]>) {
    // A token in the query is nobody's business.
    this.#name = `myxi:${typeof url === "function" ? "" : String(url).split("?")[0]}`;
    // There may be no storage, or none that may be used, or what is there is not ours.
    try {
      this.#left = new Map(JSON.parse(sessionStorage.getItem(this.#name) ?? "[]"));
    } catch {}
    this.#stop = onLeave(() => this.#save());
  }

  /** Where this topic stood, once: from then on the page knows better. */
  take(id: string): string | undefined {
    const position = this.#left.get(id);
    this.#left.delete(id);
    return typeof position === "string" ? position : undefined;
  }

  close(): void {
    this.#stop();
    this.#save();
  }

  #save(): void {
    const all = [...new Map([...this.#left, ...this.positions()])].slice(-KEYS_MAX);
    try {
      sessionStorage.setItem(this.#name, JSON.stringify(all));
    } catch {}
  }
}
