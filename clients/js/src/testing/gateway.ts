// The gateway, with the application behind it, as a test plays it: takes the connection, allows every
// subscription and keeps what is pushed, unless it is told otherwise. What actions are answered
// is the test's to say.

import { MyxiError } from "../error.js";
import { asObject } from "../errors.js";
import { idOf, keyText } from "../topic.js";
import type { State } from "../types.js";
import { elapse, next, queueMicrotask, settle } from "./clock.js";
import { Log } from "./log.js";
import { type OtherEnd, Socket } from "./socket.js";

type RoutingKey = string | number | bigint | null | undefined;

/** What the client sent; built-in actions aside. */
export interface ReceivedAction {
  action: string;
  payload: any;
}

/** The application's answer to an action; nothing is `Done`. */
export type Answer = { event: string; payload?: unknown } | void;

/** Answers an action of one name; throws a `MyxiError` to have it fail. */
export type ActionHandler = (payload: any) => Answer | PromiseLike<Answer>;

interface Received extends ReceivedAction {
  tag: unknown;
}

interface Topic {
  exchange: string;
  key: string;
  /** As the client wrote it. */
  routing_key: unknown;
}

const PING_INTERVAL_MS = 25_000;
/** As a connection ends that ends by itself. */
const LOST = 1006;

export class Gateway {
  /** Every action that was sent, the oldest first. */
  readonly actions: ReceivedAction[] = [];
  #state: () => State;
  #socket: Socket | undefined;
  #reachable = true;
  #sessions = 0;
  #topics = new Map<string, Topic>();
  /** Without a key: all of the exchange. */
  #denied: { exchange: string; key: string | undefined }[] = [];
  #logs = new Map<string, Log>();
  #handlers = new Map<string, ActionHandler>();
  /** What is not answered yet. */
  #unanswered: Received[] = [];

  /** @internal */
  constructor(state: () => State) {
    this.#state = state;
  }

  /** Answers every action of this name: those that wait, and from now on. */
  handle(action: string, handler: ActionHandler): this {
    settle();
    this.#handlers.set(action, handler);
    const waiting = this.#unanswered.filter((received) => received.action === action);
    this.#unanswered = this.#unanswered.filter((received) => received.action !== action);
    for (const received of waiting) this.#ask(handler, received);
    return this;
  }

  /** Answers the oldest action of this name that has no answer: with an event, or with `Done`. */
  answer(action: string, event?: string, payload: unknown = {}): void {
    const answered = this.#take(action);
    this.#reply(answered, event === undefined ? undefined : { event, payload });
  }

  /** Answers it with an error: `fail("Say", "PermissionDenied")`. */
  fail(action: string, code: string, details: object = {}): void {
    this.#refuse(this.#take(action).tag, code, details);
  }

  /** Pushes an event: whoever is subscribed hears it, or will when the connection is back. */
  deliver(exchange: string, routingKey: RoutingKey, event: string, payload: unknown = {}): void {
    settle();
    const key = text(routingKey);
    const entry = this.#log(exchange).push(key, event, payload);
    if (this.#topics.has(idOf(exchange, key))) this.#pushed(exchange, entry);
  }

  /** The application's word to this client alone. */
  send(event: string, payload: unknown = {}): void {
    this.#connected().says({ event, payload });
  }

  /** Refuses this topic from now on, or every one of the exchange. */
  deny(exchange: string, routingKey?: RoutingKey): void {
    this.#denied.push({ exchange, key: routingKey === undefined ? undefined : text(routingKey) });
  }

  /** Ends a subscription, as the application or a re-check does. */
  unsubscribe(exchange: string, routingKey: RoutingKey): void {
    const socket = this.#connected();
    const topic = this.#topic(exchange, routingKey);
    this.#topics.delete(idOf(exchange, topic.key));
    socket.says(unsubscribed(exchange, topic.routing_key, true));
  }

  /** Says that events of this topic may be missing. */
  gap(exchange: string, routingKey: RoutingKey): void {
    const socket = this.#connected();
    const { routing_key } = this.#topic(exchange, routingKey);
    socket.says({ event: "Gap", payload: { exchange, routing_key, id: this.#log(exchange).id } });
  }

  /** What was pushed is forgotten: a client that missed some of it is told that it is too long ago. */
  forget(): void {
    settle();
    for (const log of this.#logs.values()) log.forget();
  }

  /** The connection is lost, and no other one comes about before `resume`. */
  drop(code = LOST, reason = ""): void {
    const socket = this.#connected();
    this.#reachable = false;
    this.#over();
    socket.ends(code, reason);
  }

  /** The connection comes back, and with it what was missed. */
  resume(): void {
    settle();
    if (this.#state() === "closed") throw new Error("the connection was closed for good and does not come back");
    this.#reachable = true;
    while (this.#state() === "waiting" && next());
  }

  /** Ends the connection for good, as the application does. */
  close(code = 4500, reason = ""): void {
    const socket = this.#connected();
    this.#over();
    socket.ends(code, reason);
  }

  /** Moves time on, in ms, which stands still otherwise, for every fake connection: what waits too long, times out. */
  elapse(ms: number): void {
    elapse(ms);
  }

  /** @internal What the library is given for a WebSocket. */
  socketClass(): new (url: string) => WebSocket {
    const end: OtherEnd = {
      dialled: (socket) => queueMicrotask(() => this.#dialled(socket)),
      said: (socket, said) => queueMicrotask(() => this.#said(socket, said)),
      left: (socket) => this.#socket === socket && this.#over(),
    };
    return class extends Socket {
      constructor(url: string) {
        super(url, end);
      }
    } as unknown as new (url: string) => WebSocket;
  }

  #dialled(socket: Socket): void {
    if (!this.#reachable) return socket.ends(LOST, "");
    this.#socket = socket;
    socket.opened();
    const id = (++this.#sessions).toString(16).padStart(16, "0");
    socket.says({ event: "Welcome", payload: { id, ping_interval_ms: PING_INTERVAL_MS } });
  }

  #said(socket: Socket, said: string): void {
    if (this.#socket !== socket || !socket.isOpen) return;
    const { action, payload = {}, tag } = JSON.parse(said);
    const builtIn = this.#builtIn[action];
    if (builtIn) return builtIn(socket, asObject(payload), tag);
    this.actions.push({ action, payload });
    const received = { action, payload, tag };
    const handler = this.#handlers.get(action);
    if (handler) this.#ask(handler, received);
    else this.#unanswered.push(received);
  }

  #builtIn: Record<string, (socket: Socket, payload: Record<string, any>, tag: unknown) => void> = {
    __proto__: null as never,
    Ping: (socket, _, tag) => {
      const positions: Record<string, string> = {};
      for (const { exchange } of this.#topics.values()) positions[exchange] = this.#log(exchange).id;
      socket.says({ event: "Pong", tag, payload: { time: Math.floor(Date.now() / 1_000), positions } });
    },
    Subscribe: (socket, payload, tag) => this.#subscribe(socket, payload, tag),
    Unsubscribe: (socket, { exchange, ...payload }, tag) => {
      for (const routing_key of keysOf(payload)) {
        this.#topics.delete(idOf(exchange, text(routing_key)));
        socket.says({ ...unsubscribed(exchange, routing_key, false), tag });
      }
    },
  };

  #subscribe(socket: Socket, payload: Record<string, any>, tag: unknown): void {
    const { exchange, after, last } = payload;
    const log = this.#log(exchange);
    const allowed = new Map<string, unknown>();
    for (const routing_key of keysOf(payload)) {
      const key = text(routing_key);
      const id = idOf(exchange, key);
      const refuse = (code: string) => this.#refuse(tag, code, { exchange, routing_key });
      if (this.#isDenied(exchange, key)) refuse("SubscriptionDenied");
      else if (this.#topics.has(id)) refuse("AlreadySubscribed");
      else {
        this.#topics.set(id, { exchange, key, routing_key });
        allowed.set(key, routing_key);
      }
    }
    const keys = new Set(allowed.keys());
    const past = after !== undefined ? log.after(after, keys) : last !== undefined ? log.last(last, keys) : undefined;
    const missed = typeof past === "object" ? past : undefined;
    const recovered = past && (missed ? { recovered: true } : { recovered: false, reason: past });
    for (const routing_key of allowed.values()) {
      const subscribed = { exchange, routing_key, id: log.id, ...recovered };
      socket.says({ event: "Subscribed", tag, payload: subscribed });
    }
    if (!missed || !keys.size) return;
    for (const entry of missed) this.#pushed(exchange, entry);
    socket.says({ event: "Replayed", tag, payload: { exchange, id: log.id, count: missed.length } });
  }

  #ask(handler: ActionHandler, received: Received): void {
    const socket = this.#socket;
    const answered = (answer: Answer) => {
      if (this.#socket === socket) this.#reply(received, answer);
    };
    const failed = (error: unknown) => {
      if (!(error instanceof MyxiError)) throw error;
      const { code, retryable, outcome, details } = error;
      if (this.#socket === socket) this.#refuse(received.tag, code, { retryable, outcome, ...details });
    };
    try {
      const answer = handler(received.payload);
      if (isPromise(answer)) void answer.then(answered, failed);
      else answered(answer);
    } catch (error) {
      failed(error);
    }
  }

  #reply({ tag }: Received, answer: Answer): void {
    if (answer) this.#socket?.says({ event: answer.event, tag, payload: answer.payload ?? {} });
    else if (tag !== undefined) this.#socket?.says({ event: "Done", tag });
  }

  #refuse(tag: unknown, error: string, details: object): void {
    this.#socket?.says({ event: "Error", tag, payload: { error, retryable: false, ...details } });
  }

  #pushed(exchange: string, { key, event, payload, id }: { key: string; event: string; payload: unknown; id: string }): void {
    this.#socket?.says({ event, payload, mq: { e: exchange, rk: key, id } });
  }

  #isDenied(exchange: string, key: string): boolean {
    return this.#denied.some((denied) => denied.exchange === exchange && (denied.key ?? key) === key);
  }

  /** The session has ended, and whatever it knew. */
  #over(): void {
    this.#socket = undefined;
    this.#topics.clear();
    this.#unanswered = [];
  }

  #log(exchange: string): Log {
    let log = this.#logs.get(exchange);
    if (!log) this.#logs.set(exchange, (log = new Log(exchange)));
    return log;
  }

  /** With all that was sent answered. */
  #connected(): Socket {
    settle();
    if (!this.#socket) throw new Error(`there is no connection now: it is ${this.#state()}`);
    return this.#socket;
  }

  #topic(exchange: string, routingKey: RoutingKey): Topic {
    const key = text(routingKey);
    const topic = this.#topics.get(idOf(exchange, key));
    if (!topic) throw new Error(`there is no subscription to ${exchange} ${key}`);
    return topic;
  }

  #take(action: string): Received {
    settle();
    const index = this.#unanswered.findIndex((received) => received.action === action);
    const [taken] = index < 0 ? [] : this.#unanswered.splice(index, 1);
    if (taken) return taken;
    const others = this.#unanswered.map((received) => received.action).join(", ");
    throw new Error(`no action ${action} waits for an answer; there is ${others || "none at all"}`);
  }
}

const nameOf = (exchange: string, key?: string) => JSON.stringify([exchange, key]);

function text(routingKey: unknown): string {
  const key = keyText(routingKey);
  if (key === undefined) throw new TypeError("a routing key is an integer or a string");
  return key;
}

const isPromise = (answer: Answer | PromiseLike<Answer>): answer is PromiseLike<Answer> =>
  typeof answer === "object" && "then" in answer;

const keysOf = ({ routing_key, routing_keys }: Record<string, any>): unknown[] => routing_keys ?? [routing_key ?? null];

const unsubscribed = (exchange: string, routing_key: unknown, auto: boolean) => ({
  event: "Unsubscribed",
  payload: { exchange, exchange_name: exchange, routing_key, auto },
});
