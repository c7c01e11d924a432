// Who the page is, as it says on every connection: runs the callback, again where nobody could
// decide about it, and warns when something waits for its end in vain.

import { Backoff } from "./backoff.js";
import { MyxiError } from "./error.js";
import { report } from "./errors.js";

/** Between tries on one connection, in ms. */
const RETRY = { initial: 1_000, max: 30_000 };
/** In ms: longer than any authentication takes, shorter than anybody looks for a reason. */
const PATIENCE = 5_000;

/** The connection, as far as authentication needs it. */
export interface Page {
  /** Open, and not authenticated. */
  open(): boolean;
  /** How many subscriptions and actions were asked for and may not go out before. */
  waiting(): [number, number];
  warn(cause: string, ...said: unknown[]): void;
  remove(event: string, handler: () => void): void;
}

export class Authentication {
  #callback: (() => unknown) | undefined;
  /** What the callback has added: it will again, when it runs again. */
  #handlers: [string, () => void][] = [];
  #inCallback = false;
  /** The callback's run that counts, until it is over, with the last error that it may have met. */
  #running: { error?: MyxiError } | undefined;
  #backoff = new Backoff(RETRY);
  #retry: ReturnType<typeof setTimeout> | undefined;
  #patience: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly page: Page) {}

  get wanted(): boolean {
    return !!this.#callback;
  }

  use(callback: () => unknown): void {
    this.#callback = callback;
  }

  /** A handler was added to the connection. */
  added(event: string, handler: () => void): void {
    if (this.#inCallback) this.#handlers.push([event, handler]);
  }

  run(): void {
    this.stop();
    for (const [event, handler] of this.#handlers.splice(0)) this.page.remove(event, handler);
    const run: { error?: MyxiError } = (this.#running = {});
    const over = () => {
      const current = this.#running === run;
      if (current) this.#running = undefined;
      return current;
    };
    this.#inCallback = true;
    const result = attempt(this.#callback);
    this.#inCallback = false;
    const settled = () => over() && run.error && this.#again(run.error);
    result.then(settled, (error) => this.#failed(error, over()));
    this.watch();
  }

  /**
   * The gateway answered an action with an error, and it is not said yet who this is. Answers
   * whether the callback is to run again. `awaited`: by whoever called `action()`.
   */
  refused(error: MyxiError, awaited: boolean): boolean {
    if (!awaited || !this.#running) return this.#again(error);
    // The callback that is under way may be the one that waits: what it makes of it counts.
    this.#running.error = error;
    return false;
  }

  /** Something waits for `isAuthenticated()`, or may. */
  watch(): void {
    if (this.#patience || this.#retry || !this.#pending) return;
    this.#patience = setTimeout(() => {
      this.#patience = undefined;
      if (!this.#pending) return;
      const [topics, actions] = this.page.waiting();
      const waited = `subscriptions (${topics}) and actions (${actions}) have waited ${PATIENCE / 1_000} s for isAuthenticated()`;
      this.page.warn("isAuthenticated", `myxi: ${waited}: call it when the application has said who this is`);
    }, PATIENCE);
  }

  /** It is said who this is. */
  done(): void {
    this.stop();
    this.#backoff.reset();
  }

  /** The connection is lost, or needs it no more. */
  stop(): void {
    clearTimeout(this.#retry);
    clearTimeout(this.#patience);
    this.#retry = this.#patience = this.#running = undefined;
  }

  get #pending(): boolean {
    return this.wanted && this.page.open() && this.page.waiting().some((count) => count > 0);
  }

  /** The callback failed; `current`: on the connection that there is, which still needs it. */
  #failed(error: unknown, current: boolean): void {
    const known = error instanceof MyxiError;
    if (current && known && this.#again(error)) {
      this.page.warn(`authentication ${error.code}`, "myxi: authentication failed, and is tried again:", error);
      return;
    }
    // Whether an unknown error will be the same the next time, only the next time tells.
    if (current && !known) this.#again();
    // With a connection that is lost nothing is: it runs on the next one.
    if (!known || error.code !== "ConnectionLost") report(error);
  }

  /** That it may have happened is no reason not to: it happens on each connection. */
  #again(error?: MyxiError): boolean {
    if (!this.wanted || !this.page.open() || (error && !error.retryable && !error.outcome)) return false;
    clearTimeout(this.#patience);
    this.#patience = undefined;
    const wait = () => Math.max(this.#backoff.next(), Math.min(error?.retryAfterMs ?? 0, RETRY.max));
    this.#retry ??= setTimeout(() => this.run(), wait());
    return true;
  }
}

/** As a promise, also where it throws before there is one. */
async function attempt(callback: (() => unknown) | undefined): Promise<void> {
  await callback?.();
}
