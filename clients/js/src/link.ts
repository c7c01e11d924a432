// One WebSocket after another to the same gateway: connects, notices that a connection is
// dead, waits, connects again. Knows nothing of what is said over it but how to ping.

import { Backoff } from "./backoff.js";
import { report } from "./errors.js";
import { Liveness, TIMER_MAX } from "./liveness.js";
import type { CloseInfo, ConnectionOptions, UrlSource } from "./types.js";
import { onWake } from "./wake.js";

/** The gateway names its own interval, in ms, when it greets. */
const PING_INTERVAL = 25_000;
/** A connection that stood this long, in ms, was a good one: the waits begin anew. */
const STOOD = 10_000;
/** An attempt that has taken longer, in ms, may have begun on a network that is gone. */
const ATTEMPT = 1_000;
const WEBSOCKET_OPEN = 1;
const TRY_LATER = 1013;

export interface LinkEvents {
  connecting(): void;
  open(): void;
  /** What a frame holds; text, from a gateway. */
  frame(data: unknown): void;
  /** The connection is over, or the attempt; the link is `waiting` or `closed`. */
  down(close: CloseInfo): void;
  /** Whoever should say where to connect does not. */
  noUrl(error: unknown): void;
}

/** In ms; a gateway that needs longer can say so again. */
const HINT_MAX = 30_000;

export class Link {
  state: "connecting" | "open" | "waiting" | "closed" = "connecting";
  url = "";
  readonly liveness: Liveness;
  #socket: WebSocket | undefined;
  #WebSocket: new (url: string) => WebSocket;
  #backoff: Backoff | undefined;
  /** Of the attempt, or of the wait for the next one. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When it began to connect, or was open. */
  #since = 0;
  /** Which attempt it is; what an earlier one was told is of no interest. */
  #attempt = 0;
  #comeBackAfter: number | undefined;
  #stopWake: () => void;

  constructor(
    private readonly source: UrlSource,
    private readonly options: ConnectionOptions,
    ping: string,
    private readonly events: LinkEvents,
  ) {
    const Socket = options.WebSocket ?? globalThis.WebSocket;
    if (!Socket) throw new TypeError("there is no WebSocket here: give options.WebSocket");
    this.#WebSocket = Socket;
    if (options.reconnect !== false) this.#backoff = new Backoff(options.reconnect);
    const dead = () => this.#over({ code: 1006, reason: "the gateway does not answer" });
    this.liveness = new Liveness(() => this.send(ping), dead, options.pongTimeout ?? 15_000);
    // A URL that is none is thrown at whoever made the connection.
    this.#connect();
    this.#stopWake = onWake(() => this.#wake());
  }

  /** While it closes, a WebSocket drops what it is given. */
  get writable(): boolean {
    return this.state === "open" && this.#socket?.readyState === WEBSOCKET_OPEN;
  }

  /** What was sent and has not left yet, in bytes. */
  get unsent(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  send(text: string): void {
    if (this.writable) this.#socket?.send(text);
  }

  /** The gateway's hint for the next connection. */
  comeBackAfter(ms: number): void {
    this.#comeBackAfter = ms;
  }

  close(): void {
    this.#backoff = undefined;
    this.#over({ code: 1000, reason: "" });
  }

  #connect(): void {
    clearTimeout(this.#timer);
    // An attempt that is made anew.
    this.#socket?.close();
    this.#socket = undefined;
    this.#attempt++;
    if (typeof this.source === "function") void this.#ask(this.source, this.#attempt);
    else this.#dial(this.source);
    this.state = "connecting";
    this.#since = performance.now();
    const late = { code: 1006, reason: "the gateway was not reached in time" };
    this.#timer = setTimeout(() => this.#over(late), this.options.connectTimeout ?? 15_000);
    this.events.connecting();
  }

  async #ask(source: () => unknown, attempt: number): Promise<void> {
    try {
      // Not before whoever makes the connection has it.
      await undefined;
      const url = await source();
      if (attempt !== this.#attempt) return;
      // A browser would take anything for a path on the page's own host.
      if (typeof url !== "string" && !(url instanceof URL)) throw new TypeError(`${url} is no URL`);
      this.#dial(url);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      this.events.noUrl(error);
      this.#over({ code: 1006, reason: "no URL to connect to" });
    }
  }

  #dial(url: string | URL): void {
    this.url = String(url);
    const socket = new this.#WebSocket(this.url);
    this.#socket = socket;
    // What a socket says after another took its place, or none, is of no interest.
    const mine = (handle: (event: any) => void) => (event: any) => {
      if (this.#socket === socket) handle(event);
    };
    socket.onopen = mine(() => this.#opened());
    socket.onmessage = mine(({ data }) => {
      this.liveness.heard();
      this.events.frame(data);
    });
    socket.onclose = mine(({ code, reason }) => this.#over({ code, reason }));
    // In a browser a close follows. In Node 22 none does where the gateway was not reached.
    socket.onerror = mine(() => {
      if (this.state === "connecting") this.#over({ code: 1006, reason: "" });
    });
  }

  /** Nobody is there to catch what another WebSocket than the browser's may throw now. */
  #connectAgain(): void {
    try {
      this.#connect();
    } catch (error) {
      report(error);
      this.#over({ code: 1006, reason: "no WebSocket could be made" });
    }
  }

  #opened(): void {
    clearTimeout(this.#timer);
    this.state = "open";
    this.#since = performance.now();
    this.#comeBackAfter = undefined;
    this.liveness.start(PING_INTERVAL);
    this.events.open();
  }

  #over(close: CloseInfo): void {
    if (this.state === "closed") return;
    clearTimeout(this.#timer);
    this.liveness.stop();
    const socket = this.#socket;
    this.#socket = undefined;
    this.#attempt++;
    if (this.state === "open" && performance.now() - this.#since >= STOOD) this.#backoff?.reset();
    // 1000 from the gateway is the application's: done.
    const unwanted = close.code === 1000 || (close.code >= 4500 && close.code <= 4999);
    if (this.#backoff && !unwanted) {
      this.state = "waiting";
      this.#timer = setTimeout(() => this.#connectAgain(), this.#delay(this.#backoff, close.code));
    } else {
      this.state = "closed";
      this.#stopWake?.();
    }
    // It may still be open: this side found it dead, or has had enough. 1000 only then.
    socket?.close(1000);
    this.events.down(close);
  }

  #delay(backoff: Backoff, code: number): number {
    const hint = this.#comeBackAfter ?? 0;
    this.#comeBackAfter = undefined;
    if (code === TRY_LATER) backoff.later();
    // Whoever says "at once" each time is not believed, nor who says "never".
    return Math.min(Math.max(backoff.next(), Math.min(hint, HINT_MAX)), TIMER_MAX);
  }

  #wake(): void {
    if (this.state === "open") this.liveness.probe();
    else if (this.state === "waiting" || performance.now() - this.#since > ATTEMPT) this.#connectAgain();
  }
}
