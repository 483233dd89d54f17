// `caddy reload` under live clients: connections stay, traffic goes on, and
// the new rules hold at once. reload-large.mjs is the large form.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { once } from "node:events";
import { Caddy, globals } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, connects, heard, next } from "./lib/client.mjs";
import { disperse, PollingMember } from "./lib/crowd.mjs";
import { Endpoint } from "./lib/engine.mjs";
import { pause, until, within } from "./lib/wait.mjs";

const limit = { timeout: 120_000 };
const websocket = { transports: ["websocket"] };
const polling = { transports: ["polling"] };

// config is a site whose rules tell their version.
const config = (version, { options = "", rules = "", after = "" } = {}) => `${globals()}
http://127.0.0.1:{$PORT} {
	realtime {
		${options}
		on version {
			ack "${version}"
		}
		on sub {
			join data
		}
		on publish {
			emit news data to "all"
		}
		on slow {
			ask answer question timeout 30s
			ack "${version}" answer[0]
		}
		${rules}
	}
}
${after}`;

let caddy;

before(async () => {
  caddy = await Caddy.start({ config: config("v0") });
});

afterEach(() => {
  closeAll();
  disperse();
});

after(() => caddy?.stop());

async function reload(text) {
  const { code, output } = await caddy.reload(text);
  assert.equal(code, 0, output);
}

describe("caddy reload", () => {
  test("200 clients with numbered traffic", limit, async () => {
    const open = async (i) => {
      const socket = client(caddy.url, { ...websocket, reconnection: true, reconnectionDelay: 20 });
      socket.on("connect", () => socket.emit("sub", "all"));
      socket.who = `WebSocket ${i}`;
      socket.news = heard(socket, "news");
      socket.losses = heard(socket, "disconnect");
      await connects(socket);
      await call(socket, "version"); // so that `sub` has taken effect
      return socket;
    };
    // The stock client over polling cannot play the browser in Node: without
    // keep-alive each poll is a new connection, some of which the kernel resets
    // with the old listener's queue, and with it the XMLHttpRequest for Node
    // never finishes a retry.
    const poll = async (i) => {
      const m = await PollingMember.open(
        caddy.url,
        (m, name, [n]) => m.news.push(n),
        (m) => m.emit("sub", "all"),
      );
      m.who = `polling client ${i}`;
      m.news = [];
      await m.call("version");
      return m;
    };
    const sockets = await Promise.all(Array.from({ length: 150 }, (_, i) => open(i)));
    const pollers = await Promise.all(Array.from({ length: 50 }, (_, i) => poll(i)));
    const publisher = await connected(caddy.url, websocket);

    let sent = 0;
    let publishing = true;
    const acks = [];
    const traffic = (async () => {
      while (publishing) {
        acks.push(call(publisher, "publish", sent++));
        await pause(25);
      }
    })();

    for (let i = 1; i <= 6; i++) {
      await reload(config(`v${i}`));
      const versions = await Promise.all([
        ...sockets.map((s) => call(s, "version")),
        ...pollers.map((m) => within(m.call("version"), "an answer by polling", 5000).then(([v]) => v, () => `v${i}`)), // its loss is counted below
      ]);
      assert.deepEqual(new Set(versions), new Set([`v${i}`]));
    }
    publishing = false;
    await traffic;
    await Promise.all(acks);

    const numbers = Array.from({ length: sent }, (_, i) => i);
    await until(() => sockets.every((s) => s.news.length >= sent), "all news on all WebSockets");
    for (const s of sockets) {
      assert.deepEqual(s.losses, [], s.who);
      assert.deepEqual(s.news.flat(), numbers, s.who);
    }
    // A poll may wait in the old listener's queue, which the kernel resets.
    const whole = pollers.filter((m) => m.disconnects === 0);
    assert.ok(whole.length >= 48, `${50 - whole.length} of 50 polling clients had to reconnect`);
    await until(() => whole.every((m) => m.news.length >= sent), "all news at all polling clients");
    for (const m of pollers) {
      if (m.disconnects === 0) assert.deepEqual(m.news, numbers, m.who);
      else assert.deepEqual(m.news, [...new Set(m.news)].sort((a, b) => a - b), m.who);
    }
  });

  test("a config that does not load changes nothing", limit, async () => {
    const side = { rules: 'namespace /side {\n on version {\n ack "good"\n }\n }' };
    await reload(config("good", side));
    const sockets = [await connected(caddy.url, websocket), await connected(caddy.url, polling)];
    const beside = [await connected(`${caddy.url}/side`, websocket), await connected(`${caddy.url}/side`, polling)];
    sockets.push(...beside);
    const losses = sockets.flatMap((s) => heard(s, "disconnect"));

    const broken = await caddy.reload(config("broken", { rules: "on x {\n emit a nonsense(\n }" }));
    assert.notEqual(broken.code, 0);
    assert.match(broken.output, /Caddyfile:\d+/);

    // A config that fails when it starts: the second site's port is taken. It
    // has no namespace /side. Caddy starts apps in random order.
    const taken = createServer();
    taken.listen(0, "127.0.0.1");
    await once(taken, "listening");
    const late = `http://127.0.0.1:${taken.address().port} {\n\trespond hi\n}`;
    for (let i = 0; i < 6; i++) {
      assert.notEqual((await caddy.reload(config("failing", { after: late }))).code, 0);
      for (const s of sockets) assert.equal(await call(s, "version"), "good");
    }
    taken.close();

    await reload(config("better", side));
    for (const s of sockets) assert.equal(await call(s, "version"), beside.includes(s) ? "good" : "better");
    assert.deepEqual(losses, []);
  });

  test("a rule ends on the version that it began with", limit, async () => {
    await reload(config("old"));
    const socket = await connected(caddy.url, websocket);
    const question = new Promise((resolve) => socket.once("question", (answer) => resolve(answer)));
    const result = new Promise((resolve) => socket.emit("slow", (...answer) => resolve(answer)));
    const answer = await question;
    await reload(config("new"));
    answer("late");
    assert.deepEqual(await result, ["old", "late"]);
    assert.equal(await call(socket, "version"), "new");
  });

  test("a rule that is gone, a rule that is new", limit, async () => {
    await reload(config("a", { rules: 'on extra {\n ack "extra"\n }' }));
    const socket = await connected(caddy.url, polling);
    assert.equal(await call(socket, "extra"), "extra");
    await reload(config("b"));
    assert.equal((await call(socket, "extra")).code, "UNKNOWN_EVENT");
  });

  test("sockets of a namespace that is gone are told for good, others stay", limit, async () => {
    await reload(config("with", { rules: "namespace /side {\n on version {\n ack nsp\n }\n }" }));
    const side = await connected(`${caddy.url}/side`, websocket);
    const main = await connected(caddy.url, websocket);
    assert.equal(await call(side, "version"), "/side");
    const gone = next(side, "disconnect");
    await reload(config("without"));
    assert.equal((await gone)[0], "io server disconnect");
    assert.equal(await call(main, "version"), "without");
    await assert.rejects(connects(client(`${caddy.url}/side`, websocket)), { message: "Invalid namespace" });
  });

  test("ping and max_message hold from the next handshake", limit, async () => {
    const endpoint = new Endpoint(`${caddy.url}/socket.io/`);
    await reload(config("before"));
    const socket = await connected(caddy.url, websocket);
    await reload(config("after", { options: "ping 7s 6s\n max_message 2MB" }));
    const { handshake } = await endpoint.poll();
    assert.deepEqual([handshake.pingInterval, handshake.pingTimeout, handshake.maxPayload], [7000, 6000, 2_000_000]);
    assert.equal(await call(socket, "version"), "after");
  });

  test("nothing piles up", limit, async () => {
    await reload(config("start"));
    const sockets = await Promise.all(Array.from({ length: 20 }, () => connected(caddy.url, websocket)));
    const settle = async () => {
      await Promise.all(sockets.map((s) => call(s, "version")));
      return caddy.figures();
    };
    for (let i = 0; i < 3; i++) await reload(config(`warm ${i}`));
    const first = await settle();
    for (let i = 0; i < 15; i++) await reload(config(`more ${i}`));
    await until(async () => {
      const { heap, goroutines } = await settle();
      return goroutines <= first.goroutines + 5 && heap <= first.heap * 1.25 + 1e6;
    }, `heap and goroutines near ${JSON.stringify(first)}`);
    for (const s of sockets) assert.equal(s.connected, true);
  });
});
