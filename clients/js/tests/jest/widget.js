// What somebody's page does with the library, as CommonJS.

const { Connection, MyxiError } = require("myxi");

/** Calls `show` with each quantity, or with the code of what is wrong. */
function follow(id, show, options) {
  const socket = new Connection("ws://gateway.test/pushwss", options);
  const widget = socket.subscribe("widgets", id);
  widget.on("WidgetQtyChanged", ({ quantity }) => show(quantity));
  widget.ready.catch((error) => show(error instanceof MyxiError ? error.code : "unknown"));
  return () => socket.disconnect();
}

module.exports = { follow };
