// The Node server of examples/from-node and the Caddyfile that replaces it: the
// same clients see the same.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { copyFile, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { Caddy, globals } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, connects, heard, next } from "./lib/client.mjs";
import { jwt, secret } from "./lib/jwt.mjs";
import { freePort, here, Process, root } from "./lib/process.mjs";
import { until } from "./lib/wait.mjs";

const limit = { timeout: 60_000 };
const dir = join(root, "examples/from-node");

const servers = {
  "server.mjs": {
    async start() {
      // Node looks for modules beside the program.
      this.copy = join(here, `from-node-server-${process.pid}.mjs`);
      await copyFile(join(dir, "server.mjs"), this.copy);
      const port = await freePort();
      this.process = await Process.start("node", [this.copy], port, { env: { ...process.env, PORT: port, JWT_SECRET: secret } });
      return `http://127.0.0.1:${port}`;
    },
    async stop() {
      await this.process?.stop();
      await rm(this.copy);
    },
  },
  Caddyfile: {
    async start() {
      const text = await readFile(join(dir, "Caddyfile"), "utf8");
      this.caddy = await Caddy.start({ config: `${globals()}\n${text.replace("localhost:8080", "127.0.0.1:{$PORT}")}`, env: { JWT_SECRET: secret } });
      return this.caddy.url;
    },
    async stop() {
      await this.caddy?.stop();
    },
  },
};

for (const [name, server] of Object.entries(servers)) {
  describe(`from-node/${name}`, () => {
    let site;
    before(async () => (site = await server.start()));
    after(() => server.stop());
    afterEach(closeAll);

    const as = (sub, claims = {}) => ({ auth: { token: jwt({ sub, name: sub.toUpperCase(), ...claims }) } });
    const member = (sub) => connected(site, as(sub));

    test("a client needs a token", limit, async () => {
      await assert.rejects(connects(client(site)), { message: "Authentication error" });
      await assert.rejects(connects(client(site, { auth: { token: "forged" } })), { message: "Invalid token" });
      await assert.rejects(connects(client(site, { auth: { token: jwt({ sub: "ann" }, { key: "x".repeat(32) }) } })), { message: "Invalid token" });
      const ann = client(site, as("ann"));
      const welcome = next(ann, "welcome");
      await connects(ann);
      assert.deepEqual(await welcome, [{ id: "ann", name: "ANN" }]);
    });

    test("rooms and messages", limit, async () => {
      const [ann, bob] = [await member("ann"), await member("bob")];
      assert.equal((await call(ann, "join", "No Such Room")).error, "Room not allowed");
      assert.deepEqual(await call(ann, "join", "lobby"), { ok: true });
      const joined = next(ann, "joined");
      assert.deepEqual(await call(bob, "join", "lobby"), { ok: true });
      assert.deepEqual(await joined, [{ room: "lobby", user: "bob" }]);

      assert.equal((await call(bob, "message", { room: "kitchen", text: "hello" })).error, "Not in this room");
      assert.equal((await call(bob, "message", { room: "lobby", text: "" })).error, "Text required");
      const messages = [next(ann, "message"), next(bob, "message")];
      const { ok, id } = await call(bob, "message", { room: "lobby", text: "hello" });
      assert.equal(ok, true);
      for (const [message] of await Promise.all(messages)) {
        assert.ok(Math.abs(message.at - Date.now()) < 60_000);
        assert.deepEqual({ ...message, at: 0 }, { id, room: "lobby", text: "hello", from: "bob", at: 0 });
      }

      const left = next(ann, "left");
      assert.deepEqual(await call(bob, "leave", "lobby"), { ok: true });
      assert.deepEqual(await left, [{ room: "lobby", user: "bob" }]);
      await call(bob, "join", "lobby");
      const gone = next(ann, "left");
      bob.disconnect();
      assert.deepEqual(await gone, [{ user: "bob" }]);
    });

    test("private messages reach all devices of both users", limit, async () => {
      const [ann, phone, bob, eve] = [await member("ann"), await member("ann"), await member("bob"), await member("eve")];
      const overheard = heard(eve, "private");
      const all = [ann, phone, bob].map((s) => next(s, "private"));
      assert.deepEqual(await call(bob, "private", { to: "ann", text: "psst" }), { ok: true });
      for (const [message] of await Promise.all(all)) assert.deepEqual({ ...message, at: 0 }, { from: "bob", to: "ann", text: "psst", at: 0 });
      assert.equal((await call(bob, "private", { to: "nobody", text: "psst" })).error, "Not online");
      assert.equal((await call(bob, "private", { to: "ann" })).error, "Text required");
      assert.deepEqual(overheard, []);
    });

    test("who is online", limit, async () => {
      const ann = await member("ann");
      const lists = heard(ann, "online-users");
      const last = (...ids) => until(() => JSON.stringify(lists.at(-1)) === JSON.stringify([ids]), `the list ${ids}`);
      const bob = await member("bob");
      await last("ann", "bob");
      const phone = await member("bob");
      bob.disconnect();
      phone.disconnect();
      await last("ann");
    });

    test("events that may be lost", limit, async () => {
      const [ann, bob] = [await member("ann"), await member("bob")];
      const cursors = heard(bob, "cursor");
      await until(() => ann.emit("cursor", { x: 1, y: 2.5 }) && cursors.length > 0, "one that was not lost");
      assert.deepEqual(cursors[0], [{ user: "ann", x: 1, y: 2.5 }]);
    });

    test("the namespace of admins", limit, async () => {
      const ann = await member("ann");
      await assert.rejects(connects(client(`${site}/admin`, as("ann"))), { message: "Admins only" });
      const boss = await connected(`${site}/admin`, as("boss", { role: "admin" }));
      const announcement = next(ann, "announcement");
      assert.deepEqual(await call(boss, "announce", "Lunch"), { ok: true });
      assert.deepEqual(await announcement, [{ text: "Lunch", by: "boss" }]);
      const note = next(boss, "note");
      boss.emit("note", "done");
      assert.deepEqual(await note, [{ text: "done", by: "boss" }]);
    });
  });
}
