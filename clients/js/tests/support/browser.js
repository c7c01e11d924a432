// What a browser has and Node has not: events of the window and of the document.

/** For the length of one test. */
export function asBrowser(t) {
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  const listening = { count: 0 };
  for (const target of [window, document]) {
    const [add, remove] = [target.addEventListener, target.removeEventListener];
    target.addEventListener = (...given) => (listening.count++, add.apply(target, given));
    target.removeEventListener = (...given) => (listening.count--, remove.apply(target, given));
  }
  globalThis.addEventListener = (...given) => window.addEventListener(...given);
  globalThis.removeEventListener = (...given) => window.removeEventListener(...given);
  globalThis.document = document;
  t.after(() => {
    for (const name of ["addEventListener", "removeEventListener", "document"]) delete globalThis[name];
  });
  return { window, document, listening };
}

/** The page is shown, or hidden. */
export const become = (document, visibilityState) => {
  document.visibilityState = visibilityState;
  document.dispatchEvent(new Event("visibilitychange"));
};
