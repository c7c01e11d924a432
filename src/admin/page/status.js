// The strip with one card a part, the verdict above, the tab's title and its icon.

import { paint, setText } from "./dom.js";
import { PARTS, sum } from "./verdict.js";

/** Of the icon, which knows no style sheet and may stand on any background. */
const COLOURS = { well: "#12936d", unknown: "#808884", strained: "#c98500", unwell: "#d3362b" };

export class StatusStrip {
  #parts = new Map();
  #verdict = document.getElementById("verdict");

  constructor() {
    const template = document.getElementById("part");
    for (const { id, title } of PARTS) {
      const part = template.content.firstElementChild.cloneNode(true);
      part.id = `part-${id}`;
      part.querySelector("h3").textContent = title;
      document.querySelector("#status .parts").append(part);
      this.#parts.set(id, part);
    }
  }

  /** @param {import("./verdict.js").Verdicts} verdicts */
  show(verdicts) {
    for (const [id, part] of this.#parts) {
      const { state, reason, facts } = verdicts[id];
      paint(part, state);
      setText(part.querySelector(".state"), state);
      setText(part.querySelector(".reason"), reason);
      setText(part.querySelector(".facts"), facts);
    }
    const { state, words } = sum(verdicts);
    paint(this.#verdict, state);
    // Only a change is announced by a screen reader.
    setText(this.#verdict.querySelector(".words"), words);
    setText(document.querySelector("title"), state === "well" ? "myxi" : `${words} – myxi`);
    drawIcon(state);
  }
}

function drawIcon(state) {
  const link = document.getElementById("favicon");
  const shape = state === "well" ? '<circle cx="8" cy="8" r="7"/>' : '<path d="M8 0 16 15H0z"/>';
  const attributes = `xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="${COLOURS[state]}"`;
  const href = `data:image/svg+xml,${encodeURIComponent(`<svg ${attributes}>${shape}</svg>`)}`;
  if (link.href !== href) link.href = href;
}
