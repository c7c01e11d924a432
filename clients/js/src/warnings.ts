// What whoever writes the page should know, and none of their code hears: on the console, each
// cause once, and not for ever.

const CAUSES_MAX = 20;

export class Warnings {
  #causes = new Set<string>();

  warn(cause: string, ...said: unknown[]): void {
    if (this.#causes.has(cause) || this.#causes.size > CAUSES_MAX) return;
    this.#causes.add(cause);
    if (this.#causes.size <= CAUSES_MAX) console.warn(...said);
    else console.warn("myxi: further warnings of this connection are left out");
  }
}
