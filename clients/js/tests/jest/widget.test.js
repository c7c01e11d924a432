// As somebody tests their page: with the library as it is, and a WebSocket in their hands.

const { follow } = require("./widget");

class FakeSocket {
  static last;
  readyState = 0;

  constructor() {
    FakeSocket.last = this;
  }

  open() {
    this.readyState = 1;
    this.onopen({});
  }

  send(text) {
    this.asked = JSON.parse(text);
  }

  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }

  close() {}
}

async function start(show) {
  const stop = follow(7, show, { WebSocket: FakeSocket });
  FakeSocket.last.open();
  await Promise.resolve();
  return stop;
}

test("shows what is pushed", async () => {
  const show = jest.fn();
  const stop = await start(show);
  FakeSocket.last.say({ event: "WidgetQtyChanged", payload: { quantity: 3 }, mq: { e: "widgets", rk: "7" } });
  expect(show).toHaveBeenCalledWith(3);
  stop();
});

test("shows what is wrong", async () => {
  const show = jest.fn();
  const stop = await start(show);
  const { tag } = FakeSocket.last.asked;
  FakeSocket.last.say({ event: "Error", tag, payload: { error: "SubscriptionDenied", exchange: "widgets", routing_key: "7" } });
  await Promise.resolve();
  await Promise.resolve();
  expect(show).toHaveBeenCalledWith("SubscriptionDenied");
  stop();
});
