// A list that is written to without end and keeps the newest lines only.

/** Between two changes of the page, however fast the lines come. */
const DRAW_MS = 150;

export class Lines {
  #list;
  #max;
  #waiting = [];
  #scheduled = false;

  /** @param {HTMLElement} list  @param {number} max lines kept */
  constructor(list, max) {
    this.#list = list;
    this.#max = max;
  }

  /** `make`: gives the line's element; called only if the line is still among the newest when it is drawn. */
  add(make) {
    this.#waiting.push(make);
    if (this.#waiting.length > this.#max) this.#waiting.shift();
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(() => this.#draw(), DRAW_MS);
  }

  #draw() {
    this.#scheduled = false;
    const lines = this.#waiting.map((make) => make()).reverse();
    this.#waiting = [];
    this.#list.prepend(...lines);
    while (this.#list.childElementCount > this.#max) this.#list.lastElementChild.remove();
  }

  clear() {
    this.#waiting = [];
    this.#list.replaceChildren();
  }
}
