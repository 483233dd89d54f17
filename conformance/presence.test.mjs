// Who is there, who types, and what the presets promise, with the real client.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { join } from "node:path";
import { Caddy } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, heard, next } from "./lib/client.mjs";
import { jwt, secret } from "./lib/jwt.mjs";
import { here } from "./lib/process.mjs";
import { pause, until } from "./lib/wait.mjs";

const limit = { timeout: 30_000 };

let caddy;

before(async () => {
  caddy = await Caddy.start({ file: join(here, "presence.Caddyfile"), env: { JWT_SECRET: secret } });
});

afterEach(closeAll);

after(() => caddy?.stop());

const open = (nsp = "", options) => connected(caddy.url + nsp, options);
const user = (name, options) => open("/users", { auth: { token: jwt({ sub: name }) }, ...options });

// lists remembers the last list that a socket was told; it has to be asked for
// before the socket connects, which io does in a later turn.
async function watched(connecting) {
  const socket = await connecting;
  socket.lists = heard(socket, "online-users");
  socket.lastList = (want) => until(() => JSON.stringify(socket.lists.at(-1)) === JSON.stringify([want]), `the list ${want}`);
  return socket;
}

describe("presence", () => {
  test("online list: after CONNECT and whenever it changed; each user once; anonymous ones are not listed", limit, async () => {
    const ann = await watched(user("ann"));
    await ann.lastList(["ann"]);
    const bob = await watched(user("bob"));
    const tab = await watched(user("bob", { transports: ["websocket"] }));
    for (const s of [ann, bob, tab]) await s.lastList(["ann", "bob"]);
    const told = ann.lists.length;
    tab.disconnect();
    await pause(1_300);
    assert.equal(ann.lists.length, told, "another device is still there");
    const before = Date.now();
    bob.disconnect();
    await ann.lastList(["ann"]);
    assert.ok(Date.now() - before >= 900, "told before the grace was over");
    const [online, isOnline, lastSeen] = await new Promise((resolve) => ann.emit("who", "bob", (...args) => resolve(args)));
    assert.deepEqual([online, isOnline], [["ann"], false]);
    assert.ok(Math.abs(lastSeen - before) < 1_000, `last seen ${lastSeen}, left ${before}`);
  });

  test("a reconnect within the grace is told to nobody", limit, async () => {
    const ann = await watched(user("ann"));
    let bob = await watched(user("bob"));
    await ann.lastList(["ann", "bob"]);
    const told = ann.lists.length;
    for (let i = 0; i < 3; i++) {
      bob.io.engine.close();
      bob = await watched(user("bob"));
      await bob.lastList(["ann", "bob"]);
    }
    await pause(1_300);
    assert.equal(ann.lists.length, told);
  });

  test("anonymous clients appear by a name, and nowhere else; a token's id stays", limit, async () => {
    const a = await watched(open());
    await a.lastList([]);
    a.emit("user-online", "ada");
    await a.lastList(["ada"]);
    const b = await watched(open());
    b.emit("user-online", 7);
    for (const s of [a, b]) await s.lastList(["7", "ada"]);

    // The name is no sender and no address.
    await call(a, "join-room", "r");
    const joined = next(a, "user-joined");
    await call(b, "join-room", "r");
    assert.equal((await joined)[0].userId, b.id);
    const stolen = heard(a, "private-message");
    await call(b, "private-message", { toUserId: "ada", message: "psst" });
    await call(a, "join-room", "r");
    assert.deepEqual(stolen, []);
    for (const name of ["", "x".repeat(129), "a\nb", `s_${"x".repeat(18)}`, "user:ada", ["ada"]]) {
      assert.ok((await call(b, "user-online", name)).code, `accepted ${name}`);
    }

    const ann = await watched(user("ann"));
    await call(ann, "user-online", "somebody else");
    await ann.lastList(["ann"]);
  });

  test("diffs", limit, async () => {
    const a = await open("/diff");
    const events = [];
    a.onAny((...event) => events.push(event));
    const b = await open("/diff", { auth: { name: "bob" } });
    await until(() => events.length === 1, "user-online");
    b.disconnect();
    await until(() => events.length === 2, "user-offline");
    assert.deepEqual(events.map(([event, { userId }]) => [event, userId]), [["user-online", "bob"], ["user-offline", "bob"]]);
    for (const [, { timestamp }] of events) assert.ok(Math.abs(timestamp - Date.now()) < 10_000);
  });

  test("members of rooms", limit, async () => {
    const [a, b] = [await open("/rooms"), await open("/rooms")];
    const lists = [];
    a.on("room-members", (m) => lists.push(m));
    const others = heard(b, "room-members");
    await call(a, "join-room", "team:red");
    await until(() => lists.length === 1, "room-members");
    assert.deepEqual(lists, [{ room: "team:red", members: [] }]);
    await call(a, "join-room", "elsewhere");
    await call(b, "join-room", "elsewhere");
    await pause(300);
    assert.deepEqual([lists.length, others.length], [1, 0]);
  });

  test("what the server tells is not relayed for a client", limit, async () => {
    const [a, b] = [await open(), await open()];
    const forged = [];
    b.onAny((event, data) => data === "forged" && forged.push(event));
    for (const event of ["online-users", "user-offline", "room-members", "user-typing", "user-stopped-typing", "user-joined", "user-left", "new-message", "batch-updates", "message-received"]) {
      assert.equal((await call(a, event, "forged")).code, "UNKNOWN_EVENT", event);
    }
    await call(a, "anything", "forged");
    await until(() => forged.length > 0, "what may be relayed");
    assert.deepEqual(forged, ["anything"]);
  });
});

describe("typing", () => {
  async function room() {
    const [ann, bob] = [await user("ann"), await user("bob")];
    for (const s of [ann, bob]) await call(s, "join-room", "r");
    bob.heard = [];
    for (const event of ["user-typing", "user-stopped-typing", "user-left"]) bob.on(event, (data) => bob.heard.push([event, data.userId, data.username]));
    return { ann, bob };
  }
  const begins = ["user-typing", "ann", "Ann"];
  const ends = ["user-stopped-typing", "ann", undefined];
  const start = (ann) => call(ann, "typing-start", { roomId: "r", username: "Ann" });

  test("typing is told again once a second while it goes on", limit, async () => {
    const { ann, bob } = await room();
    while (bob.heard.length < 3) {
      await start(ann);
      await pause(100);
    }
    assert.deepEqual(bob.heard, [begins, begins, begins]);
  });

  test("typing start and stop are told once", limit, async () => {
    const { ann, bob } = await room();
    for (let i = 0; i < 3; i++) await start(ann);
    for (let i = 0; i < 2; i++) await call(ann, "typing-stop", { roomId: "r" });
    await until(() => bob.heard.length === 2, "the end");
    assert.deepEqual(bob.heard, [begins, ends]);
    assert.equal((await call(ann, "typing-start", { roomId: "not mine" })).code, "FORBIDDEN");
  });

  test("typing expires after 5 s", limit, async () => {
    const { ann, bob } = await room();
    await start(ann);
    await pause(3_000);
    await start(ann);
    const again = Date.now();
    await until(() => bob.heard.length === 3, "the end");
    assert.ok(Date.now() - again >= 4_900);
    assert.deepEqual(bob.heard, [begins, begins, ends]);
  });

  test("typing ends on leave, before user-left, and on disconnect", limit, async () => {
    const { ann, bob } = await room();
    await start(ann);
    await call(ann, "leave-room", "r");
    await until(() => bob.heard.length === 3, "user-left");
    assert.deepEqual(bob.heard.splice(0), [begins, ends, ["user-left", "ann", undefined]]);
    await call(ann, "rejoin-rooms", ["r"]);
    await start(ann);
    ann.io.engine.close();
    await until(() => bob.heard.length === 2, "the end");
    assert.deepEqual(bob.heard, [begins, ends]);
  });
});

describe("presets", () => {
  test("rooms: notices of joins and leaves; quiet after a reconnect", limit, async () => {
    const [ann, bob] = [await user("ann"), await user("bob")];
    await call(ann, "join-room", "den");
    await call(ann, "rejoin-rooms", ["den"]);
    const events = [];
    ann.on("user-joined", (d) => events.push(["joined", d.userId, typeof d.timestamp]));
    ann.on("user-left", (d) => events.push(["left", d.userId, typeof d.timestamp]));
    await call(bob, "leave-room", "den"); // was not in it
    await call(bob, "rejoin-rooms", ["den", "attic"]);
    await call(bob, "leave-room", "den");
    await call(bob, "join-room", "den");
    await call(bob, "join-room", "den"); // is in it already
    await until(() => events.length >= 2, "notices");
    assert.deepEqual(events, [["left", "bob", "number"], ["joined", "bob", "number"]]);
  });

  test("rejoin and members: whoever comes back is in its rooms before what it queued arrives, and who is there is told", limit, async () => {
    const ann = await open("/back", { auth: { token: jwt({ sub: "ann" }) } });
    await call(ann, "join-room", "den");
    const lists = heard(ann, "room-members");
    const told = heard(ann, "new-message");

    const bob = client(`${caddy.url}/back`, { autoConnect: false, retries: 3, ackTimeout: 5_000, auth: { token: jwt({ sub: "bob" }), rooms: ["den", "attic"] } });
    const answer = bob.emitWithAck("send-message", { roomId: "den", text: "queued" });
    const members = next(bob, "room-members");
    bob.connect();
    assert.equal((await answer).success, true);
    await until(() => told.length === 1 && lists.length > 0, "message and members");
    assert.equal(told[0][0].text, "queued");
    assert.deepEqual(lists.at(-1), [{ room: "den", members: ["ann", "bob"] }]);
    await members;

    const eve = client(`${caddy.url}/back`, { auth: { token: jwt({ sub: "eve" }), rooms: ["cellar", "attic", "user:ann"] } });
    assert.deepEqual(await next(eve, "rooms-refused"), [["cellar", "user:ann"]]); // and nobody is locked out
    assert.equal((await call(eve, "send-message", { roomId: "attic", text: "hi" })).success, true);
    assert.equal((await call(eve, "send-message", { roomId: "cellar", text: "hi" })).code, "FORBIDDEN");
    const many = client(`${caddy.url}/back`, { auth: { token: jwt({ sub: "eve" }), rooms: Array(129).fill("attic") } });
    assert.equal((await next(many, "connect_error"))[0].message, "Too many rooms: 129, at most 128");
  });

  test("chat: messages in a room, and private ones to all devices of a user", limit, async () => {
    const [ann, phone, laptop] = [await user("ann"), await user("bob"), await user("bob", { transports: ["polling"] })];
    for (const s of [ann, phone]) await call(s, "join-room", "den");
    const message = next(phone, "new-message");
    const answer = await call(ann, "send-message", { roomId: "den", text: "hi", tag: 1 });
    const [{ timestamp, ...rest }] = await message;
    assert.deepEqual(rest, { roomId: "den", text: "hi", tag: 1, id: answer.messageId, userId: "ann" });
    assert.deepEqual(answer, { success: true, messageId: rest.id });
    assert.ok(Math.abs(timestamp - Date.now()) < 10_000);
    assert.ok((await call(laptop, "send-message", { roomId: "den", text: "hi" })).error);
    const both = [next(phone, "private-message"), next(laptop, "private-message")];
    ann.emit("private-message", { toUserId: "bob", message: "psst" });
    for (const [{ fromUserId, message }] of await Promise.all(both)) assert.deepEqual([fromUserId, message], ["ann", "psst"]);
    const echo = next(ann, "message-received");
    ann.emit("message", { any: 1 });
    assert.deepEqual(await echo, [{ any: 1 }]);
  });

  test("updates: batches, told together at most every 100 ms", limit, async () => {
    const [a, b] = [await open(), await open()];
    const batches = [];
    b.on("batch-updates", (items) => batches.push([performance.now(), items]));
    for (let i = 0; i < 60; i++) {
      a.emit("update", i);
      if (i % 10 === 9) await pause(40);
    }
    await until(() => batches.flatMap(([, items]) => items).length === 60, "all updates");
    assert.deepEqual(batches.flatMap(([, items]) => items), Array.from({ length: 60 }, (_, i) => i));
    const took = batches.at(-1)[0] - batches[0][0];
    assert.ok(batches.length > 1 && batches.length <= took / 100 + 2, `${batches.length} batches in ${took} ms`);
  });
});
