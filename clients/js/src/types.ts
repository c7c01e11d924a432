// The shapes that users of the library meet: messages of the wire, options, handlers.

/** Any JSON value that was sent with an action; `undefined` where there was none. */
export type Tag = unknown;

/** Where a pushed event comes from: exchange and routing key. */
export interface Source {
  e: string;
  rk: string;
  /** Where it stands in the exchange's log, where there is one. Says nothing to a page. */
  id?: string;
}

/** One message of the gateway, as it is on the wire. */
export interface Message<Name extends string = string, Payload = any> {
  event: Name;
  payload: Payload;
  tag?: Tag;
  mq?: Source;
}

export type State = "connecting" | "open" | "authenticated" | "waiting" | "closed";

/** Where to connect, or who says it: anew before each attempt, so that a token in it is fresh. */
export type UrlSource = string | URL | (() => string | URL | PromiseLike<string | URL>);

export interface ReconnectOptions {
  /** Upper bound of the first wait, in ms (500). */
  initial?: number;
  /** Upper bound of every wait, in ms (30,000). */
  max?: number;
  /** Wait always this long instead, in ms. */
  fixed?: number;
}

export interface ConnectionOptions {
  /** `false`: a lost connection is closed for good. */
  reconnect?: false | ReconnectOptions;
  /** Used instead of the global one. */
  WebSocket?: new (url: string) => WebSocket;
  /** How long `action()` waits for a reply, in ms (15,000). */
  actionTimeout?: number;
  /** How long an attempt to connect may take, in ms (15,000). */
  connectTimeout?: number;
  /**
   * How long a `Ping` may go unanswered, in ms (15,000). It waits its turn behind every action
   * that the session sent before, those without a reply too (the gateway holds up to
   * `--max-unread-actions`), and each may take `--action-timeout`: give it more than those that
   * wait together may take.
   */
  pongTimeout?: number;
  /** How many messages may wait for the connection (256). */
  maxQueue?: number;
  /**
   * `"session"`: a page that is loaded again goes on where it was, for keys that it subscribes to
   * again. Kept in `sessionStorage`.
   */
  resume?: "session";
}

export interface ActionOptions {
  /** In ms; `actionTimeout` of the connection if not given. */
  timeout?: number;
  signal?: AbortSignal;
}

export interface SubscribeOptions {
  /** Ends this subscription when it is aborted. */
  signal?: AbortSignal;
  /** How many events an iteration may be behind (1,000). */
  maxBuffer?: number;
  /** So many of the latest events come first, at most 100. */
  last?: number;
}

export interface HandlerOptions {
  /** Removes the handler when it is aborted. */
  signal?: AbortSignal;
}

export interface CloseInfo {
  code: number;
  reason: string;
}

export interface TopicPayload {
  exchange: string;
  routing_key: string | number | null;
}

export interface SubscribedPayload extends TopicPayload {
  /** Where the exchange's log is now. */
  id?: string;
  /** Whether what was asked for is replayed; `reason` says why not. */
  recovered?: boolean;
  reason?: string;
}

export interface NotRecoveredPayload extends TopicPayload {
  /**
   * `expired`, `unknown` (the log was made anew), `too_many`, `no_log`, or `AlreadySubscribed`
   * (by the application, or by another subscription of the page).
   */
  reason: string;
}

export interface GapPayload extends TopicPayload {
  /** Whole again from there, at the last of several. */
  id?: string;
  /** The library's own: the connection was lost meanwhile. Not there when the gateway says it. */
  reconnected?: true;
}

export interface UnsubscribedPayload extends TopicPayload {
  /** Ended by the application or a re-check. */
  auto: boolean;
}

/** The payload of an `Error`; `MyxiError` is made from it. */
export interface ErrorPayload {
  error: string;
  retryable: boolean;
  outcome?: "unknown";
  [detail: string]: unknown;
}

export type Handler<Payload> = (payload: Payload, tag: Tag, mq: Source | undefined) => void;

/** Events of any name and payload: where none are declared. */
export type AnyEvents = Record<string, any>;

/** What a connection itself tells, beside the events of the application. */
export interface ConnectionHandlers {
  state: (state: State, previous: State) => void;
  SocketConnected: () => void;
  SocketAuthenticated: () => void;
  /** An open connection ended; whether another is made is in `state`. */
  SocketDisconnected: (close: CloseInfo) => void;
  /** No further connection will be made. */
  SocketClosed: (close: CloseInfo) => void;
  /** Every message of the gateway. */
  SocketMessageReceived: (message: Message) => void;
  Gap: Handler<GapPayload>;
  Recovered: Handler<TopicPayload>;
  NotRecovered: Handler<NotRecoveredPayload>;
  Error: Handler<ErrorPayload>;
  Subscribed: Handler<SubscribedPayload>;
  Unsubscribed: Handler<UnsubscribedPayload>;
}

/** What a subscription itself tells, beside the events that are pushed to its topic. */
export interface SubscriptionHandlers {
  /** Events may have been missed: fetch the state anew. */
  Gap: Handler<GapPayload>;
  /** All that was missed has come, or the `last` events; what comes now is live. */
  Recovered: Handler<TopicPayload>;
  /** What was missed does not come, nor the `last` events. */
  NotRecovered: Handler<NotRecoveredPayload>;
  /** It stands: for the first time, or again after a reconnection. */
  Subscribed: Handler<SubscribedPayload>;
  /** The application or a re-check ended it. */
  Unsubscribed: Handler<UnsubscribedPayload>;
  /** It was refused: it has ended. */
  Error: Handler<ErrorPayload>;
}

/** The names that `on` takes: those of `Events`, and `Own`. */
export type NameOf<Events, Own> = (keyof Events & string) | (keyof Own & string);

/** The handler of an event: as declared in `Events`, else as in `Own`. */
export type HandlerOf<Events, Own, Name> = string extends keyof Events
  ? Name extends keyof Own ? Own[Name] : Handler<any>
  : Name extends keyof Events ? Handler<Events[Name]>
  : Name extends keyof Own ? Own[Name]
  : never;

/** What an iteration over a subscription gives. */
export type EventOf<Events> =
  | { [Name in keyof Events & string]: Message<Name, Events[Name]> }[keyof Events & string]
  | Message<"Gap", GapPayload>
  | Message<"Recovered", TopicPayload>
  | Message<"NotRecovered", NotRecoveredPayload>;

/** The first reply to an action: an event of the application, or `Done` without a payload. */
export type Reply<Payload = any> = Message<string, Payload>;
