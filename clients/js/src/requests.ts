// What is asked for in one go: a `Subscribe` has one exchange, and one place to go on from.

import type { Place } from "./positions.js";
import type { Topic } from "./topic.js";

/** Keys in one message: more than a session may hold are refused all together. */
export const KEYS_MAX = 500;
/** The same in characters, as JSON: at three bytes each still within 64 KiB. */
const SIZE_MAX = 16_000;

/** One `Subscribe`. */
export interface Request {
  readonly exchange: string;
  /** What is not answered yet, by key. */
  readonly asked: Map<string, Topic>;
  /** What of it is being replayed, until `Replayed`; it stands at `place`. */
  readonly replays: Set<Topic>;
  readonly place: Place;
}

/** As few as these topics can be asked for with, in their order. */
export function requestsFor(topics: Iterable<Topic>, keysMax: number): Request[] {
  const requests: Request[] = [];
  const current = new Map<string, { request: Request; size: number }>();
  for (const topic of topics) {
    const { exchange, key, place: { position, last } = {} } = topic;
    const together = JSON.stringify([exchange, position, last]);
    // A comma goes with it.
    const size = JSON.stringify(key).length + 1;
    let open = current.get(together);
    if (!open || open.size + size > SIZE_MAX || open.request.asked.size >= keysMax) {
      const request = { exchange, asked: new Map(), replays: new Set<Topic>(), place: { position, last } };
      current.set(together, (open = { request, size: together.length }));
      requests.push(request);
    }
    open.size += size;
    open.request.asked.set(key, topic);
  }
  return requests;
}
