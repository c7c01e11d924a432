// Messages that wait for the connection, bounded in number and size.

import { busy } from "./errors.js";

/** In characters; also what may wait inside a connection that does not move, in bytes. */
export const SIZE_MAX = 1 << 20;

interface Waiting {
  text: string;
  tag: string | undefined;
}

export class Queue {
  #waiting: Waiting[] = [];
  #size = 0;

  constructor(private readonly max: number) {}

  get length(): number {
    return this.#waiting.length;
  }

  push(text: string, tag?: string): void {
    if (this.#waiting.length >= this.max || this.#size + text.length > SIZE_MAX) {
      throw busy(`${this.#waiting.length} messages wait for the connection already`);
    }
    this.#waiting.push({ text, tag });
    this.#size += text.length;
  }

  /** The oldest. */
  shift(): Waiting | undefined {
    const first = this.#waiting.shift();
    this.#size -= first?.text.length ?? 0;
    return first;
  }

  remove(tag: string): void {
    this.#waiting = this.#waiting.filter((waiting) => waiting.tag !== tag);
    this.#size = this.#waiting.reduce((size, { text }) => size + text.length, 0);
  }

  clear(): void {
    this.#waiting = [];
    this.#size = 0;
  }
}
