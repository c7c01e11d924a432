// What `import … from "myxi/testing"` offers: the same, with a gateway in the hands of a test.

import { Connection as RealConnection } from "./connection.js";
import { urlFromMeta } from "./meta.js";
import { Gateway } from "./testing/gateway.js";
import type { AnyEvents, ConnectionOptions, UrlSource } from "./types.js";

export { MyxiError } from "./error.js";
export type { ActionHandler, Answer, Gateway, ReceivedAction } from "./testing/gateway.js";

/** A `Connection` to no gateway: what comes over it is what the test says. */
export class Connection<Events extends object = AnyEvents> extends RealConnection<Events> {
  /** The one that was made last, wherever. */
  static last: Connection<any> | undefined;
  readonly gateway: Gateway;

  constructor(url: UrlSource = "ws://gateway.test/", options: ConnectionOptions = {}) {
    const gateway = new Gateway(() => this.state);
    super(url, { ...options, WebSocket: gateway.socketClass() });
    this.gateway = gateway;
    Connection.last = this;
  }

  static override fromMeta<Events extends object = AnyEvents>(options?: ConnectionOptions): Connection<Events> {
    return new Connection<Events>(urlFromMeta(), options);
  }
}
