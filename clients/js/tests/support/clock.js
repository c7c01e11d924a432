// Time that stands still until a test moves it, in place of the timers that the library uses.

export class Clock {
  now = 0;
  #timers = new Map();
  #ids = 0;

  /** For the length of one test. */
  static install(t) {
    const clock = new Clock();
    const { setTimeout, clearTimeout } = globalThis;
    globalThis.setTimeout = (run, ms = 0) => clock.#set(run, ms);
    globalThis.clearTimeout = (id) => clock.#timers.delete(id);
    performance.now = () => clock.now;
    t.after(() => {
      Object.assign(globalThis, { setTimeout, clearTimeout });
      delete performance.now;
    });
    return clock;
  }

  get pending() {
    return this.#timers.size;
  }

  /** Moves on, and runs every timer when it is due. */
  async advance(ms) {
    const until = this.now + ms;
    await settled();
    for (let next; (next = this.#next(until)); ) {
      this.now = Math.max(this.now, next.due);
      this.#timers.delete(next.id);
      next.run();
      await settled();
    }
    this.now = until;
  }

  /** Moves on, but no timer runs: the page was frozen, or the machine asleep. */
  freeze(ms) {
    this.now += ms;
  }

  #set(run, ms) {
    const id = ++this.#ids;
    this.#timers.set(id, { id, run, due: this.now + Math.max(0, ms) });
    return id;
  }

  #next(until) {
    const due = [...this.#timers.values()].filter((timer) => timer.due <= until);
    return due.sort((one, other) => one.due - other.due || one.id - other.id)[0];
  }
}

/** After everything that promises have under way. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));
