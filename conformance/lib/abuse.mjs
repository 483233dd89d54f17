// What an abuser does, in a thread of its own so that the honest clients of
// the test keep theirs: abuse(kind, port, ms) runs one kind for so long and
// resolves to what became of it.

import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { Agent, request } from "node:http";
import WebSocket from "ws";

let abusers = 0;

export function abuse(kind, port, ms) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { kind, port, ms, address: `198.51.100.${++abusers}` },
    });
    worker.on("message", resolve);
    worker.on("error", reject);
  });
}

// Every kind has an address of its own, as the trusted proxy tells.
const headers = { "x-forwarded-for": workerData?.address };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// connection opens a WebSocket in the main namespace; undefined if refused.
function connection(port, { read = true } = {}) {
  return new Promise((resolve) => {
    const ws = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`, { headers, perMessageDeflate: false });
    ws.on("error", () => resolve());
    ws.on("close", () => resolve());
    ws.on("message", (data) => {
      if (String(data).startsWith("40")) {
        if (!read) ws._socket.pause();
        resolve(ws);
      }
    });
    ws.on("open", () => ws.send("40"));
  });
}

// pour sends messages as fast as the server takes them, over `n` connections
// that are opened again when they are closed.
async function pour(port, end, n, message, { window = 50, read } = {}) {
  const outcome = { sent: 0, closed: 0 };
  const one = async () => {
    while (Date.now() < end) {
      const ws = await connection(port, { read });
      if (!ws) {
        await sleep(50);
        continue;
      }
      // Closing counts: the server has said good-bye, and the end comes when it
      // has read what is on its way.
      const open = () => ws.readyState === WebSocket.OPEN;
      while (open() && Date.now() < end) {
        for (let i = 0; i < window; i++) ws.send(message(outcome.sent++));
        do await sleep(1);
        while (ws.bufferedAmount > 1e6 && open() && Date.now() < end);
      }
      if (!open()) outcome.closed++;
      ws.terminate();
    }
  };
  await Promise.all(Array.from({ length: n }, one));
  return outcome;
}

const large = "x".repeat(900_000);

const kinds = {
  events: (port, end) => pour(port, end, 10, (i) => `42${i}["echo",${i}]`, { window: 200 }),
  joins: (port, end) => pour(port, end, 5, (i) => `42["join","room${i}"]`, { window: 200 }),
  fanout: (port, end) => pour(port, end, 5, () => `42["shout","${"x".repeat(5000)}"]`),
  bytes: (port, end) => pour(port, end, 5, () => `42["ignored","${large}"]`, { window: 1 }),
  unread: (port, end) => pour(port, end, 5, () => `42["echo","${"x".repeat(5000)}"]`, { read: false }),
  namespaces: (port, end) => pour(port, end, 5, (i) => `4${i & 1}/room-${i >> 1},`),
  acks: (port, end) => pour(port, end, 5, (i) => `43${i}[]`, { window: 200 }),
  deep: (port, end) => pour(port, end, 5, () => `42["echo",${"[".repeat(100_000)}${"]".repeat(100_000)}]`, { window: 1 }),
  // One at a time: several would be busier with making such messages than with hearing the answer.
  oversized: (port, end) => pour(port, end, 1, () => `42["echo","${large}${large}"]`, { window: 1 }),
  async connects(port, end) {
    const agent = new Agent({ keepAlive: true, maxSockets: 50 });
    const outcome = {};
    const one = () =>
      new Promise((resolve) => {
        const req = request({ port, host: "127.0.0.1", path: "/socket.io/?EIO=4&transport=polling", headers, agent }, (res) => {
          outcome[res.statusCode] = (outcome[res.statusCode] ?? 0) + 1;
          res.resume();
          res.on("end", resolve);
        });
        req.on("error", resolve);
        req.end();
      });
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        while (Date.now() < end) await one();
      }),
    );
    agent.destroy();
    return outcome;
  },
};

if (!isMainThread && workerData?.kind) {
  const { kind, port, ms } = workerData;
  parentPort.postMessage(await kinds[kind](port, Date.now() + ms));
}
