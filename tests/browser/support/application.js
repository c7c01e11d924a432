// An application in Node, as somebody would write it: an ActionHandler, and pushes through
// the Gateway service. Who knows the token is in; who is in may subscribe to everything
// but 13.

import { fileURLToPath } from "node:url";
import { credentials, loadPackageDefinition, Server, ServerCredentials, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { Seen, within } from "./within.js";

const proto = fileURLToPath(new URL("../../../proto", import.meta.url));
const files = ["myxi/v1/action_handler.proto", "myxi/v1/gateway.proto"];
// Names as in the files, enums by their names, lists that are there when they are empty.
const loaded = loadSync(files, { includeDirs: [proto], keepCase: true, enums: String, longs: Number, arrays: true });
const { ActionHandler, Gateway } = loadPackageDefinition(loaded).myxi.v1;

export const TOKEN = "demo-token";

const event = (name, payload) => ({ event: name, payload: JSON.stringify(payload) });

/** What it does for each action; a thrown `{ code, message }` is a gRPC status. */
const ACTIONS = {
  Authenticate({ session_token }) {
    if (session_token !== TOKEN) throw { code: status.PERMISSION_DENIED, message: "wrong token" };
    const auth = JSON.stringify({ user: "adam" });
    return { events: [event("Authenticated", { user: "adam" })], session_update: { set_auth: auth } };
  },
  SayHello: ({ name }) => ({ events: [event("Hello", { message: `Hello, ${name}!` })] }),
  Keep: () => ({}),
  Refuse: () => ({ error: { code: "OutOfStock", details: JSON.stringify({ left: 0 }), retryable: true } }),
  Leave: ({ code }) => ({ disconnect: { code, reason: "as you wish" } }),
};

export class Application {
  #server;
  #hanging = new Set();
  /** Every call, as `{ rpc, request }`. */
  calls = new Seen();
  allows = (session, { routing_key }) => session.auth !== undefined && routing_key !== "13";

  static async start(t) {
    const app = new Application();
    await app.#listen("127.0.0.1:0");
    t.after(() => app.kill());
    return app;
  }

  async #listen(address) {
    this.#server = new Server();
    this.#server.addService(ActionHandler.service, {
      HandleAction: this.#answers("HandleAction", (request) => this.#act(request)),
      CheckSubscriptions: this.#answers("CheckSubscriptions", ({ session, topics }) => ({
        decisions: topics.map((topic) => (this.allows(session, topic) ? "DECISION_ALLOW" : "DECISION_DENY")),
      })),
      SessionClosed: this.#answers("SessionClosed", () => ({})),
    });
    const bound = new Promise((resolve, reject) =>
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port))),
    );
    this.address = `127.0.0.1:${await within(bound, "the application's port")}`;
  }

  /** Everybody's connection to it breaks, and nobody can connect. */
  kill() {
    this.#server.forceShutdown();
    this.#hanging.clear();
  }

  /** Where it was before. */
  restart() {
    return this.#listen(this.address);
  }

  #answers(rpc, answer) {
    return (call, reply) => {
      this.calls.add({ rpc, request: call.request });
      try {
        const response = answer(call.request);
        if (response) reply(null, response);
        else this.#hanging.add(reply);
      } catch (refusal) {
        reply(refusal);
      }
    };
  }

  #act({ action, payload }) {
    if (action === "Hang") return null;
    if (!Object.hasOwn(ACTIONS, action)) throw { code: status.UNIMPLEMENTED, message: "no such action" };
    return ACTIONS[action](JSON.parse(payload));
  }

  /** The next call of this kind, or one that came already. */
  called(rpc, fits = () => true) {
    return this.calls.next((call) => call.rpc === rpc && fits(call.request), rpc);
  }
}

/** The application's way to its clients. */
export class Pushes {
  #gateway;

  constructor(t, address) {
    this.#gateway = new Gateway(address, credentials.createInsecure());
    t.after(() => this.#gateway.close());
  }

  push(exchange, routing_key, event, payload) {
    return this.#call("PushEvent", { exchange, routing_key, event, payload: JSON.stringify(payload) });
  }

  disconnect(session_id, code) {
    return this.#call("DisconnectSession", { session_id, code, reason: "by the application" });
  }

  #call(rpc, request) {
    const answered = new Promise((resolve, reject) =>
      this.#gateway[rpc](request, (error, response) => (error ? reject(error) : resolve(response))),
    );
    return within(answered, rpc);
  }
}
