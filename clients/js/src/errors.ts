// What goes wrong, typed: the gateway's errors and the library's own have one class.

import { MyxiError } from "./error.js";

/** From the payload of an `Error`, which an application may have filled with anything. */
export function fromPayload(payload: unknown): MyxiError {
  const { error, retryable, outcome, ...details } = asObject(payload);
  const { message, retry_after_ms: after } = details;
  return new MyxiError(typeof error === "string" ? error : "InternalError", {
    retryable: retryable === true,
    outcome: outcome === "unknown" ? outcome : undefined,
    message: typeof message === "string" ? message : "",
    details,
    retryAfterMs: typeof after === "number" ? after : undefined,
  });
}

/** `sent`: whoever sent it cannot know whether it happened. */
export function connectionLost(sent: boolean, details: object = {}): MyxiError {
  return new MyxiError("ConnectionLost", {
    retryable: !sent,
    outcome: sent ? "unknown" : undefined,
    details: { ...details },
  });
}

export const busy = (message: string) => new MyxiError("Busy", { retryable: true, message });

/** The members of what should be an object; none where it is not. */
export function asObject(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** An error in the code of the library's user, which must not disturb anything else. */
export function report(error: unknown): void {
  if (typeof reportError === "function") reportError(error);
  else console.error(error);
}
