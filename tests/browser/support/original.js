// A page that was written for the Ruby original: with a client of the tests' own that has the
// interface of the original's, and its habits.

import { TOKEN } from "./application.js";
import { openPage, serveSite } from "./browser.js";

/**
 * Runs in the page, as its client. It never repeats an action, comes back after a fixed 5 s
 * whatever it was told, and asks who it is and for its subscriptions whenever it has connected.
 */
function original() {
  const BACK_AFTER = 5_000;
  const keyOf = (exchange, routingKey) => (routingKey == null ? exchange : `${exchange}::${routingKey}`);

  class Handlers {
    #handlers = new Map();
    on(event, handler) {
      this.#handlers.set(event, [...(this.#handlers.get(event) ?? []), handler]);
    }
    run(self, event, ...given) {
      for (const handler of this.#handlers.get(event) ?? []) handler.apply(self, given);
    }
  }

  class Subscription {
    #connection;
    #handlers = new Handlers();
    subscribed = false;
    wanted = true;

    constructor(connection, exchange, routingKey) {
      Object.assign(this, { exchange, routingKey });
      this.#connection = connection;
      if (connection.connected) this.subscribe();
    }
    #send(action) {
      return this.#connection.sendAction(action, { exchange: this.exchange, routing_key: this.routingKey });
    }
    subscribe() {
      return this.#send("Subscribe");
    }
    unsubscribe() {
      if (!this.#send("Unsubscribe")) return false;
      this.subscribed = this.wanted = false;
      return true;
    }
    on(event, handler) {
      this.#handlers.on(event, handler);
    }
    hear(event, payload, tag) {
      this.#handlers.run(this, event, payload, tag);
    }
  }

  class Connection {
    #url;
    #socket;
    #timer;
    #back = true;
    #authentication;
    #handlers = new Handlers();
    connected = false;
    authenticated = false;
    subscriptions = {};

    constructor(url) {
      this.#url = url;
      this.#connect();
    }
    #connect() {
      this.#socket = new WebSocket(this.#url);
      this.#socket.onopen = () => this.#opened();
      this.#socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
      this.#socket.onclose = () => this.#closed();
    }
    #opened() {
      this.connected = true;
      this.#emit("SocketConnected");
      if (this.#authentication) this.#authentication.call(this);
      else this.#subscribeAll();
    }
    #closed() {
      if (this.connected) this.#emit("SocketDisconnected");
      this.connected = this.authenticated = false;
      for (const one of Object.values(this.subscriptions)) one.subscribed = false;
      if (this.#back) this.#timer = setTimeout(() => this.#connect(), BACK_AFTER);
    }
    #hear(message) {
      const { event, payload, tag, mq } = message;
      if (event === "Subscribed") {
        const one = this.subscriptions[keyOf(payload.exchange, payload.routing_key)];
        if (one) one.subscribed = true;
      } else if (event === "Unsubscribed") {
        this.#drop(payload.exchange_name, payload.routing_key);
      } else if (event === "Error" && payload.error === "SubscriptionDenied") {
        this.#drop(payload.exchange, payload.routing_key);
      } else {
        if (mq) this.subscriptions[keyOf(mq.e, mq.rk)]?.hear(event, payload, tag);
        this.#emit(event, payload, tag, mq);
      }
      this.#emit("SocketMessageReceived", message);
    }
    #drop(exchange, routingKey) {
      delete this.subscriptions[keyOf(exchange, routingKey)];
    }
    #emit(event, ...given) {
      this.#handlers.run(this, event, ...given);
    }
    #subscribeAll() {
      for (const one of Object.values(this.subscriptions)) if (!one.subscribed && one.wanted) one.subscribe();
    }
    disconnect() {
      this.#back = false;
      clearTimeout(this.#timer);
      this.#socket.close();
    }
    authentication(callback) {
      this.#authentication = callback;
    }
    isAuthenticated() {
      this.authenticated = true;
      this.#emit("SocketAuthenticated");
      this.#subscribeAll();
    }
    sendAction(action, payload, tag) {
      if (!this.connected) return false;
      this.#socket.send(JSON.stringify({ action, tag, payload }));
      return true;
    }
    on(event, handler) {
      this.#handlers.on(event, handler);
    }
    subscribe(exchange, routingKey) {
      return (this.subscriptions[keyOf(exchange, routingKey)] ??= new Subscription(this, exchange, routingKey));
    }
  }

  globalThis.Myxi = { Connection };
}

/**
 * The page, as it authenticates by the original's README: with one more handler each time that it
 * connects. Its `heard` are all messages, its `closes` how its connections ended.
 */
export async function openOriginal(t, url, keys) {
  const port = await serveSite(t, { "/": `<!doctype html><link rel="icon" href="data:,"><title>a page of the original</title>` });
  const page = await openPage(t);
  await page.addInitScript(() => {
    globalThis.closes = [];
    globalThis.WebSocket = class extends WebSocket {
      constructor(...given) {
        super(...given);
        this.addEventListener("close", ({ code }) => closes.push(code));
      }
    };
  });
  await page.addInitScript(original);
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.evaluate(
    ([url, keys, session_token]) => {
      globalThis.heard = [];
      globalThis.events = [];
      globalThis.socket = new Myxi.Connection(url);
      socket.on("SocketMessageReceived", (message) => heard.push(message));
      socket.authentication(function () {
        this.sendAction("Authenticate", { session_token });
        this.on("Authenticated", function () {
          this.isAuthenticated();
        });
      });
      for (const key of keys) socket.subscribe("widgets", key).on("Changed", (payload) => events.push([key, payload]));
    },
    [url, keys, TOKEN],
  );
  return page;
}
