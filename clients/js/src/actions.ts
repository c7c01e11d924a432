// Actions that wait for their reply, by tag.

import { MyxiError } from "./error.js";
import { connectionLost, fromPayload } from "./errors.js";
import { TIMER_MAX } from "./liveness.js";
import type { Message, Reply } from "./types.js";

interface Pending {
  sent: boolean;
  resolve(reply: Reply): void;
  reject(error: unknown): void;
  /** Stops the timer and listens to the signal no more. */
  settled(): void;
}

export class Actions {
  #pending = new Map<string, Pending>();

  get size(): number {
    return this.#pending.size;
  }

  /** `drop` is called when nobody waits any more: what was not sent need not be. */
  add(
    tag: string,
    sent: boolean,
    { timeout, signal, drop }: { timeout: number; signal?: AbortSignal | undefined; drop: () => void },
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const giveUp = (error: unknown) => {
        drop();
        this.#take(tag)?.reject(error);
      };
      const late = () => giveUp(timedOut(pending.sent, timeout));
      const timer = setTimeout(late, Math.min(timeout, TIMER_MAX));
      const aborted = () => giveUp(signal?.reason);
      signal?.addEventListener("abort", aborted);
      const settled = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
      };
      const pending: Pending = { sent, resolve, reject, settled };
      this.#pending.set(tag, pending);
    });
  }

  sent(tag: string): void {
    const pending = this.#pending.get(tag);
    if (pending) pending.sent = true;
  }

  /** Answers whether somebody waited for it: the first reply of an action. */
  answer(tag: string, message: Message): boolean {
    const pending = this.#take(tag);
    if (message.event === "Error") pending?.reject(fromPayload(message.payload));
    else pending?.resolve(message);
    return !!pending;
  }

  /** Of what was sent nobody knows what became; with `all`, the rest will not be sent. */
  lost(details: object, all: boolean): void {
    for (const [tag, { sent }] of [...this.#pending]) {
      if (sent || all) this.#take(tag)?.reject(connectionLost(sent, details));
    }
  }

  #take(tag: string): Pending | undefined {
    const pending = this.#pending.get(tag);
    this.#pending.delete(tag);
    pending?.settled();
    return pending;
  }
}

function timedOut(sent: boolean, timeout: number): MyxiError {
  return new MyxiError("ActionTimeout", {
    retryable: !sent,
    outcome: sent ? "unknown" : undefined,
    message: sent ? `no reply within ${timeout} ms` : `no connection within ${timeout} ms`,
  });
}
