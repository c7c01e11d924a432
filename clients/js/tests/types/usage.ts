// Never run: it must compile, and what is marked must not.

import { Connection, MyxiError, type Reply, type State, type Subscription } from "myxi";
import { Connection as FakeConnection } from "myxi/testing";

interface WidgetEvents {
  WidgetQtyChanged: { quantity: number };
  WidgetGone: null;
}

interface AppEvents {
  Hello: { message: string };
}

type Is<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const is = <_ extends true>() => {};

const socket = new Connection("ws://localhost:5005/pushwss");
new Connection(new URL("ws://localhost:5005"), { reconnect: false });
new Connection("ws://localhost:5005", { reconnect: { initial: 100, max: 1_000 }, WebSocket, actionTimeout: 1 });
new Connection(() => "ws://localhost:5005");
new Connection(async () => new URL("ws://localhost:5005"), {});
// @ts-expect-error: it gives no URL
new Connection(async () => 7);
const typed: Connection<AppEvents> = Connection.fromMeta<AppEvents>();
// @ts-expect-error: no such option
new Connection("ws://localhost:5005", { retry: true });
new Connection("ws://localhost:5005", { resume: "session" });
// @ts-expect-error: there is no other place to keep it
new Connection("ws://localhost:5005", { resume: "local" });
// @ts-expect-error: only false turns it off
new Connection("ws://localhost:5005", { reconnect: true });

// Every line of the interface.
socket.authentication(() => {
  socket.on("Authenticated", () => socket.isAuthenticated());
  socket.sendAction("Authenticate", { session_token: "…" });
});
socket.authentication(async () => {});
const loose = socket.subscribe("widgets", 1234);
loose.on("WidgetQtyChanged", (payload, tag) => payload.quantity + String(tag));
loose.unsubscribe();
socket.subscriptions["widgets::1234"];
socket.on("Hello", (payload, tag, mq) => [payload.anything, tag, mq?.e, mq?.rk]);
socket.on("SocketClosed", ({ code, reason }) => code + reason.length);
socket.on("Gap", ({ exchange, reconnected }) => [exchange, reconnected]);
socket.on("NotRecovered", ({ exchange, reason }) => [exchange, reason.length]);
socket.on("Recovered", ({ routing_key }) => routing_key);
socket.on("Error", ({ error, retryable }) => [error, retryable]);
socket.on("state", (state, previous) => {
  is<Is<typeof state, State>>();
  is<Is<typeof previous, State>>();
  // @ts-expect-error: there is no such state
  return state === "opened";
});
socket.addMessageHandler(({ event }) => event.length);
socket.removeMessageHandler(console.log);
// @ts-expect-error: it is told, not set
socket.state = "open";

// Typed events of a topic.
const subscription: Subscription<WidgetEvents> = socket.subscribe<WidgetEvents>("widgets", 1);
subscription
  .on("WidgetQtyChanged", ({ quantity }, _tag, mq) => quantity.toFixed() + mq?.rk)
  .once("WidgetGone", (payload) => is<Is<typeof payload, null>>())
  .on("Gap", ({ reconnected }) => reconnected)
  .on("Recovered", ({ exchange }) => exchange)
  .on("NotRecovered", ({ reason }) => reason)
  .off("Gap");
// @ts-expect-error: no such event
subscription.on("WidgetQtyChange", () => {});
// @ts-expect-error: no such member
subscription.on("WidgetQtyChanged", ({ count }) => count);
socket.subscribe<WidgetEvents>("widgets", 1, { last: 10 });
// @ts-expect-error: a key is no object
socket.subscribe<WidgetEvents>("widgets", {});
// @ts-expect-error: not an object of events
socket.subscribe<string>("widgets", 1);

async function iterate() {
  const stands = await subscription.ready;
  is<Is<typeof stands, boolean>>();
  for await (const event of subscription) {
    if (event.event === "WidgetQtyChanged") event.payload.quantity.toFixed();
    else if (event.event === "Gap" || event.event === "Recovered") event.payload.routing_key;
    else if (event.event === "NotRecovered") event.payload.reason;
    else is<Is<typeof event.payload, null>>();
    // @ts-expect-error: not in every event
    event.payload.quantity;
  }
  for await (const { event, payload } of loose) is<Is<typeof event, string>>(), payload.anything;
}

// Typed events of the connection.
typed.on("Hello", ({ message }) => message.length);
typed.on("SocketConnected", () => {});
// @ts-expect-error: no such event
typed.on("Hallo", () => {});

async function act() {
  const reply: Reply = await socket.action("SayHello", { name: "Adam" }, { timeout: 1_000, signal: AbortSignal.timeout(9) });
  const { payload } = await socket.action<{ message: string }>("SayHello");
  payload.message.length;
  // @ts-expect-error: no such member
  payload.messages;
  try {
    return reply.event;
  } catch (error) {
    if (error instanceof MyxiError) is<Is<typeof error.outcome, "unknown" | undefined>>();
    // @ts-expect-error: not before it is known to be one
    return error.code;
  }
}
void [iterate, act];

// What is for tests.
const fake = new FakeConnection<AppEvents>();
const asGiven: Connection<AppEvents> = fake;
fake.gateway.handle("Say", ({ text }) => ({ event: "Sent", payload: { text } })).handle("Go", async () => {});
fake.gateway.answer("Say", "Sent", { number: 1 });
fake.gateway.fail("Say", "PermissionDenied", { retryable: false });
fake.gateway.actions.map(({ action, payload }) => [action.length, payload.text]);
// @ts-expect-error: a key is no object
fake.gateway.deliver("widgets", {}, "WidgetQtyChanged");
// @ts-expect-error: an answer has a name
fake.gateway.handle("Say", () => ({ payload: {} }));
asGiven.on("Hello", ({ message }) => message.length);
