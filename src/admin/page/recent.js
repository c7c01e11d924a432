// What counters that only grow have gained within the last minute, as far as was watched.

export const SPAN_MS = 60_000;

/** Answers closer to each other than this share a sample: there are never many. */
const APART_MS = 500;

export class Recent {
  #samples = [];

  /** @param {Map<string, number>} counts since the gateway's start */
  add(now, counts) {
    const newest = this.#samples.at(-1);
    if (newest && now - newest.now < APART_MS) newest.counts = counts;
    else this.#samples.push({ now, counts });
    while (now - this.#samples[0].now > SPAN_MS) this.#samples.shift();
  }

  of(name) {
    const count = (sample) => sample?.counts.get(name) ?? 0;
    return Math.max(0, count(this.#samples.at(-1)) - count(this.#samples[0]));
  }

  total() {
    const names = [...(this.#samples.at(-1)?.counts.keys() ?? [])];
    return names.reduce((sum, name) => sum + this.of(name), 0);
  }

  /** The gateway started again: it counts from 0. */
  clear() {
    this.#samples = [];
  }
}
