// What goes wrong, typed: the gateway's errors and the library's own have one class.

export interface ErrorFields {
  retryable?: boolean;
  outcome?: "unknown" | undefined;
  message?: string;
  details?: Record<string, unknown>;
  retryAfterMs?: number | undefined;
}

/** An error of the gateway, of the application, or of the library. */
export class MyxiError extends Error {
  override readonly name = "MyxiError";
  /** A code of the wire, an application's own, or one of the library's. */
  readonly code: string;
  /** It certainly did not happen: worth trying again. */
  readonly retryable: boolean;
  /** `"unknown"`: it may have happened. */
  readonly outcome: "unknown" | undefined;
  /** What else the error says, by the names on the wire. */
  readonly details: Record<string, unknown>;
  /** Wait this long before trying again. */
  readonly retryAfterMs: number | undefined;

  constructor(code: string, fields: ErrorFields = {}) {
    super(fields.message ? `${code}: ${fields.message}` : code);
    this.code = code;
    this.retryable = fields.retryable ?? false;
    this.outcome = fields.outcome;
    this.details = fields.details ?? {};
    this.retryAfterMs = fields.retryAfterMs;
  }
}

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
