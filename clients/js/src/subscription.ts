// One component's interest in a topic: its handlers, its iterations, and whether the topic
// stands. Several may share a topic; what is said on the wire is the business of topics.ts.

import { Emitter } from "./emitter.js";
import { MyxiError } from "./errors.js";
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
   * Resolves when the subscription stands; while the connection is away, when it stands
   * again. Rejects with a `MyxiError` when it was refused or has ended.
   */
  get ready(): Promise<void> {
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
    this.#end(new MyxiError("Unsubscribed"), true);
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
    this.#ready.resolve();
    if (payload) this.#emitter.emit("Subscribed", payload);
  }

  /** The connection is lost. @internal */
  _fell(): void {
    if (!this.#ended) this.#ready = new Deferred();
  }

  /** Refused, or ended by the other side; `event` and `payload` are what it said. @internal */
  _end(error: MyxiError, clean: boolean, event?: string, payload?: unknown): void {
    if (this.#ended) return;
    this.#end(error, clean);
    if (event) this.#emitter.emit(event, payload);
  }

  #end(error: MyxiError, clean: boolean): void {
    this.#ended = { error: clean ? undefined : error };
    this.#options.signal?.removeEventListener("abort", this.unsubscribe);
    this.#ready.reject(error);
    // Who asks from now on hears of the end, also where it had stood.
    this.#ready = new Deferred();
    this.#ready.reject(error);
    for (const iteration of [...this.#iterations]) iteration.end(this.#ended.error);
  }
}

/** A promise that need not be awaited: nobody is told of an unhandled rejection. */
class Deferred {
  resolve!: () => void;
  reject!: (error: unknown) => void;
  readonly promise = new Promise<void>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });

  constructor() {
    this.promise.catch(() => {});
  }
}
