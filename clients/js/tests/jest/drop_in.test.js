// As somebody tests a page that makes its own connection: what it requires is the fake.

jest.mock("myxi", () => jest.requireActual("myxi/testing"));
const { Connection } = require("myxi");
const { follow } = require("./widget");

test("shows what is pushed, and what was missed, also where timers are replaced", () => {
  jest.useFakeTimers();
  const show = jest.fn();
  const stop = follow(7, show);
  const { gateway } = Connection.last;
  gateway.deliver("widgets", 7, "WidgetQtyChanged", { quantity: 3 });
  gateway.drop();
  gateway.deliver("widgets", 7, "WidgetQtyChanged", { quantity: 4 });
  gateway.resume();
  expect(show.mock.calls).toEqual([[3], [4]]);
  stop();
});

test("shows what is wrong", async () => {
  jest.useRealTimers();
  const show = jest.fn();
  const stop = follow(7, show);
  Connection.last.gateway.deny("widgets");
  await new Promise((done) => setImmediate(done));
  expect(show).toHaveBeenCalledWith("SubscriptionDenied");
  stop();
});
