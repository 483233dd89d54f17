// The Engine.IO echo server that engineio.test.mjs judges: the one at
// ENGINE_URL, Node's own with REFERENCE set, or else ours.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Endpoint } from "./engine.mjs";
import { freePort, here, Process, root, run } from "./process.mjs";

export const reference = Boolean(process.env.REFERENCE);

let built;

// build compiles conformance/echo once and returns the program's path.
async function build() {
  built ??= (async () => {
    const dir = await mkdtemp(join(tmpdir(), "realtime-echo-"));
    const program = join(dir, "echo");
    const { code, output } = await run("go", ["build", "-o", program, "./conformance/echo"], { cwd: root });
    if (code !== 0) throw new Error(`go build ./conformance/echo:\n${output}`);
    return { dir, program };
  })();
  return built;
}

// startEcho returns { endpoint, stop }. Without arguments the server pings so
// rarely that no ping comes between a test's packets.
export async function startEcho({ interval = 25_000, timeout = 20_000 } = {}) {
  if (process.env.ENGINE_URL) return { endpoint: new Endpoint(process.env.ENGINE_URL), stop: async () => {} };
  const port = await freePort();
  const server = reference
    ? await Process.start(process.execPath, [join(here, "lib/reference.mjs"), "engine", port, interval, timeout], port)
    : await Process.start(
        (await build()).program,
        ["-addr", `127.0.0.1:${port}`, "-ping-interval", `${interval}ms`, "-ping-timeout", `${timeout}ms`],
        port,
      );
  return { endpoint: new Endpoint(`http://127.0.0.1:${port}/engine.io/`), server, stop: () => server.stop() };
}

export async function removeBuild() {
  if (built) await rm((await built).dir, { recursive: true, force: true });
}
