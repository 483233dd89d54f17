// Steps of rules that the real client is made to notice: schema, rate, and
// dedupe with the client's own `retries`; and `caddy realtime`.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Caddy, globals, program } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, connects, heard, next } from "./lib/client.mjs";
import { run } from "./lib/process.mjs";
import { until } from "./lib/wait.mjs";

const limit = { timeout: 60_000 };
const websocket = { transports: ["websocket"] };
const secret = "a secret of at least thirty-two bytes";

const rules = `
	on connect {
		join "all"
	}
	on message {
		schema \`{
			"type": "object",
			"required": ["roomId", "text"],
			"properties": {"roomId": {"type": "string"}, "text": {"type": "string", "minLength": 1, "maxLength": 20}}
		}\`
		ack \`{"ok": true}\`
	}
	on often {
		rate 3/h burst 5
		ack
	}
	on pay {
		dedupe data.id 1m
		emit paid data.id sender to "all"
		ack \`{"paid": data.id, "receipt": uuid()}\`
	}
	on confirm {
		dedupe data.id 1m
		ask sure sure-to-pay data.id timeout 10s
		emit paid data.id sender to "all"
		ack \`{"paid": data.id, "sure": sure[0]}\`
	}
	on number {
		let n data.n
		let id uuid()
		emit told id n to "all"
		if \`data.ask\` {
			ask doubled double-it n
			emit told id doubled[0] to "all"
		}
		ack \`{"id": id, "stored": socket.data}\`
	}
	on refuse {
		dedupe data.id 1m
		emit tried data.id
		require \`data.id == ""\` "Never" FORBIDDEN
	}
`;

const config = `${globals()}

http://127.0.0.1:{$PORT} {
	realtime {
		hub open
		${rules}
		on order {
			emit ordered data.item sender "{env.KITCHEN}" to "orders" of /staff
			broadcast overheard data.item to * of /staff
			require \`data.price * 2 < 6\` "Too dear" TOO_DEAR
			ack \`{"twice": data.price * 2, "half": data.price / 2.0}\`
		}
		namespace /staff {
			on connect {
				join "orders"
			}
		}
	}
}

http://127.0.0.1:{$AUTH} {
	realtime {
		hub members
		auth jwt {
			secret "${secret}"
		}
		${rules}
	}
}
`;

describe("steps", () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start({ config, ports: ["AUTH"], env: { KITCHEN: "the \"kitchen\"" } });
  });
  afterEach(() => closeAll());
  after(() => caddy.stop());

  test("emit of another namespace, codes of one's own, mixed arithmetic, placeholders", limit, async () => {
    const chef = await connected(`${caddy.url}/staff`, websocket);
    const told = heard(chef, "ordered");
    const overheard = heard(chef, "overheard");
    const guest = client(caddy.url, websocket);
    await connects(guest);
    const own = guest.io.socket("/staff");
    await connects(own);
    const mine = [heard(own, "ordered"), heard(own, "overheard")];
    assert.deepEqual(await call(guest, "order", { item: "soup", price: 1.5 }), { twice: 3, half: 0.75 });
    assert.deepEqual(await call(guest, "order", { item: "tea", price: 2 }), { twice: 4, half: 1 });
    assert.deepEqual(await call(guest, "order", { item: "truffle", price: 300 }), { error: "Too dear", code: "TOO_DEAR" });
    await until(() => overheard.length === 3 && mine[0].length === 3, "all orders");
    assert.deepEqual(told, ["soup", "tea", "truffle"].map((item) => [item, guest.id, "the \"kitchen\""]));
    assert.deepEqual(mine, [told, []]); // a broadcast spares the sender's own socket there
  });

  test("schema: the acknowledgement says which field, and what it must be", limit, async () => {
    const socket = await connected(caddy.url, websocket);
    assert.deepEqual(await call(socket, "message", { roomId: "r", text: "hi" }), { ok: true });
    for (const [data, error] of [
      [{ text: "hi" }, "Missing field roomId"],
      [{ roomId: 7, text: "hi" }, "roomId: must be a string"],
      [{ roomId: "r", text: "" }, "text: must not be empty"],
      [{ roomId: "r", text: "x".repeat(21) }, "text: must have at most 20 characters"],
      ["hi", "The first argument must be an object"],
    ]) {
      assert.deepEqual(await call(socket, "message", data), { error, code: "INVALID" });
    }
    assert.equal((await call(socket, "message", { roomId: "r", text: "x".repeat(100_000) })).code, "TOO_LARGE");
    const [refused] = await Promise.all([next(socket, "error"), socket.emit("message", {})]);
    assert.deepEqual(refused, [{ code: "INVALID", message: "Missing field roomId", event: "message" }]);
  });

  test("rate: a socket's events beyond the burst are refused, another's are not", limit, async () => {
    const [a, b] = await Promise.all([connected(caddy.url, websocket), connected(caddy.url, websocket)]);
    for (let i = 0; i < 5; i++) assert.equal(await call(a, "often"), undefined);
    assert.deepEqual(await call(a, "often"), { error: "Too many requests", code: "RATE_LIMITED" });
    assert.equal(await call(b, "often"), undefined);
    assert.deepEqual(await call(a, "message", { roomId: "r", text: "hi" }), { ok: true });
  });

  test("dedupe: what the client's retries send again runs once", limit, async () => {
    const watcher = await connected(caddy.url, websocket);
    const paid = heard(watcher, "paid");
    // The server's answer takes longer than the client waits: it sends again.
    const socket = await connected(caddy.url, { ...websocket, retries: 5, ackTimeout: 300 });
    const questions = [];
    socket.on("sure-to-pay", (id, answer) => {
      questions.push(id);
      setTimeout(() => answer("yes"), 800);
    });
    let sent = 0;
    socket.onAnyOutgoing(() => sent++);
    assert.deepEqual(await socket.emitWithAck("confirm", { id: "first" }), { paid: "first", sure: "yes" });
    assert.ok(sent > 1, `the client sent ${sent} times`);
    await until(() => paid.length > 0);
    await call(watcher, "message", {}); // behind whatever else came
    assert.deepEqual([questions, paid], [["first"], [["first", socket.id]]]);
  });

  test("dedupe: an answer that was lost comes again after a reconnect, for the same user", limit, async () => {
    const url = `http://127.0.0.1:${caddy.ports.AUTH}`;
    const token = async (sub) => (await run(program, ["realtime", "token", "--secret-env", "SECRET", "--sub", sub], { env: { ...process.env, SECRET: secret } })).output.trim();
    const auth = { token: await token("ann") };
    const watcher = await connected(url, { ...websocket, auth });
    const paid = heard(watcher, "paid");

    const socket = client(url, { ...websocket, auth, reconnection: true, reconnectionDelay: 50, retries: 5, ackTimeout: 5_000 });
    await connects(socket);
    const lost = new Promise((resolve) => {
      const onack = socket.onack;
      socket.onack = (packet) => {
        socket.onack = onack;
        socket.io.engine.close();
        resolve(packet.data[0]);
      };
    });
    const answer = await socket.emitWithAck("pay", { id: "k" });
    assert.deepEqual(answer, await lost); // the receipt, too
    assert.equal(paid.length, 1);

    // Another user's key is another one.
    const bob = await connected(url, { ...websocket, auth: { token: await token("bob") } });
    assert.notEqual((await call(bob, "pay", { id: "k" })).receipt, answer.receipt);
    await until(() => paid.length === 2);
    assert.deepEqual(paid, [["k", "ann"], ["k", "bob"]]);
  });

  test("dedupe: a refusal is an answer, too", limit, async () => {
    const socket = await connected(caddy.url, websocket);
    const tried = heard(socket, "tried");
    for (let i = 0; i < 3; i++) assert.deepEqual(await call(socket, "refuse", { id: "x" }), { error: "Never", code: "FORBIDDEN" });
    assert.equal(tried.length, 1);
  });

  test("let: a value for the steps behind it, of each run its own, and not stored", limit, async () => {
    const watcher = await connected(caddy.url, websocket);
    const told = heard(watcher, "told");
    const socket = await connected(caddy.url, websocket);
    socket.on("double-it", (n, answer) => setTimeout(() => answer(2 * n), n === 1 ? 200 : 0));
    // The first waits for its answer while the second begins and ends.
    const [first, second] = await Promise.all([call(socket, "number", { n: 1, ask: true }), call(socket, "number", { n: 5, ask: true })]);
    assert.notEqual(first.id, second.id);
    await until(() => told.length === 4);
    assert.deepEqual(told, [[first.id, 1], [second.id, 5], [second.id, 10], [first.id, 2]]);
    assert.deepEqual([first.stored, second.stored], [{}, {}]);
  });

  test("caddy realtime test: the outcome is the exit code", limit, async () => {
    const dir = await mkdtemp(join(tmpdir(), "realtime-command-"));
    const file = join(dir, "Caddyfile");
    try {
      await writeFile(file, `localhost {\n\trealtime {\n${rules}\n\t}\n}\n`);
      const command = (...args) => run(program, ["realtime", "test", file, ...args], { env: process.env });
      const ok = await command("pay", "--args", `[{"id": "a"}]`, "--user", "ann");
      assert.equal(ok.code, 0, ok.output);
      assert.match(ok.output, /emit paid data\.id sender to "all" → emits paid\["a","ann"\] to all\n/);
      const refused = await command("refuse", "--args", `[{"id": "a"}]`);
      assert.equal(refused.code, 1, refused.output);
      assert.equal((await command("refuse", "--args", `[{"id": "a"}]`, "--expect", "FORBIDDEN")).code, 0);
      const preset = await run(program, ["realtime", "preset", "chat"], { env: process.env });
      assert.match(preset.output, /^# chat: /);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });
});
