// What a team on the Ruby original has: its blocks in the handler of docs/from-myxi.md, as it
// stands there, and an application that publishes through bunny as the original does.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort } from "./ports.js";
import { Seen, within } from "./within.js";

const file = (path) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const STUBS = join(process.env.MYXI_TEST_RUNTIMES ?? file("target/runtimes"), "ruby");

/** An ActionHandler in Ruby: who knows the token is in, and may subscribe to all but 13. */
export class RubyApplication {
  #directory;
  #process;

  static async start(t) {
    const app = new RubyApplication();
    app.#directory = await mkdtemp(join(tmpdir(), "myxi-browser-ruby-"));
    const port = await freePort();
    app.address = `127.0.0.1:${port}`;
    const guide = await readFile(file("docs/from-myxi.md"), "utf8");
    const blocks = block(guide, "my_myxi_actions.rb") + (await readFile(file("tests/original/further_actions.rb"), "utf8"));
    const handler = block(guide, "myxi_handler.rb").replace("127.0.0.1:50051", app.address);
    await app.#write("my_myxi_actions.rb", blocks);
    await app.#write("myxi_handler.rb", handler);
    for (const [name, path] of [
      ["environment", "config/environment.rb"],
      ["exchange", "gem/myxi/exchange.rb"],
      ["action", "gem/myxi/action.rb"],
    ]) {
      await mkdir(dirname(join(app.#directory, path)), { recursive: true });
      await cp(file(`tests/original/${name}.rb`), join(app.#directory, path));
    }
    t.after(async () => {
      await app.kill();
      await rm(app.#directory, { recursive: true, force: true });
    });
    await app.restart();
    return app;
  }

  #write(name, text) {
    return writeFile(join(this.#directory, name), text);
  }

  async kill() {
    if (!this.#process) return;
    const ended = once(this.#process, "close");
    this.#process.kill("SIGKILL");
    this.#process = undefined;
    await within(ended, "the handler's end");
  }

  /** Where it was before. Comes back when it takes connections. */
  async restart() {
    const program = join(this.#directory, "myxi_handler.rb");
    this.#process = spawn("ruby", ["-I", join(this.#directory, "gem"), "-I", STUBS, program], { stdio: "inherit" });
    const [host, port] = this.address.split(":");
    const up = async () => {
      while (!(await takesConnections(host, port))) await pause(50);
    };
    await within(up(), "the handler in Ruby");
  }
}

/** The block of the guide that begins with this file's name. */
function block(guide, name) {
  const begin = guide.indexOf(`# ${name}\n`);
  return guide.slice(begin, guide.indexOf("```", begin));
}

async function takesConnections(host, port) {
  const socket = connect(port, host);
  const taken = await Promise.race([once(socket, "connect").then(() => true), once(socket, "error").then(() => false)]).catch(() => false);
  socket.destroy();
  return taken;
}

/** Pushes as the original does: to a direct exchange, without confirms. */
export class Publisher {
  #process;
  #said = new Seen();
  #published = 0;

  /** A broker that takes connections again may still end the first ones. */
  static async connect(t, url, tries = 60) {
    for (let n = 0; n < tries; n++) {
      const publisher = new Publisher();
      if (await publisher.#begins(t, url)) return publisher;
    }
    throw new Error(`bunny: not connected in ${tries} times`);
  }

  async #begins(t, url) {
    this.#process = spawn("ruby", [file("tests/suite/support/bunny.rb"), url], { stdio: ["pipe", "pipe", "ignore"] });
    t.after(() => this.#process.kill("SIGKILL"));
    const ended = once(this.#process, "close").then(() => this.#said.add("ended"));
    ended.catch(() => {});
    createInterface({ input: this.#process.stdout }).on("line", (line) => this.#said.add(line));
    return (await this.#said.next((line) => ["connected", "ended"].includes(line), "bunny")) === "connected";
  }

  async push(...event) {
    this.#published++;
    this.#process.stdin.write(`${JSON.stringify(event)}\n`);
    const count = () => this.#said.all.filter((line) => line === "published").length;
    await this.#said.next(() => count() >= this.#published, "what bunny published");
  }
}
