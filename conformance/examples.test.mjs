// The files of examples/ and the first snippets of README.md and docs/rules.md, run as they are
// but for the port, with the real client.

import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Caddy, globals, program } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, connects, heard, next } from "./lib/client.mjs";
import { request } from "./lib/engine.mjs";
import { root, run as runProgram } from "./lib/process.mjs";
import { until } from "./lib/wait.mjs";

const limit = { timeout: 30_000 };
const websocket = { transports: ["websocket"] };
const polling = { transports: ["polling"] };
const upgrade = { transports: ["polling", "websocket"] };

describe("examples", () => {
  // run starts a Caddyfile of the repository on a free port instead of 8080.
  const run = async (name, body, env) => runText(await readFile(join(root, name), "utf8"), body, env);
  const runText = async (text, body, env) => {
    const caddy = await Caddy.start({ env, config: options(text) + text.replaceAll(/(localhost|127\.0\.0\.1):8080/g, "$1:{$PORT}") });
    try {
      await body(`http://localhost:${caddy.ports.PORT}`, caddy);
    } finally {
      closeAll();
      await caddy.stop();
    }
  };
  // options are global ones for a file that has none.
  const options = (text) => (/^\{$/m.test(text) ? "" : `${globals()}\n`);

  test("get-started.Caddyfile", limit, () =>
    run("examples/get-started.Caddyfile", async (site, caddy) => {
      const a = await connected(site, websocket);
      const hi = next(a, "hi");
      const b = await connected(site, upgrade);
      await hi; // somebody connected
      const both = [next(a, "chat message"), next(b, "chat message")];
      a.emit("chat message", "hello");
      for (const [text] of await Promise.all(both)) assert.equal(text, "hello");
      assert.deepEqual(await call(b, "request", { foo: "bar" }, "baz"), { status: "ok" });
      await until(() => caddy.log.includes("hello"), "the logged message");
    }),
  );

  test("rooms.Caddyfile", limit, () =>
    run("examples/rooms.Caddyfile", async (site) => {
      const a = await connected(site, { ...websocket, auth: { userId: "ada" } });
      const b = await connected(site, { ...polling, auth: { userId: "bob" } });
      const tab = await connected(site, { ...upgrade, auth: { userId: "bob" } });

      // Each step says who hears it, and only they do.
      const all = { a, b, tab };
      const heardBy = async (event, step) => {
        const events = Object.values(all).map((s) => heard(s, event));
        await step();
        for (const s of Object.values(all)) await call(s, "leave", "no room at all"); // what came before it has arrived
        const who = Object.keys(all).filter((_, i) => events[i].length > 0);
        for (const s of Object.values(all)) s.off(event);
        return who.join(" ");
      };

      await call(a, "join", "some room");
      await call(b, "join", "some room");
      assert.equal(await heardBy("some event", () => call(a, "to all", "some room")), "a b");
      assert.equal(await heardBy("some event", () => call(a, "to others", "some room")), "b");
      assert.equal(await heardBy("some event", () => call(a, "to all except", "some room")), "tab");
      await call(b, "join", "room1");
      await call(tab, "join", "room3");
      assert.equal(await heardBy("some event", () => call(a, "to several")), "b tab");
      await call(b, "leave", "room1");
      assert.equal(await heardBy("some event", () => call(a, "to several")), "tab");
      assert.equal(await heardBy("hi", () => call(a, "to user", "bob")), "b tab");
      await call(b, "projects", [{ id: 4321 }, { id: 1 }].map(({ id }) => ({ id: String(id) })));
      assert.equal(await heardBy("project updated", () => call(a, "update project", "4321")), "b");

      const whispered = next(b, "private message");
      assert.equal(await heardBy("private message", () => call(a, "private message", b.id, "psst")), "b");
      assert.deepEqual(await whispered, [a.id, "psst"]);

      const left = next(a, "user has left");
      const { id } = b;
      b.disconnect();
      assert.deepEqual(await left, [id]);
    }),
  );

  test("bench.Caddyfile", limit, () =>
    run("bench/bench.Caddyfile", async (site) => {
      const [a, b] = [await connected(site.replace("localhost", "127.0.0.1"), websocket), await connected(site.replace("localhost", "127.0.0.1"), websocket)];
      for (const s of [a, b]) await call(s, "sub", "room-1");
      const msg = next(b, "msg");
      a.emit("pub", { roomId: "room-1", t: 1, pad: "x" });
      assert.deepEqual(await msg, [{ roomId: "room-1", t: 1, pad: "x" }]);
      assert.deepEqual(await call(a, "echo", { t: 2 }), { t: 2 });
    }),
  );

  // What the page does with it, page.test.mjs says.
  test("Caddyfile: the page, the client, the rules", limit, async () => {
    const secret = "a-secret-for-this-test-only-0123456789";
    const token = async (id) => {
      const made = await runProgram(program, ["realtime", "token", "--secret", secret, "--sub", id]);
      assert.equal(made.code, 0, made.output);
      return made.output.trim();
    };
    const talk = async (site) => {
      for (const [path, type] of [["/", /html/], ["/chat.js", /javascript/], ["/style.css", /css/], ["/Caddyfile", /plain/], ["/socket.io/socket.io.js", /javascript/], ["/socket.io/socket.io.esm.min.js", /javascript/]]) {
        const res = await request(site + path);
        assert.equal(res.status, 200, path);
        assert.match(res.headers["content-type"], type, path);
      }
      await assert.rejects(connects(client(site, websocket)), { message: "Authentication error" });
      const ada = await connected(site, { ...upgrade, auth: { token: await token("ada"), rooms: ["lobby"] } });
      const bob = await connected(site, { ...upgrade, auth: { token: await token("bob") } });
      const message = { key: "1", roomId: "lobby", text: "hello" };
      assert.equal((await call(bob, "send-message", message)).code, "FORBIDDEN");
      assert.equal((await call(bob, "join-room", "No Such Name")).code, "FORBIDDEN");
      await call(bob, "join-room", "lobby");
      assert.equal((await call(bob, "send-message", { key: "0", roomId: "lobby" })).code, "INVALID");
      const long = "x".repeat(2001);
      assert.equal((await call(bob, "send-message", { key: "0", roomId: "lobby", text: long })).error, "text: must have at most 2000 characters");
      assert.equal((await call(bob, "private-message", { key: "0", toUserId: "ada", message: long })).error, "message: must have at most 2000 characters");
      assert.equal((await call(bob, "join-room", "x".repeat(41))).code, "FORBIDDEN");
      const all = heard(ada, "new-message");
      for (let i = 0; i < 3; i++) assert.equal(await call(bob, "send-message", message), undefined);
      await call(bob, "send-message", { ...message, key: "2", text: "and on" });
      await until(() => all.length >= 2, "the messages");
      assert.deepEqual(all.map(([{ timestamp, ...rest }]) => rest), [
        { roomId: "lobby", userId: "bob", text: "hello" },
        { roomId: "lobby", userId: "bob", text: "and on" },
      ]);
      assert.equal((await call(bob, "private-message", { key: "3", toUserId: "eve", message: "psst" })).error, "Not online");
    };
    await run("examples/Caddyfile", talk, { JWT_SECRET: secret });
  });

  // The first snippet of a page, as the page shows it.
  const snippet = async (page) => /^```caddyfile\n(.*?)^```/ms.exec(await readFile(join(root, page), "utf8"))[1];

  test("README: quick start", limit, async () => {
    await runText(await snippet("README.md"), async (site) => {
      const [ann, bob] = [await connected(site), await connected(site)];
      const heardByAnn = next(ann, "new-message");
      await ann.emitWithAck("join-room", "lobby");
      await bob.emitWithAck("join-room", "lobby");
      const answer = await bob.emitWithAck("send-message", { roomId: "lobby", text: "hello" });
      assert.deepEqual(Object.keys(answer), ["success", "messageId"]);
      assert.equal((await heardByAnn)[0].text, "hello");
    });
  });

  test("docs/rules.md: the first rules", limit, async () => {
    await runText(await snippet("docs/rules.md"), async (site) => {
      await assert.rejects(connects(client(site)), { message: "Name required" });
      const ann = client(site, { auth: { name: "Ann" } });
      assert.deepEqual(await next(ann, "welcome"), [{ you: "Ann" }]);
      const bob = await connected(site, { auth: { name: "Bob" } });
      await call(ann, "join", "lobby");
      assert.equal((await call(bob, "say", { room: "lobby", text: "too early" })).code, "FORBIDDEN");
      const joined = next(ann, "joined");
      await call(bob, "join", "lobby");
      assert.deepEqual(await joined, ["Bob"]);
      const said = next(ann, "said");
      assert.deepEqual(await call(bob, "say", { room: "lobby", text: "hello" }), { ok: true });
      const [{ at, ...rest }] = await said;
      assert.deepEqual(rest, { from: "Bob", text: "hello" });
      assert.ok(Math.abs(at - Date.now()) < 60_000);
      const left = next(ann, "left");
      bob.disconnect();
      assert.deepEqual(await left, ["Bob"]);
    });
  });
});
