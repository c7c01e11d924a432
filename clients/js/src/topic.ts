// A topic: what several subscriptions may share, and how it is written.

import type { Place } from "./positions.js";
import type { Subscription } from "./subscription.js";

export interface Topic {
  readonly exchange: string;
  readonly key: string;
  readonly handles: Set<Subscription<any>>;
  /** `asked`: on this connection, not answered yet. `idle`: to be asked, now or later. */
  status: "idle" | "asked" | "standing";
  /** It has stood before: what came since may have been missed. */
  stood: boolean;
  /** What was asked to be replayed has come without a gap so far. */
  whole: boolean;
  /** Where it stands in the exchange's log, or stood. */
  place: Place | undefined;
}

/** As on the wire: a key is its text, none is the empty key. Undefined where it is no key. */
export function keyText(key: unknown): string | undefined {
  if (key === undefined || key === null) return "";
  if (typeof key === "string") return key;
  if (typeof key === "bigint" || Number.isSafeInteger(key)) return String(key);
  return undefined;
}

/** Unlike `exchange::key` it is never that of another topic, whatever the names hold. */
export const idOf = (exchange: string, key: string) => `${exchange.length}:${exchange}${key}`;
