// The real `myxi` in a process of its own. Killed at the end of the test.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Pushes } from "./application.js";
import { Seen, within } from "./within.js";

const target = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../../target", import.meta.url));
export const BINARY = process.env.MYXI_BIN ?? `${target}/debug/myxi`;

/** The environment without what would configure a gateway. */
const environment = Object.entries(process.env).filter(
  ([name]) => !name.startsWith("MYXI_") && !["MIXI_PORT", "PORT", "RABBITMQ_URL"].includes(name),
);

/** What its log holds last. */
const ENDED = "the process ended";

export class Gateway {
  #process;
  #ended;
  /** Its log, a line each as it was parsed. */
  log = new Seen();
  printed = "";

  /** `myxi serve` for this application; on free ports where the flags name none. */
  static serve(t, app, flags = []) {
    const exchanges = flags.some((flag) => flag.startsWith("--exchange=")) ? [] : ["--exchange=widgets,gadgets"];
    return Gateway.#run(t, ["serve", `--action-handler=http://${app.address}`, ...exchanges, ...flags], []);
  }

  static demo(t, flags = []) {
    return Gateway.#run(t, ["demo", ...flags], ["page-listen"]);
  }

  static async #run(t, args, further) {
    const listeners = ["listen", "grpc-listen", "admin-listen", ...further];
    const open = listeners.filter((name) => !args.some((arg) => arg.startsWith(`--${name}=`)));
    const gateway = new Gateway();
    t.after(() => gateway.#process && gateway.kill());
    await gateway.#start([...args, ...open.map((name) => `--${name}=127.0.0.1:0`), "--log-format=json"]);
    gateway.pushes = new Pushes(t, gateway.grpc);
    return gateway;
  }

  async #start(args) {
    /** On the clock of this machine, as `listeningSince`. */
    this.spawnedAt = Date.now();
    this.#process = spawn(BINARY, args, { env: Object.fromEntries(environment), stdio: ["ignore", "pipe", "pipe"] });
    this.#ended = once(this.#process, "close");
    const greeted = once(this.#process.stdout, "data");
    this.#process.stdout.on("data", (text) => (this.printed += text));
    createInterface({ input: this.#process.stderr }).on("line", (line) => this.log.add(parsed(line)));
    this.#ended.then(() => this.log.add({ message: ENDED }));
    const listening = await this.log.next(({ message }) => ["listening", ENDED].includes(message), "a gateway");
    if (listening.message === ENDED) throw new Error(`${BINARY} ended: ${JSON.stringify(this.log.all)}`);
    Object.assign(this, { clients: listening.clients, grpc: listening.grpc, admin: listening.admin });
    this.replica = listening.replica;
    if (args[0] === "demo") await within(greeted, "the demo's greeting");
    this.listeningSince = Date.parse(listening.timestamp);
  }

  get websocket() {
    return `ws://${this.clients}/pushwss`;
  }

  /** Where the demo's page is, as its greeting says. */
  get page() {
    return this.printed.match(/Open {2}(http:\S+)/)?.[1];
  }

  logged(message) {
    return this.log.next((line) => line.message === message, `the log's ${JSON.stringify(message)}`);
  }

  push(...event) {
    return this.pushes.push(...event);
  }

  signal(name) {
    this.#process.kill(name);
  }

  /** Its exit code, once it has ended after this signal. */
  end(signal) {
    this.signal(signal);
    return within(this.#ended, "the gateway's end").then(([code]) => code);
  }

  /** At once: nothing is finished. */
  kill() {
    return this.end("SIGKILL");
  }
}

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return { message: line };
  }
}
