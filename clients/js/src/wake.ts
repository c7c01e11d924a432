// When the page comes and goes, as the browser tells it. In Node there is nothing to hear.

/** Calls `wake` when it is worth looking at the connection at once: the network is back, or the page is. */
export const onWake = (wake: () => void) => listen(["online", "pageshow"], "visible", wake);

/** Calls `leave` when the page may be left for good: what is not visible may end without a word. */
export const onLeave = (leave: () => void) => listen(["pagehide"], "hidden", leave);

/** Answers how to stop that. */
function listen(events: string[], visibility: string, handler: () => void): () => void {
  const stops: (() => void)[] = [];
  const add = (target: EventTarget | undefined, event: string, handler: () => void) => {
    if (typeof target?.addEventListener !== "function") return;
    target.addEventListener(event, handler);
    stops.push(() => target.removeEventListener(event, handler));
  };
  const page = globalThis.document;
  for (const event of events) add(globalThis as unknown as EventTarget, event, handler);
  add(page, "visibilitychange", () => page.visibilityState === visibility && handler());
  return () => stops.forEach((stop) => stop());
}
