// What stands before a fleet: hands each new connection to the replica of the moment, and loses
// them when it is told to.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Proxy {
  /** A new connection is lost after so many parts of what the gateway says. */
  parts = Infinity;
  #server = createServer((client) => this.#join(client));
  #sockets = new Set();

  static async start(t, replica) {
    const proxy = new Proxy();
    proxy.replica = replica;
    t.after(() => proxy.#stop());
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    proxy.address = `127.0.0.1:${proxy.#server.address().port}`;
    return proxy;
  }

  /** Every connection is lost, and while there is no replica nobody gets another. */
  cut() {
    this.replica = undefined;
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(client) {
    client.on("error", () => {});
    if (!this.replica) return client.destroy();
    const [host, port] = this.replica.clients.split(":");
    const server = connect(Number(port), host);
    let left = this.parts;
    server.on("data", () => left-- > 0 || client.destroy());
    for (const [from, to] of [[client, server], [server, client]]) {
      this.#sockets.add(from);
      // Whatever goes wrong on one side, the other is to see it as an end.
      from.on("error", () => to.destroy()).on("close", () => this.#sockets.delete(from));
      from.pipe(to);
    }
  }

  #stop() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
