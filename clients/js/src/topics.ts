// What the page is subscribed to, as the gateway knows it: one subscription per topic on the
// wire, however many handles share it, asked for again on every connection.

import { Backoff } from "./backoff.js";
import { MyxiError } from "./error.js";
import { asObject, connectionLost, fromPayload } from "./errors.js";
import { Positions } from "./positions.js";
import { KEYS_MAX, type Request, requestsFor } from "./requests.js";
import { Subscription } from "./subscription.js";
import { type Topic, idOf, keyText } from "./topic.js";
import type { Message, SubscribeOptions } from "./types.js";

/** The longest names that a gateway knows, in characters; a longer one only costs the connection. */
const EXCHANGE_MAX = 127;
const KEY_MAX = 255;
/** Events that may be asked for as the latest. */
const LAST_MAX = 100;
/** Between tries to subscribe, in ms, where the gateway could not ask or not read. */
const RETRY = { initial: 1_000, max: 30_000 };

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
  /** Where this topic stood before the page was loaded again, once. */
  before(id: string): string | undefined;
}

export class Topics {
  #topics = new Map<string, Topic>();
  /** To be asked for. */
  #wanted = new Set<Topic>();
  /** To be asked for when the timer says so. */
  #later = new Set<Topic>();
  /** What was asked for and has not come to its end yet, by tag. */
  #requests = new Map<string, Request>();
  #positions = new Positions();
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
    const { last } = options;
    if (last !== undefined && !(Number.isInteger(last) && last > 0 && last <= LAST_MAX)) {
      throw new TypeError(`the last events are 1 to ${LAST_MAX}`);
    }
    const id = idOf(exchange, key);
    const known = this.#topics.get(id);
    const topic: Topic = known ?? {
      exchange, key, handles: new Set(), status: "idle", stood: false, whole: false, place: undefined,
    };
    const handle = new Subscription(topic, options, () => this.#release(topic, handle));
    if (this.#closed) {
      this.#refuse(handle, this.#closed);
      return handle;
    }
    topic.handles.add(handle);
    if (topic.status === "standing") handle._stands();
    if (last) this.#wantLast(topic, last, handle);
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
    for (const topic of this.#wanted) {
      topic.status = "asked";
      const position = this.wire.before(idOf(topic.exchange, topic.key));
      if (topic.place || !position) continue;
      topic.place = { position };
      topic.stood = true;
    }
    const requests = requestsFor(this.#wanted, this.#keysMax);
    this.#wanted.clear();
    for (const request of requests) {
      const { exchange, asked, place: { position: after, last } } = request;
      const tag = this.wire.newTag();
      this.#requests.set(tag, request);
      this.wire.send("Subscribe", { exchange, routing_keys: [...asked.keys()], after, last }, tag);
    }
  }

  /** Answers whether the tag is one of a `Subscribe` of ours. */
  answer(tag: string, message: Message): boolean {
    const request = this.#requests.get(tag);
    if (!request) return false;
    const { exchange, asked, replays } = request;
    const payload = asObject(message.payload);
    const keyed = "routing_key" in payload;
    if (!keyed && payload["error"] === "TooManySubscriptions" && asked.size > 1) {
      this.#askInHalves(tag, asked);
      return true;
    }
    if (message.event === "Replayed") this.#replayed(request);
    else {
      // Without a key it is about all that are not answered yet.
      const keys = keyed ? [keyText(payload["routing_key"]) ?? ""] : [...asked.keys()];
      for (const key of keys) {
        const topic = asked.get(key);
        asked.delete(key);
        // Nobody wants it any more: `Unsubscribe` is on its way, behind the question.
        if (topic?.handles.size) this.#answered(topic, message, request);
      }
    }
    this.#positions.says(exchange, payload["id"]);
    if (!asked.size && !replays.size) this.#requests.delete(tag);
    return true;
  }

  /** A pushed event. */
  deliver(message: Message): void {
    const { e, rk } = asObject(message.mq);
    this.#deliver(this.#find({ exchange: e, routing_key: rk }), message);
  }

  /** That event was handed to everybody: it will not be asked for again. */
  heard(mq: unknown): void {
    const { e, rk, id } = asObject(mq);
    const topic = this.#find({ exchange: e, routing_key: rk });
    // What the application has this session hear before we stand says nothing of where that will be.
    if (topic?.status === "standing" && topic.place) this.#positions.heard(topic.place, id);
  }

  /** The gateway's own word that events may be missing. */
  gap(message: Message): void {
    const topic = this.#find(message.payload);
    if (topic) topic.whole = false;
    this.#deliver(topic, message);
    const { exchange, id } = asObject(message.payload);
    this.#positions.says(exchange, id);
  }

  /** Where the logs are, as the gateway says with each `Pong`: what is quiet is not left behind. */
  pong(payload: unknown): void {
    const positions = asObject(asObject(payload)["positions"]);
    for (const exchange in positions) this.#positions.says(exchange, positions[exchange]);
  }

  /** Where each topic stands whose exchange has a log. */
  *positions(): Iterable<[string, string]> {
    for (const [id, { place }] of this.#topics) if (place?.position) yield [id, place.position];
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
    this.#positions.lost();
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
    const topics = [...this.#topics.values()];
    for (const topic of topics) this.#forget(topic);
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

  /** The latest events come with the first question for a topic, or not at all. */
  #wantLast(topic: Topic, last: number, handle: Subscription<any>): void {
    const { exchange, key, place, status, stood } = topic;
    if (status === "idle" && !stood) {
      topic.place = { last: Math.max(last, place?.last ?? 0) };
      return;
    }
    const payload = { exchange, routing_key: key, reason: "AlreadySubscribed" };
    queueMicrotask(() => handle._deliver({ event: "NotRecovered", payload }));
  }

  #answered(topic: Topic, message: Message, request: Request): void {
    if (message.event === "Subscribed") return this.#stands(topic, message.payload, request);
    const error = fromPayload(message.payload);
    // The application had subscribed this session before.
    if (error.code === "AlreadySubscribed") return this.#stands(topic, message.payload, request);
    // To subscribe twice does no harm, so an unknown outcome is worth a try. What has stood
    // is not given up because the application stumbled.
    const again = error.retryable || error.outcome || (topic.stood && error.code === "InternalError");
    if (again) this.#askLater(topic, error.retryAfterMs);
    else this.#end(topic, error, "Error", message.payload);
  }

  #stands(topic: Topic, payload: unknown, { place, replays }: Request): void {
    this.#backoff.reset();
    topic.status = "standing";
    const missed = topic.stood;
    topic.stood = true;
    const { recovered, reason, error } = asObject(payload);
    const follows = (topic.whole = recovered === true);
    topic.place = follows ? place : this.#positions.live(topic.exchange);
    if (follows) replays.add(topic);
    for (const handle of [...topic.handles]) handle._stands(payload);
    const asked = place.position ?? place.last;
    // A gateway that cannot replay does not say so.
    if (asked && !follows) this.#tell(topic, "NotRecovered", { reason: reason ?? error ?? "no_log" });
    // The latest events, asked for again, may not reach back to where it stood.
    if (missed && (!follows || place.last)) this.#tell(topic, "Gap", { reconnected: true });
  }

  /** What these had missed has come; what comes from now on is live. */
  #replayed({ exchange, replays, place }: Request): void {
    for (const topic of replays) {
      // Nobody wants it any more.
      if (topic.place !== place) continue;
      topic.place = this.#positions.live(exchange);
      if (topic.whole) this.#tell(topic, "Recovered", {});
    }
    replays.clear();
  }

  /** The library's own word, to the topic and to the connection. */
  #tell(topic: Topic, event: string, more: object): void {
    const payload = { exchange: topic.exchange, routing_key: topic.key, ...more };
    this.#deliver(topic, { event, payload });
    this.wire.emit(event, payload);
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
    topic.place = undefined;
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
