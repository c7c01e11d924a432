// When it is worth looking at the connection at once: the network is back, or the page is.

/** Calls `wake` then; answers how to stop that. In Node there is nothing to hear. */
export function onWake(wake: () => void): () => void {
  const stops: (() => void)[] = [];
  const listen = (target: EventTarget | undefined, event: string, handler: () => void) => {
    if (typeof target?.addEventListener !== "function") return;
    target.addEventListener(event, handler);
    stops.push(() => target.removeEventListener(event, handler));
  };
  const page = globalThis.document;
  listen(globalThis as unknown as EventTarget, "online", wake);
  listen(globalThis as unknown as EventTarget, "pageshow", wake);
  listen(page, "visibilitychange", () => page.visibilityState === "visible" && wake());
  return () => stops.forEach((stop) => stop());
}
