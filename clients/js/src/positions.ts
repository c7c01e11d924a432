// Where the page stands in the logs of its exchanges: what it asks for after a lost connection,
// so that it hears what it missed, and nothing twice.
//
// A position is the gateway's own: nobody here can tell which of two is the later. So none are
// compared; what is known is who stands together. Keys whose events come as they happen share one
// live place for each exchange, and each of their events moves it for all: the log has one order.
// Keys whose missed events are on their way share the place of their `Subscribe`, and join the
// live one at its end. A lost connection ends the live places; whoever stood there keeps his as
// it was, until he is asked for again.

export interface Place {
  /** All up to here was heard. Not there where the gateway says no positions. */
  position?: string | undefined;
  /** So many of the latest events are asked for instead, which are no place to go on from. */
  readonly last?: number | undefined;
}

export class Positions {
  #live = new Map<string, Place>();

  /** Where all live keys of the exchange stand, on this connection. */
  live(exchange: string): Place {
    let place = this.#live.get(exchange);
    if (!place) this.#live.set(exchange, (place = {}));
    return place;
  }

  /** The gateway says up to where live keys have heard all there is. */
  says(exchange: unknown, id: unknown): void {
    this.heard(this.live(String(exchange)), id);
  }

  /** An event of a key that stands there was handed on. */
  heard(place: Place, id: unknown): void {
    if (typeof id === "string" && !place.last) place.position = id;
  }

  /** The connection is lost: the next one has live places of its own. */
  lost(): void {
    this.#live.clear();
  }
}
