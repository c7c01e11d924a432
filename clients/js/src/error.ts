// The one class of all that goes wrong. In the package, too, it is a file of its own: what is for
// tests has the same.

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
