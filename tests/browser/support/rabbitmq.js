// A real RabbitMQ of a test's own, on free ports, with an epmd and a cookie of its own. It can be
// killed and started again, with its data. All of it ends with the test.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { freePort } from "./ports.js";
import { within } from "./within.js";

const SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/** A machine that has other things to do. */
const START_DEADLINE = 120_000;

/** A stream that was declared for the first time a moment ago may not survive a kill. */
const SETTLE = 3_000;

export class RabbitMq {
  #directory;
  #environment;
  #port;
  #node;

  static async start(t) {
    const broker = new RabbitMq();
    broker.#directory = await mkdtemp(join(tmpdir(), "myxi-browser-rabbitmq-"));
    const file = (name, content, mode = 0o600) => writeFile(join(broker.#directory, name), content, { mode });
    const [port, distribution, streams, names] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
    await file(".erlang.cookie", `cookie${Math.random()}`, 0o400);
    await file("enabled_plugins", "[rabbitmq_stream].");
    await file("rabbitmq.conf", `stream.listeners.tcp.1 = 127.0.0.1:${streams}\n`);
    broker.#port = port;
    broker.#environment = {
      ...process.env,
      HOME: broker.#directory,
      ERL_EPMD_ADDRESS: "127.0.0.1",
      ERL_EPMD_PORT: names,
      RABBITMQ_NODENAME: "browser@localhost",
      RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
      RABBITMQ_NODE_PORT: port,
      RABBITMQ_DIST_PORT: distribution,
      RABBITMQ_CONFIG_FILE: join(broker.#directory, "rabbitmq"),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(broker.#directory, "enabled_plugins"),
      RABBITMQ_LOG_BASE: join(broker.#directory, "log"),
      RABBITMQ_MNESIA_BASE: join(broker.#directory, "data"),
    };
    const epmd = broker.#spawn("epmd", ["-port", names, "-address", "127.0.0.1"]);
    t.after(async () => {
      await Promise.all([end(broker.#node), end(epmd)]);
      await rm(broker.#directory, { recursive: true, force: true });
    });
    await broker.restart();
    return broker;
  }

  get url() {
    return `amqp://guest:guest@127.0.0.1:${this.#port}`;
  }

  async kill() {
    await pause(SETTLE);
    await end(this.#node);
    this.#node = undefined;
  }

  /** Where it was before. Comes back when it takes connections. */
  async restart() {
    this.#node = this.#spawn(SERVER, []);
    const up = async () => {
      while (!(await takesConnections(this.#port))) await pause(50);
    };
    await within(up(), "RabbitMQ", START_DEADLINE);
  }

  /** In a process group of its own, as its scripts start others. */
  #spawn(program, args) {
    return spawn(program, args.map(String), { cwd: this.#directory, env: this.#environment, stdio: "ignore", detached: true });
  }
}

async function end(child) {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  process.kill(-child.pid, "SIGKILL");
  await ended;
}

async function takesConnections(port) {
  const socket = connect(port, "127.0.0.1");
  const taken = await Promise.race([once(socket, "connect").then(() => true), once(socket, "error").then(() => false)]).catch(() => false);
  socket.destroy();
  return taken;
}
