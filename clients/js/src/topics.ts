// What the page is subscribed to, as the gateway knows it: one subscription per topic on the
// wire, however many handles share it, asked for again on every connection.

import { Backoff } from "./backoff.js";
import { MyxiError, asObject, connectionLost, fromPayload } from "./errors.js";
import { Subscription } from "./subscription.js";
import type { GapPayload, Message, SubscribeOptions } from "./types.js";

/** The longest names that a gateway knows, in characters; a longer one only costs the connection. */
const EXCHANGE_MAX = 127;
const KEY_MAX = 255;
/** Keys in one message: more than a session may hold are refused all together. */
const KEYS_MAX = 500;
/** The same in characters, as JSON: at three bytes each still within 64 KiB. */
const SIZE_MAX = 16_000;
/** Between tries to subscribe, in ms, where the gateway could not ask or not read. */
const RETRY = { initial: 1_000, max: 30_000 };

interface Topic {
  readonly exchange: string;
  readonly key: string;
  readonly handles: Set<Subscription<any>>;
  /** `asked`: on this connection, not answered yet. `idle`: to be asked, now or later. */
  status: "idle" | "asked" | "standing";
  /** It has stood before: what came since may have been missed. */
  stood: boolean;
}

/** The connection, as far as topics need it. */
export interface Wire {
  /** Whether subscriptions may be asked for now. */
  ready(): boolean;
  send(action: string, payload: object, tag?: string): void;
  newTag(): string;
  emit(event: string, payload: unknown): void;
  /** Whether anybody listens there to one of these. */
  hears(...events: string[]): boolean;
  warn(cause: string, ...said: unknown[]): void;
}

export class Topics {
  #topics = new Map<string, Topic>();
  /** To be asked for. */
  #wanted = new Set<Topic>();
  /** To be asked for when the timer says so. */
  #later = new Set<Topic>();
  /** What was asked for and not answered yet: by tag, then by key. */
  #requests = new Map<string, Map<string, Topic>>();
  /** Keys in one message; fewer on a connection that has refused as many. */
  #keysMax = KEYS_MAX;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #backoff = new Backoff(RETRY);
  #closed: MyxiError | undefined;

  constructor(private readonly wire: Wire) {}

  /** How many were not asked for yet. */
  get waiting(): number {
    return this.#wanted.size;
  }

  /** The first handle of each topic, by `exchange::key`. */
  all(): Record<string, Subscription<any>> {
    const all = Object.create(null);
    for (const { exchange, key, handles } of this.#topics.values()) {
      all[`${exchange}::${key}`] = handles.values().next().value;
    }
    return all;
  }

  add(exchange: string, routingKey: unknown, options: SubscribeOptions): Subscription<any> {
    if (typeof exchange !== "string" || !exchange || exchange.length > EXCHANGE_MAX) {
      throw new TypeError(`an exchange is a name of at most ${EXCHANGE_MAX} characters`);
    }
    const key = keyText(routingKey);
    if (key === undefined || key.length > KEY_MAX) {
      throw new TypeError(`a routing key is an integer or a string of at most ${KEY_MAX} characters`);
    }
    const id = idOf(exchange, key);
    const known = this.#topics.get(id);
    const topic: Topic = known ?? { exchange, key, handles: new Set(), status: "idle", stood: false };
    const handle = new Subscription(topic, options, () => this.#release(topic, handle));
    if (this.#closed) {
      this.#refuse(handle, this.#closed);
      return handle;
    }
    topic.handles.add(handle);
    if (topic.status === "standing") handle._stands();
    if (!known) {
      this.#topics.set(id, topic);
      this.#wanted.add(topic);
      // What is asked for in one go is one message.
      queueMicrotask(() => this.flush());
    }
    if (options.signal?.aborted) handle.unsubscribe();
    return handle;
  }

  /** Asks for what is wanted: one message per exchange, unless its keys are very many. */
  flush(): void {
    if (!this.#wanted.size || !this.wire.ready()) return;
    const asks: { exchange: string; size: number; keys: Map<string, Topic> }[] = [];
    const current = new Map<string, (typeof asks)[number]>();
    for (const topic of this.#wanted) {
      const { exchange, key } = topic;
      // A comma goes with it.
      const size = JSON.stringify(key).length + 1;
      let ask = current.get(exchange);
      if (!ask || ask.size + size > SIZE_MAX || ask.keys.size >= this.#keysMax) {
        current.set(exchange, (ask = { exchange, size: 0, keys: new Map() }));
        asks.push(ask);
      }
      ask.size += size;
      ask.keys.set(key, topic);
      topic.status = "asked";
    }
    this.#wanted.clear();
    for (const { exchange, keys } of asks) {
      const tag = this.wire.newTag();
      this.#requests.set(tag, keys);
      this.wire.send("Subscribe", { exchange, routing_keys: [...keys.keys()] }, tag);
    }
  }

  /** Answers whether the tag is one of a `Subscribe` of ours. */
  answer(tag: string, message: Message): boolean {
    const asked = this.#requests.get(tag);
    if (!asked) return false;
    const payload = asObject(message.payload);
    const keyed = "routing_key" in payload;
    if (!keyed && payload["error"] === "TooManySubscriptions" && asked.size > 1) {
      this.#askInHalves(tag, asked);
      return true;
    }
    // Without a key it is about all that are not answered yet.
    const keys = keyed ? [keyText(payload["routing_key"]) ?? ""] : [...asked.keys()];
    for (const key of keys) {
      const topic = asked.get(key);
      asked.delete(key);
      // Nobody wants it any more: `Unsubscribe` is on its way, behind the question.
      if (topic?.handles.size) this.#answered(topic, message);
    }
    if (!asked.size) this.#requests.delete(tag);
    return true;
  }

  /** A pushed event. */
  deliver(message: Message): void {
    const { e, rk } = asObject(message.mq);
    this.#deliver(this.#find({ exchange: e, routing_key: rk }), message);
  }

  /** The gateway's own word that events may be missing. */
  gap(message: Message): void {
    this.#deliver(this.#find(message.payload), message);
  }

  /** `Unsubscribed`, which is only news where nobody here asked for it. */
  ended(payload: unknown): void {
    const topic = this.#find(payload);
    // What was unsubscribed here is known no more; what is asked for anew stands later.
    if (topic?.status === "standing") this.#end(topic, new MyxiError("Unsubscribed"), "Unsubscribed", payload);
  }

  /** The connection is lost: everything will be asked for again. */
  lost(): void {
    this.#forgetRequests();
    for (const topic of this.#topics.values()) {
      const stood = topic.status === "standing";
      topic.status = "idle";
      this.#wanted.add(topic);
      if (stood) for (const handle of topic.handles) handle._fell();
    }
  }

  /** No connection will follow. */
  close(byUser: boolean, details: object): void {
    this.#closed = connectionLost(false, details);
    this.#forgetRequests();
    this.#wanted.clear();
    const topics = [...this.#topics.values()];
    this.#topics.clear();
    for (const { handles } of topics) {
      for (const handle of [...handles]) {
        if (byUser) handle._end(undefined);
        else this.#refuse(handle, this.#closed);
      }
    }
  }

  #forgetRequests(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#later.clear();
    this.#requests.clear();
    this.#keysMax = KEYS_MAX;
  }

  /** The message was too long, of whose keys each for itself may be allowed. */
  #askInHalves(tag: string, asked: Map<string, Topic>): void {
    this.#requests.delete(tag);
    this.#keysMax = Math.min(this.#keysMax, asked.size >> 1);
    for (const topic of asked.values()) {
      if (!topic.handles.size) continue;
      topic.status = "idle";
      this.#wanted.add(topic);
    }
    this.flush();
  }

  #answered(topic: Topic, message: Message): void {
    if (message.event === "Subscribed") return this.#stands(topic, message.payload);
    const error = fromPayload(message.payload);
    // The application had subscribed this session before.
    if (error.code === "AlreadySubscribed") return this.#stands(topic, message.payload);
    // To subscribe twice does no harm, so an unknown outcome is worth a try. What has stood
    // is not given up because the application stumbled.
    const again = error.retryable || error.outcome || (topic.stood && error.code === "InternalError");
    if (again) this.#askLater(topic, error.retryAfterMs);
    else this.#end(topic, error, "Error", message.payload);
  }

  #stands(topic: Topic, payload: unknown): void {
    this.#backoff.reset();
    topic.status = "standing";
    const missed = topic.stood;
    topic.stood = true;
    for (const handle of [...topic.handles]) handle._stands(payload);
    if (!missed) return;
    const gap: GapPayload = { exchange: topic.exchange, routing_key: topic.key, reconnected: true };
    this.#deliver(topic, { event: "Gap", payload: gap });
    this.wire.emit("Gap", gap);
  }

  #askLater(topic: Topic, after = 0): void {
    topic.status = "idle";
    this.#later.add(topic);
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      for (const late of this.#later) this.#wanted.add(late);
      this.#later.clear();
      this.flush();
    }, Math.max(this.#backoff.next(), Math.min(after, RETRY.max)));
  }

  /** A handle has ended; with the last the subscription does. */
  #release(topic: Topic, handle: Subscription<any>): void {
    topic.handles.delete(handle);
    if (topic.handles.size) return;
    this.#forget(topic);
    if (topic.status === "idle") return;
    this.wire.send("Unsubscribe", { exchange: topic.exchange, routing_key: topic.key });
  }

  #end(topic: Topic, error: MyxiError, event: string, payload: unknown): void {
    this.#forget(topic);
    for (const handle of [...topic.handles]) this.#refuse(handle, error, event, payload);
  }

  /** An error that ends it. Where nobody takes notice, whoever writes the page should. */
  #refuse(handle: Subscription<any>, error: MyxiError, event?: string, payload?: unknown): void {
    const { exchange, routingKey } = handle;
    const heard = event ? this.wire.hears(event) : this.wire.hears("state", "SocketDisconnected", "SocketClosed");
    handle._end(error, event, payload, () => {
      if (heard) return;
      const said = `myxi: nobody handles that the subscription to ${exchange} ${routingKey} has ended:`;
      this.wire.warn(`${error.code} ${exchange}`, said, error);
    });
  }

  #forget(topic: Topic): void {
    this.#topics.delete(idOf(topic.exchange, topic.key));
    this.#wanted.delete(topic);
    this.#later.delete(topic);
  }

  #deliver(topic: Topic | undefined, message: Message): void {
    for (const handle of topic ? [...topic.handles] : []) handle._deliver(message);
  }

  #find(payload: unknown): Topic | undefined {
    const { exchange, routing_key } = asObject(payload);
    const key = keyText(routing_key);
    return typeof exchange === "string" && key !== undefined ? this.#topics.get(idOf(exchange, key)) : undefined;
  }
}

/** As on the wire: a key is its text, none is the empty key. Undefined where it is no key. */
function keyText(key: unknown): string | undefined {
  if (key === undefined || key === null) return "";
  if (typeof key === "string") return key;
  if (typeof key === "bigint" || Number.isSafeInteger(key)) return String(key);
  return undefined;
}

/** Unlike `exchange::key` it is never that of another topic, whatever the names hold. */
const idOf = (exchange: string, key: string) => `${exchange.length}:${exchange}${key}`;
