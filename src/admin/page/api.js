// Questions to the gateway: each has a deadline, each failure is told in words, and a poll
// never has two under way.

const TIMEOUT_MS = 5_000;

/** However often it failed, it is asked again after this, or after its usual time if that is longer. */
const PAUSE_MAX_MS = 3_000;

/** A question without the answer that was hoped for; the message is for a person. */
export class Problem extends Error {
  /** @param {number} status of HTTP; 0 where nothing was answered. */
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/**
 * @param {string} path
 * @param {{ query?: Record<string, unknown>, body?: string, timeout?: number, signal?: AbortSignal }} options
 *   `body`: JSON text, and makes it a POST.
 */
export async function ask(path, { query = {}, body, timeout = TIMEOUT_MS, signal } = {}) {
  // Not relative: a page opened as http://user:token@host/ may ask for no URL that inherits these.
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  const abort = new AbortController();
  const giveUp = () => abort.abort();
  const timer = setTimeout(giveUp, timeout);
  signal?.addEventListener("abort", giveUp);
  try {
    const json = { "Content-Type": "application/json" };
    const post = body === undefined ? {} : { method: "POST", body, headers: json };
    const response = await fetch(url, { ...post, cache: "no-store", signal: abort.signal });
    const text = await response.text();
    if (!response.ok) throw new Problem(inWords(response.status, text), response.status);
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof Problem) throw error;
    if (error instanceof SyntaxError) throw new Problem("the answer is not JSON, as if it came from another program");
    if (abort.signal.aborted) throw new Problem(`no answer within ${timeout / 1_000} s`);
    throw new Problem("the connection failed");
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

function inWords(status, text) {
  try {
    const { error } = JSON.parse(text);
    if (typeof error === "string") return error;
  } catch {
    // Not from the gateway itself: a proxy's page.
  }
  return `HTTP status ${status}`;
}

/** Asks one question again and again, for as long as somebody wants to know. */
export class Poll {
  #timer = 0;
  #abort = null;
  #failures = 0;

  /**
   * @param {object} options
   * @param {string} options.path
   * @param {() => number} options.every in ms, after an answer; longer after failures.
   * @param {() => Record<string, unknown>} [options.query]
   * @param {(answer: any) => void} options.show
   * @param {(problem: Problem) => void} options.fail
   * @param {() => boolean} options.wanted where not, the poll rests until it is woken.
   */
  constructor({ path, every, query = () => ({}), show, fail, wanted }) {
    Object.assign(this, { path, every, query, show, fail, wanted });
  }

  /** Goes on, where it rests. */
  wake() {
    if (!this.#timer && !this.#abort) this.#ask();
  }

  /** Asks at once; what is under way is given up. */
  now() {
    this.#abort?.abort();
    this.#abort = null;
    this.#ask();
  }

  get #pause() {
    const every = this.every();
    return Math.max(every, Math.min(every * 2 ** this.#failures, PAUSE_MAX_MS));
  }

  async #ask() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!this.wanted()) return;
    const abort = (this.#abort = new AbortController());
    try {
      const answer = await ask(this.path, { query: this.query(), signal: abort.signal });
      if (this.#abort !== abort) return;
      this.#failures = 0;
      this.show(answer);
    } catch (error) {
      if (this.#abort !== abort) return;
      this.#failures++;
      if (!(error instanceof Problem)) console.error(error);
      this.fail(error instanceof Problem ? error : new Problem(`not understood: ${error.message}`));
    }
    // Whoever was told may have asked anew.
    if (this.#abort !== abort) return;
    this.#abort = null;
    this.#timer = setTimeout(() => this.#ask(), this.#pause);
  }
}
