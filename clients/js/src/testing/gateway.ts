// The gateway, with the application behind it, as a test plays it: takes the connection, allows every
// subscription and keeps what is pushed, unless it is told otherwise. What actions are answered
// is the test's to say.

import { MyxiError } from "../error.js";
import type { State } from "../types.js";
import { elapse, next, queueMicrotask, run, settle, timerOf } from "./clock.js";
import { Log } from "./log.js";
import { Session, text } from "./session.js";
import { type OtherEnd, Socket } from "./socket.js";

type RoutingKey = string | number | bigint | null | undefined;

/** What the client sent; what a gateway answers by itself aside. */
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

/** As a connection ends that ends by itself. */
const LOST = 1006;
const FOR_GOOD = 4500;
const isForGood = (code: number) => code === 1000 || (code >= FOR_GOOD && code <= 4999);

/** What to do where there is no connection that a test could do something with. */
const ADVICE: Partial<Record<State, string>> = {
  connecting: "await first what the page awaits, a token or its URL",
  waiting: "resume() brings it back",
  closed: "make another",
};

export class Gateway {
  #state: () => State;
  #session: Session | undefined;
  #reachable = true;
  /** The timer of the page's next attempt. */
  #retry = 0;
  #actions: ReceivedAction[] = [];
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

  /** Every action that was sent, the oldest first. */
  get actions(): readonly ReceivedAction[] {
    settle();
    return this.#actions;
  }

  /** Answers every action of this name: those that wait, and from now on. */
  handle(action: string, handler: ActionHandler): this {
    if (typeof handler !== "function") throw new TypeError("an action is handled by a function of its payload");
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
    this.#refuse(this.#take(action), code, details);
  }

  /** Pushes an event: whoever is subscribed hears it, now or when the connection is back. */
  deliver(exchange: string, routingKey: RoutingKey, event: string, payload: unknown = {}): void {
    const name = nameOf(event, "deliver(exchange, routingKey, event, payload)");
    const json = JSON.stringify(payload);
    if (json === undefined) throw new TypeError("a payload is JSON");
    settle();
    const entry = this.#log(exchange).push(text(routingKey), name, JSON.parse(json));
    this.#session?.pushed(exchange, entry);
  }

  /** The application's word to this client alone. */
  send(event: string, payload: unknown = {}): void {
    const name = nameOf(event, "send(event, payload)");
    this.#connected().socket.says({ event: name, payload });
  }

  /** Refuses this topic, or every one of the exchange, where it is asked for from now on. */
  deny(exchange: string, routingKey?: RoutingKey): void {
    this.#denied.push({ exchange, key: routingKey === undefined ? undefined : text(routingKey) });
  }

  /** Ends a subscription, as the application or a re-check does. */
  unsubscribe(exchange: string, routingKey: RoutingKey): void {
    this.#connected().ends(exchange, text(routingKey));
  }

  /** Says that events of this topic may be missing. */
  gap(exchange: string, routingKey: RoutingKey): void {
    this.#connected().gap(exchange, text(routingKey));
  }

  /** What was pushed is forgotten: a client that missed some of it is told that it is too long ago. */
  forget(): void {
    settle();
    for (const log of this.#logs.values()) log.forget();
  }

  /** The connection is lost, and no other one comes about before `resume`. */
  drop(code = LOST, reason = ""): void {
    if (isForGood(code)) throw new RangeError(`after ${code} a page does not come back: that is close()`);
    const { socket } = this.#connected();
    this.#reachable = false;
    this.#ends(socket, code, reason);
  }

  /** The connection comes back, and with it what was missed. */
  resume(): void {
    settle();
    if (this.#state() === "closed") throw new Error("the connection was closed for good and does not come back");
    this.#reachable = true;
    // It does not wait here, and neither does anybody else meanwhile; but for who gives no URL.
    if (!run(this.#retry)) while (this.#reachable && this.#state() === "waiting" && next());
  }

  /** Ends the connection for good, as the application does. */
  close(code = FOR_GOOD, reason = ""): void {
    if (!isForGood(code)) throw new RangeError(`after ${code} a page comes back: that is drop()`);
    this.#ends(this.#connected().socket, code, reason);
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
      // Behind what was said before.
      left: (socket) => queueMicrotask(() => this.#session?.socket === socket && this.#over()),
    };
    return class extends Socket {
      constructor(url: string) {
        super(url, end);
      }
    } as unknown as new (url: string) => WebSocket;
  }

  #dialled(socket: Socket): void {
    if (!this.#reachable) return this.#ends(socket, LOST, "");
    const log = (exchange: string) => this.#log(exchange);
    const denies = (exchange: string, key: string) =>
      this.#denied.some((denied) => denied.exchange === exchange && (denied.key ?? key) === key);
    this.#session = new Session(socket, { log, denies });
    this.#session.begins();
  }

  #said(socket: Socket, said: string): void {
    if (this.#session?.socket !== socket) return;
    const { action, payload = {}, tag } = JSON.parse(said);
    if (this.#session.answers(action, payload, tag)) return;
    this.#actions.push({ action, payload });
    const handler = this.#handlers.get(action);
    const received = { action, payload, tag };
    if (handler) this.#ask(handler, received);
    else this.#unanswered.push(received);
  }

  #ask(handler: ActionHandler, received: Received): void {
    const session = this.#session;
    const answered = (answer: Answer) => {
      if (this.#session === session) this.#reply(received, answer);
    };
    const failed = (error: unknown) => {
      const known = error instanceof MyxiError;
      if (this.#session === session) this.#refuse(received, ...(known ? said(error) : EXCEPTION));
      // It is the test's.
      if (!known) throw error;
    };
    try {
      const answer = handler(received.payload);
      if (isPromise(answer)) void answer.then(answered).then(undefined, failed);
      else answered(answer);
    } catch (error) {
      failed(error);
    }
  }

  #reply({ action, tag }: Received, answer: Answer): void {
    if (answer !== undefined && typeof answer?.event !== "string") {
      throw new TypeError(`${action} is answered with { event, payload }, or with nothing for Done`);
    }
    const socket = this.#session?.socket;
    const payload = answer?.payload === undefined ? {} : answer.payload;
    if (answer) socket?.says({ event: answer.event, tag, payload });
    else if (tag !== undefined) socket?.says({ event: "Done", tag });
  }

  #refuse({ tag }: Received, error: string, details: object): void {
    this.#session?.socket.says({ event: "Error", tag, payload: { error, retryable: false, ...details } });
  }

  #ends(socket: Socket, code: number, reason: string): void {
    this.#over();
    this.#retry = timerOf(() => socket.ends(code, reason));
  }

  /** The session has ended, and whatever it knew. */
  #over(): void {
    this.#session = undefined;
    this.#unanswered = [];
  }

  #log(exchange: string): Log {
    let log = this.#logs.get(exchange);
    if (!log) this.#logs.set(exchange, (log = new Log()));
    return log;
  }

  /** With all that was sent answered. */
  #connected(): Session {
    settle();
    if (this.#session) return this.#session;
    const state = this.#state();
    throw new Error(`there is no connection now, it is ${state}: ${ADVICE[state] ?? "await what the page awaits"}`);
  }

  #take(action: string): Received {
    settle();
    const index = this.#unanswered.findIndex((received) => received.action === action);
    const [taken] = index < 0 ? [] : this.#unanswered.splice(index, 1);
    if (taken) return taken;
    const others = this.#unanswered.map((received) => received.action).join(", ");
    const advice = "what comes later is answered beforehand with handle()";
    throw new Error(`no action ${action} waits for an answer; there is ${others || "none at all"}. ${advice}`);
  }
}

/** As the gateway says it of an exception of the application's. */
const EXCEPTION: [string, object] = ["InternalError", { outcome: "unknown" }];

/** What an error says on the wire. */
function said({ code, message, retryable, outcome, retryAfterMs: retry_after_ms, details }: MyxiError): [string, object] {
  const own = message.startsWith(`${code}: `) ? message.slice(code.length + 2) : undefined;
  return [code, { retryable, outcome, retry_after_ms, message: own, ...details }];
}

function nameOf(event: unknown, use: string): string {
  if (typeof event === "string") return event;
  throw new TypeError(`an event has a name: ${use}`);
}

const isPromise = (answer: Answer | PromiseLike<Answer>): answer is PromiseLike<Answer> =>
  typeof answer === "object" && answer !== null && "then" in answer;
