// One component's interest in a topic: its handlers, its iterations, and whether the topic
// stands. Several may share a topic; what is said on the wire is the business of topics.ts.

import { Emitter } from "./emitter.js";
import { MyxiError } from "./error.js";
import { Iteration } from "./iteration.js";
import type {
  AnyEvents, EventOf, HandlerOf, HandlerOptions, Message, NameOf, SubscribeOptions, SubscriptionHandlers,
} from "./types.js";

const MAX_BUFFER = 1_000;

export class Subscription<Events extends object = AnyEvents> implements AsyncIterable<EventOf<Events>> {
  readonly exchange: string;
  /** The key's text: 1 and "1" are the same subscription. */
  readonly routingKey: string;
  #emitter = new Emitter();
  #iterations = new Set<Iteration<EventOf<Events>>>();
  #ready = new Deferred();
  #stands = false;
  /** Somebody waits for what has not come yet, and will hear of an error. */
  #awaited = false;
  #release: (subscription: Subscription<any>) => void;
  #options: SubscribeOptions;
  #ended: { error: MyxiError | undefined } | undefined;

  /** @internal */
  constructor(
    topic: { exchange: string; key: string },
    options: SubscribeOptions,
    release: (subscription: Subscription<any>) => void,
  ) {
    this.exchange = topic.exchange;
    this.routingKey = topic.key;
    this.#options = options;
    this.#release = release;
    options.signal?.addEventListener("abort", this.unsubscribe);
  }

  /**
   * Resolves with true when the subscription stands; while the connection is away, when it stands
   * again. With false when `unsubscribe()`, its signal, or `disconnect()` has ended it. Rejects
   * with a `MyxiError` when it was refused, or has ended otherwise.
   */
  get ready(): Promise<boolean> {
    if (!this.#stands) this.#awaited = true;
    return this.#ready.promise;
  }

  on<Name extends NameOf<Events, SubscriptionHandlers>>(
    event: Name, handler: HandlerOf<Events, SubscriptionHandlers, Name>, options?: HandlerOptions,
  ): this {
    this.#emitter.add(event, handler as () => void, false, options?.signal);
    return this;
  }

  once<Name extends NameOf<Events, SubscriptionHandlers>>(
    event: Name, handler: HandlerOf<Events, SubscriptionHandlers, Name>, options?: HandlerOptions,
  ): this {
    this.#emitter.add(event, handler as () => void, true, options?.signal);
    return this;
  }

  /** Without a handler: all handlers of the event. */
  off<Name extends NameOf<Events, SubscriptionHandlers>>(
    event: Name, handler?: HandlerOf<Events, SubscriptionHandlers, Name>,
  ): this {
    this.#emitter.remove(event, handler as (() => void) | undefined);
    return this;
  }

  /** Ends this one; others of the same topic stay. Can be passed on as a function. */
  unsubscribe = (): void => {
    if (this.#ended) return;
    this.#release(this);
    this.#end(undefined);
  };

  /** From now on; leaving the loop does not unsubscribe. */
  [Symbol.asyncIterator](): AsyncIterableIterator<EventOf<Events>> {
    const max = this.#options.maxBuffer ?? MAX_BUFFER;
    const overflow = () => new MyxiError("BufferOverflow", {
      message: `${max} events of ${this.exchange} ${this.routingKey} were not read in time`,
      details: { exchange: this.exchange, routing_key: this.routingKey },
    });
    const detach = () => this.#iterations.delete(iteration);
    const iteration = new Iteration<EventOf<Events>>(max, overflow, detach);
    if (!this.#stands) this.#awaited = true;
    if (this.#ended) iteration.end(this.#ended.error);
    else this.#iterations.add(iteration);
    return iteration;
  }

  /** @internal */
  _deliver(message: Message): void {
    // One before it may have ended it.
    if (this.#ended) return;
    this.#emitter.emit(message.event, message.payload, message.tag, message.mq);
    for (const iteration of [...this.#iterations]) iteration.push(message as EventOf<Events>);
  }

  /** @internal */
  _stands(payload?: unknown): void {
    this.#stands = true;
    this.#awaited = false;
    this.#ready.resolve(true);
    if (payload) this.#emitter.emit("Subscribed", payload);
  }

  /** The connection is lost. @internal */
  _fell(): void {
    if (this.#ended) return;
    this.#stands = false;
    this.#ready = new Deferred();
  }

  /**
   * Refused, or ended by the other side; `event` and `payload` are what it said. Without an error,
   * by the page's own doing. `unheard` is called when nobody takes notice. @internal
   */
  _end(error: MyxiError | undefined, event?: string, payload?: unknown, unheard?: () => void): void {
    if (this.#ended) return;
    const iterated = this.#iterations.size > 0;
    this.#end(error);
    const heard = event !== undefined && this.#emitter.emit(event, payload);
    // Whoever has only just been given it may still ask.
    if (unheard && !iterated && !heard && !this.#awaited) setTimeout(() => this.#awaited || unheard());
  }

  #end(error: MyxiError | undefined): void {
    this.#ended = { error };
    this.#stands = false;
    this.#options.signal?.removeEventListener("abort", this.unsubscribe);
    this.#ready.settle(error);
    // Who asks from now on hears of the end, also where it had stood.
    this.#ready = new Deferred();
    this.#ready.settle(error);
    for (const iteration of [...this.#iterations]) iteration.end(error);
  }
}

/** A promise that need not be awaited: nobody is told of an unhandled rejection. */
class Deferred {
  resolve!: (stands: boolean) => void;
  reject!: (error: unknown) => void;
  readonly promise = new Promise<boolean>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });

  constructor() {
    this.promise.catch(() => {});
  }

  /** It does not stand, and will not. */
  settle(error: MyxiError | undefined): void {
    if (error) this.reject(error);
    else this.resolve(false);
  }
}
