// A client of the gateway, to try actions and subscriptions with: a bare WebSocket, each frame
// shown as it is on the wire.

import { element, setText } from "./dom.js";
import * as format from "./format.js";
import { Lines } from "./lines.js";

const FRAMES_MAX = 300;

/** Of a frame, in characters; the rest is counted. */
const SHOWN_MAX = 4_000;

const $ = (id) => document.getElementById(id);
const url = $("client-connect").elements.url;
const frames = new Lines($("client-frames"), FRAMES_MAX);
let socket = null;

/** @param {{ port: number, path: string }} clients where the gateway listens for them */
export function suggestAddress({ port, path }) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const address = `${scheme}://${location.hostname}:${port}${path}`;
  // What somebody typed stays.
  if (url.value !== url.defaultValue || url.defaultValue === address) return;
  url.defaultValue = address;
}

function connect() {
  hangUp();
  let mine;
  try {
    mine = socket = new WebSocket(url.value);
  } catch (error) {
    note(`Not connected: ${error.message}`);
    return;
  }
  show("connecting");
  mine.binaryType = "arraybuffer";
  mine.addEventListener("open", () => mine === socket && show("connected"));
  mine.addEventListener("message", ({ data }) => {
    const text = typeof data === "string" ? data : `(${data.byteLength} bytes that are no text)`;
    frame("received", text);
  });
  mine.addEventListener("close", ({ code, reason }) => {
    // 1006 is the browser's own: it tells pages no more than this.
    const how = code === 1006 ? ": no connection, or it was lost" : ` with ${code}${reason && `: ${reason}`}`;
    frame("note", `closed${how}`);
    if (mine !== socket) return;
    socket = null;
    show("not connected");
  });
}

/** 1000: the client asked. The connection's end is told when it comes. */
function hangUp() {
  socket?.close(1000);
}

function show(state) {
  setText($("client-state"), state);
  $("client-disconnect").disabled = !socket;
  setText($("client-connect").querySelector("button.main"), socket ? "Connect anew" : "Connect");
  for (const fields of document.querySelectorAll("#client fieldset")) fields.disabled = state !== "connected";
}

/** `payload` and `tag` are JSON text and go out as they were written, long numbers included. */
function send(action, payload, tag) {
  for (const [name, json] of [["tag", tag], ["payload", payload]]) {
    const problem = json && whyNotJson(json);
    if (problem) return note(`Not sent: the ${name} is not JSON (${problem}).`);
  }
  const members = [`"action":${JSON.stringify(action)}`];
  if (tag) members.push(`"tag":${tag}`);
  if (payload) members.push(`"payload":${payload}`);
  const text = `{${members.join(",")}}`;
  socket?.send(text);
  frame("sent", text);
  note("");
  const field = $("client-action").elements.tag;
  if (/^\d{1,9}$/.test(field.value)) field.value = String(Number(field.value) + 1);
}

export function whyNotJson(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return error.message;
  }
}

const ARROWS = { sent: "→", received: "←", note: "·" };

function frame(kind, text) {
  const at = Date.now();
  frames.add(() => {
    const rest = text.length - SHOWN_MAX;
    const shown = rest > 0 ? `${text.slice(0, SHOWN_MAX)}… (${format.count(rest)} characters more)` : text;
    const arrow = element("span", "arrow", ARROWS[kind]);
    arrow.setAttribute("aria-hidden", "true");
    const time = element("time", "muted", format.clockMillis(at));
    const spoken = element("span", "hidden", `${kind}: `);
    return element("li", kind, time, " ", arrow, spoken, " ", element("code", "", shown));
  });
}

const note = (text) => setText($("client-note"), text);

async function copy() {
  const lines = [...$("client-frames").children].reverse();
  const text = lines.map((line) => {
    const [time, arrow, code] = ["time", ".arrow", "code"].map((part) => line.querySelector(part).textContent);
    return `${time} ${arrow} ${code}`;
  });
  try {
    await navigator.clipboard.writeText(text.join("\n"));
    note(`Copied ${format.countOf(lines.length, "frame")}.`);
  } catch {
    // Browsers allow it on localhost and over HTTPS only.
    getSelection().selectAllChildren($("client-frames"));
    note("The browser does not allow it here; the frames are selected, copy them yourself.");
  }
}

const onSubmit = (id, handle) => $(id).addEventListener("submit", (event) => {
  event.preventDefault();
  handle(new FormData(event.target, event.submitter));
});

/** Puts the panel to work. */
export function client() {
  show("not connected");
  onSubmit("client-connect", connect);
  $("client-disconnect").addEventListener("click", hangUp);
  onSubmit("client-action", (form) => {
    send(form.get("action"), form.get("payload").trim(), form.get("tag").trim());
  });
  onSubmit("client-topic", (form) => {
    const topic = JSON.stringify({ exchange: form.get("exchange"), routing_key: form.get("key") });
    send(form.get("action") ?? "Subscribe", topic, $("client-action").elements.tag.value.trim());
  });
  $("client-copy").addEventListener("click", copy);
  $("client-clear").addEventListener("click", () => {
    frames.clear();
    note("");
  });
}
