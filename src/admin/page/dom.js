// What several parts of the page do to its elements.

/** Leaves what stands there already alone: a reader's selection, a screen reader's place. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** An element with text from outside, which is never taken for markup. */
export function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

/** Gives an element with an icon the colour and the shape of a state. */
export function paint(element, state) {
  if (element.dataset.state === state) return;
  element.dataset.state = state;
  element.querySelector("use").setAttribute("href", `#icon-${state}`);
}
