// Closes a session, once somebody has said so twice.

import { ask } from "./api.js";
import { setText } from "./dom.js";
import * as format from "./format.js";

/** Longer than the gateway waits for another replica. */
const TIMEOUT_MS = 10_000;

const dialog = document.getElementById("close");
const part = (selector) => dialog.querySelector(selector);
const done = document.querySelector("#sessions .done");

let session = null;

/** @param {{ id: string, identity: string | null, remote: string }} asked */
export function askToClose(asked) {
  session = asked;
  const { id, identity, remote } = asked;
  setText(part(".who"), [id, identity && format.foreign(identity, 100), remote].filter(Boolean).join(", "));
  setText(part(".error"), "");
  dialog.showModal();
}

/** Puts the dialog to work. `closed` is called after each session that is. */
export function closing(closed) {
  let busy = false;
  part(".cancel").addEventListener("click", () => dialog.close());
  part("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    const { id } = session;
    const { code, reason } = part("form").elements;
    const body = JSON.stringify({ session_id: id, code: Number(code.value), reason: reason.value });
    busy = true;
    setText(part(".error"), "Closing …");
    try {
      await ask("/api/disconnect", { body, timeout: TIMEOUT_MS });
      setText(done, `${id} was closed at ${format.clock(Date.now())}.`);
      dialog.close();
    } catch (error) {
      setText(part(".error"), `Not closed: ${error.message}.`);
    } finally {
      busy = false;
      closed();
    }
  });
}
