// Whether the other side is still there. Scripts see no ping frames, so the action `Ping` is
// sent when nothing was received for an interval, and must be answered in time. Where much is
// received it is sent now and then all the same: the answer says how far the logs have come that
// have nothing for this client, who would ask for too much after a lost connection.
//
// In background tabs and after sleep timers run late, and what was received meanwhile may
// be handed over after them. So a deadline that comes late decides nothing: it asks again.

/** In ms: timers are late by some, always. */
const LATE = 1_000;
const INTERVAL_MIN = 1_000;
/** In intervals, whatever is received. */
const PING_AT_LEAST = 10;
/** What a timer can wait; more would be no wait at all. */
export const TIMER_MAX = 2 ** 31 - 1;

export class Liveness {
  #interval = 0;
  #heard = 0;
  #pinged = 0;
  #asked = false;
  /** A late deadline was excused; the next is not. */
  #excused = false;
  #due = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly ping: () => void,
    private readonly dead: () => void,
    private readonly timeout: number,
  ) {}

  start(interval: number): void {
    this.#interval = Math.min(Math.max(interval, INTERVAL_MIN), TIMER_MAX);
    this.heard();
    this.#pinged = this.#heard;
    this.#wait(this.#interval);
  }

  heard(): void {
    this.#heard = performance.now();
    this.#asked = this.#excused = false;
  }

  /** Asks now: the machine woke up, or its network changed. */
  probe(): void {
    const running = this.#timer !== undefined && !this.#asked;
    if (running && performance.now() - this.#heard > LATE) this.#ask();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #ask(): void {
    this.#asked = true;
    this.#pinged = performance.now();
    this.#wait(this.timeout);
    this.ping();
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#due = performance.now() + ms;
    this.#timer = setTimeout(() => this.#check(), ms);
  }

  #check(): void {
    const now = performance.now();
    if (!this.#asked) {
      const quiet = now - this.#heard;
      const due = now - this.#pinged >= this.#interval * PING_AT_LEAST;
      if (quiet < this.#interval && !due) this.#wait(this.#interval - quiet);
      else this.#ask();
    } else if (now - this.#due > LATE && !this.#excused) {
      this.#excused = true;
      this.#ask();
    } else {
      this.stop();
      this.dead();
    }
  }
}
