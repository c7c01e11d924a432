// Pushes an event, as the application would.

import { ask } from "./api.js";
import { whyNotJson } from "./client.js";
import * as format from "./format.js";

/** Longer than the gateway itself waits for the broker. */
const TIMEOUT_MS = 30_000;

const form = document.getElementById("push-form");
const result = document.getElementById("push-result");

/** @param {string[]} names of the exchanges there are */
export function offerExchanges(names) {
  const select = form.elements.exchange;
  const offered = [...select.options].map(({ value }) => value);
  if (offered.join() === names.join()) return;
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(chosen)) select.value = chosen;
  document.getElementById("exchanges").replaceChildren(...names.map((name) => new Option(name, name)));
  const subscribeTo = document.getElementById("client-topic").elements.exchange;
  if (!subscribeTo.value) subscribeTo.value = names[0] ?? "";
}

/** Puts the panel to work. */
export function push() {
  let pushing = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    // The button stays as it is: disabled, it would lose the focus.
    if (pushing) return;
    const { exchange, routing_key, event: name, payload } = form.elements;
    const json = payload.value.trim() || "{}";
    const problem = whyNotJson(json);
    if (problem) return tell(`Not pushed: the payload is not JSON (${problem}).`, "bad");
    const fields = { exchange: exchange.value, routing_key: routing_key.value, event: name.value };
    const members = Object.entries(fields).map(([member, value]) => `"${member}":${JSON.stringify(value)}`);
    // The payload goes as it was written: a long number would not survive JavaScript.
    const body = `{${members.join(",")},"payload":${json}}`;
    pushing = true;
    tell("Pushing …", "");
    try {
      const { event_id } = await ask("/api/push", { body, timeout: TIMEOUT_MS });
      tell(`Pushed at ${format.clock(Date.now())} as ${event_id}.`, "good");
    } catch (error) {
      tell(`Not pushed at ${format.clock(Date.now())}: ${error.message}.`, "bad");
    } finally {
      pushing = false;
    }
  });
}

function tell(text, className) {
  result.textContent = text;
  result.className = className;
}
