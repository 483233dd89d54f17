// A client that sends more than the limits allow is slowed: the stock client
// loses nothing and stays connected, over each transport.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { Caddy, globals } from "./lib/caddy.mjs";
import { closeAll, connected } from "./lib/client.mjs";
import { until } from "./lib/wait.mjs";

const limit = { timeout: 60_000 };
const transports = {
  WebSocket: { transports: ["websocket"] },
  polling: { transports: ["polling"] },
  both: {},
};

// Small limits and a short heartbeat: what takes two minutes by the defaults.
const config = `${globals()}
http://127.0.0.1:{$PORT} {
	realtime {
		ping 500ms 500ms
		limits {
			bytes 500KB/s burst 500KB
			events 100/s burst 200
			cpu 20ms/s burst 20ms
		}
		on take {
			ack \`data.n\`
		}
		on work {
			require \`data.list.all(x, data.list.all(y, x + y > 0))\` "No"
			ack \`data.n\`
		}
	}
}
`;

describe("slowed", () => {
  let caddy;
  before(async () => (caddy = await Caddy.start({ config })));
  after(() => caddy.stop());
  afterEach(closeAll);

  // send emits n events at once and checks that all are answered, in order, on
  // one connection. It returns the seconds that it took.
  async function send(options, n, event, data) {
    const socket = await connected(caddy.url, options);
    let lost = "";
    socket.on("disconnect", (reason) => (lost = reason));
    const answers = [];
    const began = Date.now();
    for (let i = 0; i < n; i++) socket.emit(event, { n: i, ...data }, (answer) => answers.push(answer));
    await until(() => answers.length === n || lost, `${n} answers`, 50_000);
    assert.equal(lost, "");
    assert.deepEqual(answers, Array.from({ length: n }, (_, i) => i));
    return (Date.now() - began) / 1000;
  }

  for (const [name, options] of Object.entries(transports)) {
    test(`${name}: 700 events at once are all answered`, limit, async () => {
      assert.ok((await send(options, 700, "take", {})) > 4);
    });
    test(`${name}: 3 MB in messages of 100 KB arrive`, limit, async () => {
      assert.ok((await send(options, 30, "take", { text: "x".repeat(100_000) })) > 4);
    });
    test(`${name}: events whose rule takes long are all handled`, limit, async () => {
      await send(options, 40, "work", { list: Array(60).fill(1) });
    });
  }
});
