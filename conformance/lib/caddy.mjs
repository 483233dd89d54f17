// Starting Caddy for tests: our build at ../caddy, or the one named by CADDY.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { request } from "./engine.mjs";
import { freePort, Process, root, run } from "./process.mjs";
import { within } from "./wait.mjs";

export const program = process.env.CADDY ?? join(root, "caddy");

// globals is the block of global options for Caddy.start; `more` are further
// lines in it. All sites are on 127.0.0.1, without certificates.
export const globals = (more = "") => `{
	admin 127.0.0.1:{$ADMIN}
	persist_config off
	default_bind 127.0.0.1
	auto_https off
${more}
}`;

// Caddy is a running Caddy with its admin endpoint on a port of its own.
export class Caddy {
  // start runs `config`, the text of a Caddyfile, or `file`. In both {$ADMIN}
  // and {$PORT} stand for free ports, and so does each name in `ports`.
  static async start({ config, file, ports = [], env = {}, cwd = root }) {
    if (!existsSync(program)) throw new Error(`${program} is missing: build it with ./xcaddy.sh`);
    const c = new Caddy();
    c.cwd = cwd;
    c.dir = await mkdtemp(join(tmpdir(), "realtime-caddy-"));
    c.env = { ...process.env, HOME: c.dir, XDG_DATA_HOME: c.dir, XDG_CONFIG_HOME: c.dir, ...env };
    c.ports = {};
    for (const name of ["ADMIN", "PORT", ...ports]) c.env[name] = c.ports[name] = await freePort();
    c.url = `http://127.0.0.1:${c.ports.PORT}`;
    c.file = file ?? (await c.#write(config));
    try {
      await c.boot();
    } catch (error) {
      await rm(c.dir, { recursive: true, force: true });
      throw error;
    }
    return c;
  }

  // boot starts the process; start does, and again after kill.
  async boot() {
    this.process = await Process.start(program, ["run", "--config", this.file, "--adapter", "caddyfile"], this.ports.PORT, {
      env: this.env,
      cwd: this.cwd,
    });
  }

  async #write(config) {
    const file = join(this.dir, "Caddyfile");
    await writeFile(file, config);
    return file;
  }

  // reload runs `caddy reload` with a new Caddyfile; resolves to { code, output }.
  async reload(config) {
    const file = await this.#write(config);
    const args = ["reload", "--config", file, "--adapter", "caddyfile", "--address", `127.0.0.1:${this.ports.ADMIN}`];
    return within(run(program, args, { env: this.env, cwd: this.cwd }), "caddy reload", 60_000);
  }

  get log() {
    return this.process.log;
  }

  // panics counts what may never be in the log.
  get panics() {
    return this.log.split(/\n/).filter((line) => /panic|goroutine \d+ \[|DATA RACE/.test(line));
  }

  // figures are the process's live heap in bytes, after a collection, and its
  // number of goroutines.
  async figures() {
    const admin = `http://127.0.0.1:${this.ports.ADMIN}/debug/pprof`;
    const heap = await request(`${admin}/heap?gc=1&debug=1`);
    const goroutines = await request(`${admin}/goroutine?debug=1`);
    return {
      heap: Number(/# HeapAlloc = (\d+)/.exec(heap.body)[1]),
      goroutines: Number(/total (\d+)/.exec(goroutines.body)[1]),
    };
  }

  async kill(signal) {
    await this.process.stop(signal);
  }

  // stop fails if anything panicked.
  async stop() {
    await this.process.stop();
    await rm(this.dir, { recursive: true, force: true });
    if (this.panics.length > 0) throw new Error(`Caddy logged panics:\n${this.panics.join("\n")}`);
  }
}
