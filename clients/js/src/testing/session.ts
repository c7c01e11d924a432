// One connection's life at the gateway: what is subscribed on it, and the actions that a gateway
// answers by itself.

import { asObject } from "../errors.js";
import { idOf, keyText } from "../topic.js";
import type { Entry, Log } from "./log.js";
import type { Socket } from "./socket.js";

/** What all connections to the gateway share. */
export interface Exchanges {
  log(exchange: string): Log;
  denies(exchange: string, key: string): boolean;
}

interface Topic {
  exchange: string;
  key: string;
  /** As the client wrote it. */
  routing_key: unknown;
}

const PING_INTERVAL_MS = 25_000;

/** Of all sessions there were. */
let sessions = 0;

export class Session {
  #topics = new Map<string, Topic>();

  constructor(readonly socket: Socket, private readonly exchanges: Exchanges) {}

  begins(): void {
    const id = (++sessions).toString(16).padStart(16, "0");
    this.socket.opened();
    this.socket.says({ event: "Welcome", payload: { id, ping_interval_ms: PING_INTERVAL_MS } });
  }

  /** Whether the action is one of the gateway's own, which is answered then. */
  answers(action: string, given: unknown, tag: unknown): boolean {
    const payload = asObject(given) as Record<string, any>;
    const { socket } = this;
    switch (action) {
      case "Ping": {
        const positions: Record<string, string> = {};
        for (const { exchange } of this.#topics.values()) positions[exchange] = this.exchanges.log(exchange).id;
        socket.says({ event: "Pong", tag, payload: { time: Math.floor(Date.now() / 1_000), positions } });
        return true;
      }
      case "Subscribe":
        this.#subscribe(payload, tag);
        return true;
      case "Unsubscribe":
        for (const { exchange, routing_key } of this.#named(payload)) {
          this.#topics.delete(idOf(exchange, text(routing_key)));
          socket.says(unsubscribed(exchange, routing_key, false, tag));
        }
        return true;
      case "ListSubscriptions": {
        const subscriptions: Record<string, unknown[]> = {};
        for (const { exchange, routing_key } of this.#topics.values()) {
          (subscriptions[exchange] ??= []).push(routing_key);
        }
        socket.says({ event: "YourSubscriptions", tag, payload: { subscriptions } });
        return true;
      }
      default:
        return false;
    }
  }

  /** To who is subscribed. */
  pushed(exchange: string, entry: Entry): void {
    if (this.#topics.has(idOf(exchange, entry.key))) this.socket.says(pushed(exchange, entry));
  }

  gap(exchange: string, key: string): void {
    const { routing_key } = this.#topic(exchange, key);
    this.socket.says({ event: "Gap", payload: { exchange, routing_key, id: this.exchanges.log(exchange).id } });
  }

  ends(exchange: string, key: string): void {
    const { routing_key } = this.#topic(exchange, key);
    this.#topics.delete(idOf(exchange, key));
    this.socket.says(unsubscribed(exchange, routing_key, true));
  }

  #subscribe({ exchange, after, last, ...payload }: Record<string, any>, tag: unknown): void {
    const log = this.exchanges.log(exchange);
    const named: unknown[] = payload["routing_keys"] ?? [payload["routing_key"] ?? null];
    const allowed = new Set<string>();
    // In the order asked; of what is subscribed only the log says the rest.
    const answers = named.map((routing_key) => {
      const key = text(routing_key);
      const id = idOf(exchange, key);
      const refused = this.#topics.has(id) ? "AlreadySubscribed" : this.exchanges.denies(exchange, key) && "SubscriptionDenied";
      if (refused) return { event: "Error", tag, payload: { error: refused, retryable: false, exchange, routing_key } };
      this.#topics.set(id, { exchange, key, routing_key });
      allowed.add(key);
      return { event: "Subscribed", tag, payload: { exchange, routing_key, id: log.id } };
    });
    const past = after !== undefined ? log.after(after, allowed) : last !== undefined ? log.last(last, allowed) : undefined;
    const missed = typeof past === "object" ? past : undefined;
    const recovered = past && (missed ? { recovered: true } : { recovered: false, reason: past });
    for (const { event, payload } of answers) if (event === "Subscribed") Object.assign(payload, recovered);
    const replayed = { event: "Replayed", tag, payload: { exchange, id: log.id, count: missed?.length } };
    const follows = missed && allowed.size ? [...missed.map((entry) => pushed(exchange, entry)), replayed] : [];
    this.socket.says(...answers, ...follows);
  }

  /** What an `Unsubscribe` is about: keys, all of an exchange, or all there are. */
  #named({ exchange, routing_key, routing_keys }: Record<string, any>): { exchange: string; routing_key: unknown }[] {
    const named: unknown[] | undefined = routing_keys ?? (routing_key === undefined ? undefined : [routing_key]);
    if (named) return named.map((routing_key) => ({ exchange, routing_key }));
    return [...this.#topics.values()].filter((topic) => topic.exchange === (exchange ?? topic.exchange));
  }

  #topic(exchange: string, key: string): Topic {
    const topic = this.#topics.get(idOf(exchange, key));
    if (topic) return topic;
    const why = "the page has not asked for it, or it was denied, has ended, or waits for isAuthenticated()";
    throw new Error(`there is no subscription to ${exchange} ${key}: ${why}`);
  }
}

/** A key as text, as the log has it. */
export function text(routingKey: unknown): string {
  const key = keyText(routingKey);
  if (key === undefined) throw new TypeError("a routing key is an integer or a string");
  return key;
}

const pushed = (exchange: string, { key, event, payload, id }: Entry) => ({
  event, payload, mq: { e: exchange, rk: key, id },
});

const unsubscribed = (exchange: string, routing_key: unknown, auto: boolean, tag?: unknown) => ({
  event: "Unsubscribed",
  tag,
  payload: { exchange, exchange_name: exchange, routing_key, auto },
});
