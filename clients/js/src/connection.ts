// The connection as a page sees it: what it can ask, and who hears what the gateway says.

import { Actions } from "./actions.js";
import { Authentication } from "./authentication.js";
import { Emitter } from "./emitter.js";
import { asObject, busy, connectionLost, fromPayload } from "./errors.js";
import { Link } from "./link.js";
import { urlFromMeta } from "./meta.js";
import { Queue, SIZE_MAX } from "./queue.js";
import type { Subscription } from "./subscription.js";
import { Tab } from "./tab.js";
import { Topics } from "./topics.js";
import type {
  ActionOptions, AnyEvents, CloseInfo, ConnectionHandlers, ConnectionOptions, HandlerOf, HandlerOptions, Message,
  NameOf, Reply, State, SubscribeOptions, Tag, UrlSource,
} from "./types.js";
import { Warnings } from "./warnings.js";

/** Begins the tags that the library makes; a user's own must not look so. */
const OWN_TAG = "myxi:";
const PING_TAG = `${OWN_TAG}ping`;
/** Actions that wait for their reply at the same time. */
const MAX_ACTIONS = 1_000;
/** The library's own events: no message of the gateway passes for one of them. */
const OWN_EVENT = /^(state|Socket(Connected|Authenticated|Disconnected|Closed|MessageReceived))$/;

export class Connection<Events extends object = AnyEvents> {
  #state: State = "connecting";
  #id: string | undefined;
  #options: ConnectionOptions;
  #emitter = new Emitter();
  #actions = new Actions();
  #queue: Queue;
  #topics: Topics;
  #link: Link;
  #authentication: Authentication;
  #tab: Tab | undefined;
  #warnings = new Warnings();
  #tags = 0;
  #byUser = false;
  /** How the connection ended, until `SocketDisconnected` has told it. */
  #untold: CloseInfo | undefined;

  /** Connects at once. Throws for a URL that is none. A function is asked before each attempt. */
  constructor(url: UrlSource, options: ConnectionOptions = {}) {
    this.#options = options;
    this.#queue = new Queue(options.maxQueue ?? 256);
    const warn = (cause: string, ...said: unknown[]) => this.#warnings.warn(cause, ...said);
    this.#authentication = new Authentication({
      open: () => this.#state === "open",
      waiting: () => [this.#topics.waiting, this.#queue.length],
      warn,
      remove: (event, handler) => this.#emitter.remove(event, handler),
    });
    this.#topics = new Topics({
      ready: () => this.#ready,
      send: (action, payload, tag) => this.#link.send(encode(action, payload, tag)),
      newTag: () => this.#newTag(),
      emit: (event, payload) => void this.#emitter.emit(event, payload),
      hears: (...events) => this.#emitter.hears(...events),
      warn,
      before: (id) => this.#tab?.take(id),
    });
    this.#link = new Link(url, options, encode("Ping", undefined, PING_TAG), {
      connecting: () => this.#become("connecting"),
      open: () => this.#opened(),
      frame: (data) => this.#frame(data),
      down: (close) => this.#down(close),
      noUrl: (error) => warn(`url ${error}`, "myxi: there is no URL to connect to:", error),
    });
    if (options.resume === "session") this.#tab = new Tab(url, () => this.#topics.positions());
  }

  /** To the gateway that `<meta name="myxi-host" content="…">` names: a URL, or `host:port`. */
  static fromMeta<Events extends object = AnyEvents>(options?: ConnectionOptions): Connection<Events> {
    return new Connection<Events>(urlFromMeta(), options);
  }

  /** The last that was connected to; empty while a function has given none. */
  get url(): string {
    return this.#link.url;
  }

  get state(): State {
    return this.#state;
  }

  /** The session's id at the gateway; undefined while there is none. */
  get id(): string | undefined {
    return this.#id;
  }

  /** By `exchange::key`; where several share a topic, the oldest. */
  get subscriptions(): Record<string, Subscription<any>> {
    return this.#topics.all();
  }

  on<Name extends NameOf<Events, ConnectionHandlers>>(
    event: Name, handler: HandlerOf<Events, ConnectionHandlers, Name>, options?: HandlerOptions,
  ): this {
    return this.#add(event, handler as () => void, false, options?.signal);
  }

  once<Name extends NameOf<Events, ConnectionHandlers>>(
    event: Name, handler: HandlerOf<Events, ConnectionHandlers, Name>, options?: HandlerOptions,
  ): this {
    return this.#add(event, handler as () => void, true, options?.signal);
  }

  /** Without a handler: all handlers of the event. */
  off<Name extends NameOf<Events, ConnectionHandlers>>(
    event: Name, handler?: HandlerOf<Events, ConnectionHandlers, Name>,
  ): this {
    this.#emitter.remove(event, handler as (() => void) | undefined);
    return this;
  }

  /** Hears every message of the gateway. */
  addMessageHandler(handler: (message: Message) => void): this {
    return this.#add("SocketMessageReceived", handler as () => void, false);
  }

  removeMessageHandler(handler: (message: Message) => void): this {
    this.#emitter.remove("SocketMessageReceived", handler as () => void);
    return this;
  }

  /**
   * `callback` runs on every connection, as soon as it is open; what was asked for before
   * waits until `isAuthenticated()`. Where that could not be decided (the application was away),
   * it runs again, ever later. Handlers that it adds before its first `await` are not doubled.
   */
  authentication(callback: () => unknown): this {
    this.#authentication.use(callback);
    if (this.#state === "open") this.#authentication.run();
    return this;
  }

  /** Says (it does not ask, see `state`) that this connection is authenticated now. */
  isAuthenticated(): boolean {
    if (this.#state === "open") {
      this.#authentication.done();
      this.#become("authenticated");
      this.#emitter.emit("SocketAuthenticated");
      this.#flush();
    }
    return this.state === "authenticated";
  }

  /** Without a reply to wait for. Throws a `MyxiError` where it can neither be sent nor wait. */
  sendAction(action: string, payload?: unknown, tag?: Tag): void {
    if (typeof tag === "string" && tag.startsWith(OWN_TAG)) {
      throw new TypeError(`tags that begin with ${OWN_TAG} are the library's own`);
    }
    this.#transmit(encode(action, payload, tag));
  }

  /** Resolves with the first reply, or `Done`; rejects with a `MyxiError`. */
  async action<Payload = any>(
    action: string, payload?: unknown, options: ActionOptions = {},
  ): Promise<Reply<Payload>> {
    const { timeout = this.#options.actionTimeout ?? 15_000, signal } = options;
    signal?.throwIfAborted();
    if (this.#actions.size >= MAX_ACTIONS) throw busy(`${MAX_ACTIONS} actions wait for their reply already`);
    const tag = this.#newTag();
    const sent = this.#transmit(encode(action, payload, tag), tag);
    return this.#actions.add(tag, sent, { timeout, signal, drop: () => this.#queue.remove(tag) });
  }

  subscribe<TopicEvents extends object = AnyEvents>(
    exchange: string, routingKey?: string | number | bigint | null, options: SubscribeOptions = {},
  ): Subscription<TopicEvents> {
    const subscription = this.#topics.add(exchange, routingKey, options);
    this.#authentication.watch();
    return subscription;
  }

  /** For good: `state` is `closed` at once. */
  disconnect(): void {
    this.#byUser = true;
    this.#link.close();
  }

  /** What was asked for may go out: nothing needs to be said first. */
  get #ready(): boolean {
    return this.#link.writable && (this.#state === "authenticated" || !this.#authentication.wanted);
  }

  #newTag(): string {
    return OWN_TAG + ++this.#tags;
  }

  #add(event: string, handler: () => void, once: boolean, signal?: AbortSignal): this {
    const added = this.#emitter.add(event, handler, once, signal);
    if (added) this.#authentication.added(event, handler);
    return this;
  }

  #become(state: State): void {
    const previous = this.#state;
    if (state === previous) return;
    this.#state = state;
    this.#emitter.emit("state", state, previous);
  }

  #opened(): void {
    this.#become("open");
    if (this.#state === "open") this.#emitter.emit("SocketConnected");
    // A handler may have closed it, or be done with authentication.
    if (this.#state !== "open") return;
    if (this.#authentication.wanted) this.#authentication.run();
    else this.#flush();
  }

  /** Sends what was asked for before, if it may go out. */
  #flush(): void {
    this.#topics.flush();
    while (this.#ready) {
      const waiting = this.#queue.shift();
      if (!waiting) break;
      this.#link.send(waiting.text);
      if (waiting.tag) this.#actions.sent(waiting.tag);
    }
  }

  /** Sends or queues; answers whether it was sent. */
  #transmit(text: string, tag?: string): boolean {
    if (this.#state === "closed") throw connectionLost(false);
    this.#flush();
    if (!this.#link.writable) this.#queue.push(text, tag);
    else if (this.#link.unsent > SIZE_MAX) throw busy("what was sent before has not left yet");
    else this.#link.send(text);
    return this.#link.writable;
  }

  #frame(data: unknown): void {
    let message: Message | undefined;
    try {
      message = JSON.parse(String(data));
    } catch {}
    if (typeof message?.event === "string") {
      this.#message(message);
      if (message.mq) this.#topics.heard(message.mq);
    } else this.#warnings.warn("frame", "myxi: what the gateway sent is no message of its protocol, and is ignored");
  }

  #message(message: Message): void {
    this.#emitter.emit("SocketMessageReceived", message);
    const { event, payload, tag, mq } = message;
    if (this.#state === "closed") return;
    if (tag === PING_TAG) return this.#topics.pong(payload);
    if (mq) this.#topics.deliver(message);
    else this.#control(message);
    const own = typeof tag === "string" && tag.startsWith(OWN_TAG);
    const error = event === "Error" && !mq ? fromPayload(payload) : undefined;
    // The first reply is for who waits for it; all else is for who listens.
    if (own && this.#actions.answer(tag, message)) {
      if (error) this.#authentication.refused(error, true);
      return;
    }
    const ofSubscription = own && this.#topics.answer(tag, message);
    if (OWN_EVENT.test(event)) return;
    const heard = this.#emitter.emit(event, payload, tag, mq);
    if (!error || ofSubscription) return;
    const again = this.#authentication.refused(error, false);
    const said = again ? "authentication failed, and is tried again:" : "an error that nobody handles:";
    if (!heard) this.#warnings.warn(`${said}${error.code}`, `myxi: ${said}`, payload);
  }

  /** What the gateway says of the session itself. */
  #control(message: Message): void {
    const { id, ping_interval_ms: interval, after_ms: after } = asObject(message.payload);
    switch (message.event) {
      case "Welcome":
        if (typeof id === "string") this.#id = id;
        if (typeof interval === "number") this.#link.liveness.start(interval);
        break;
      case "Reconnect":
        if (typeof after === "number") this.#link.comeBackAfter(after);
        break;
      case "Gap":
        this.#topics.gap(message);
        break;
      case "Unsubscribed":
        this.#topics.ended(message.payload);
    }
  }

  #down(close: CloseInfo): void {
    if (this.#state === "open" || this.#state === "authenticated") this.#untold = close;
    const closed = this.#link.state === "closed";
    const details = { close_code: close.code, close_reason: close.reason };
    this.#id = undefined;
    this.#authentication.stop();
    // Whoever hears this may close it for good: then all is told before it returns.
    this.#become(closed ? "closed" : "waiting");
    this.#actions.lost(details, closed);
    if (closed) {
      this.#queue.clear();
      this.#topics.close(this.#byUser, details);
      this.#tab?.close();
    } else {
      this.#topics.lost();
    }
    const untold = this.#untold;
    this.#untold = undefined;
    if (untold) this.#emitter.emit("SocketDisconnected", untold);
    if (closed) this.#emitter.emit("SocketClosed", close);
  }
}

function encode(action: string, payload: unknown, tag?: Tag): string {
  return JSON.stringify({ action, tag, payload });
}
