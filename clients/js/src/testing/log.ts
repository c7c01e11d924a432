// What was pushed to an exchange, as the gateway keeps it for those who come back.

export interface Entry {
  key: string;
  event: string;
  payload: unknown;
  id: string;
}

/** Since this module was loaded: a position of one log is none of another. */
let logs = 0;

export class Log {
  #entries: Entry[] = [];
  /** Entries that are there no more. */
  #forgotten = 0;
  readonly #number = ++logs;

  /** Where it is now. */
  get id(): string {
    return this.#position(this.#forgotten + this.#entries.length);
  }

  push(key: string, event: string, payload: unknown): Entry {
    const id = this.#position(this.#forgotten + this.#entries.length + 1);
    const entry = { key, event, payload, id };
    this.#entries.push(entry);
    return entry;
  }

  forget(): void {
    this.#forgotten += this.#entries.length;
    this.#entries = [];
  }

  /** What came after that position for these keys; why not, where it is not there any more. */
  after(position: unknown, keys: ReadonlySet<string>): Entry[] | "expired" | "unknown" {
    const [log, number] = String(position).split("@").map(Number);
    const seen = (number ?? NaN) - this.#forgotten;
    if (log !== this.#number || !(seen <= this.#entries.length)) return "unknown";
    if (seen < 0) return "expired";
    return this.#entries.slice(seen).filter(({ key }) => keys.has(key));
  }

  /** The latest of each of these keys, in the order in which they came. */
  last(count: number, keys: ReadonlySet<string>): Entry[] {
    const latest = [...keys].flatMap((wanted) => this.#entries.filter(({ key }) => key === wanted).slice(-count));
    return this.#entries.filter((entry) => latest.includes(entry));
  }

  #position(number: number): string {
    return `${this.#number}@${number}`;
  }
}
