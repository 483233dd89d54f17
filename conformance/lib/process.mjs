// Starting servers for tests on free loopback ports, and ending them.

import { spawn } from "node:child_process";
import { createServer, connect } from "node:net";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { dirname } from "node:path";
import { pause, within } from "./wait.mjs";

export const here = dirname(dirname(fileURLToPath(import.meta.url)));
export const root = dirname(here);

export async function freePort() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

export function portAnswers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

// run runs a command to its end; resolves to { code, output }.
export async function run(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  const [code, signal] = await once(child, "close");
  return { code: code ?? signal, output };
}

// Process is a server that was started and is ended by stop(), or at the
// latest with this process.
export class Process {
  #log = "";

  // start waits until `port` answers.
  static async start(command, args, port, options = {}) {
    const p = new Process();
    p.child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    p.child.stdout.on("data", (chunk) => p.#append(chunk));
    p.child.stderr.on("data", (chunk) => p.#append(chunk));
    const orphan = () => p.child.kill("SIGKILL");
    process.on("exit", orphan);
    p.exit = once(p.child, "close")
      .then(
        ([code, signal]) => code ?? signal,
        (error) => error.message,
      )
      .then((how) => {
        process.off("exit", orphan);
        p.ended = how;
      });
    for (let tries = 0; !(await portAnswers(port)); tries++) {
      if (p.ended !== undefined) throw new Error(`${command} ended with ${p.ended}:\n${p.log}`);
      if (tries > 1200) throw new Error(`${command} never listened on ${port}:\n${p.log}`);
      await Promise.race([pause(50), p.exit]);
    }
    return p;
  }

  // Bounded: what the middle of a long log says is never asked for.
  #append(chunk) {
    this.#log += chunk;
    if (this.#log.length > 4_000_000) this.#log = this.#log.slice(0, 1_000_000) + "\n…\n" + this.#log.slice(-1_000_000);
  }

  get log() {
    return this.#log;
  }

  get pid() {
    return this.child.pid;
  }

  get alive() {
    return this.ended === undefined;
  }

  async stop(signal = "SIGTERM") {
    if (!this.alive) return;
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    try {
      await within(this.exit, "the server's end");
    } finally {
      clearTimeout(timer);
    }
  }
}
