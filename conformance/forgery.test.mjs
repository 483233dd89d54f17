// What a logged-in client may try with names, with the stock client: to be
// somebody else, to hear or to reach whom it must not, to bring others' code to
// stumble.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { Caddy, globals } from "./lib/caddy.mjs";
import { call, closeAll, connected, heard, next } from "./lib/client.mjs";
import { until } from "./lib/wait.mjs";
import { jwt, secret } from "./lib/jwt.mjs";

const limit = { timeout: 30_000 };

const config = `${globals()}
http://127.0.0.1:{$PORT} {
	realtime {
		auth jwt {
			secret {env.JWT_SECRET}
		}
		use rooms chat
		on relay-to-mine {
			broadcast leaving sender reason to socket.rooms
			ack "ok"
		}
		on disconnect {
			broadcast leaving sender reason to socket.rooms
		}
		on relay {
			broadcast relayed data to data.roomId
			ack "ok"
		}
		on leave {
			leave data
		}
		on keep {
			set kept data
			ack socket.data
		}
		on mixed {
			ack \`merge(data, {"mine": true})\`
		}
		namespace ~/[A-Za-z_]+ {
			on * {
				broadcast * args...
				ack nsp
			}
		}
	}
}
`;

let caddy;

before(async () => {
  caddy = await Caddy.start({ config, env: { JWT_SECRET: secret } });
});

afterEach(closeAll);

after(() => caddy?.stop());

const user = (name, nsp = "", options) => connected(caddy.url + nsp, { auth: { token: jwt({ sub: name }) }, ...options });

// quiet is true if the socket heard nothing of what came before its own call.
async function quiet(socket, events) {
  await call(socket, "join-room", "fence");
  return events.length === 0;
}

describe("forgeries", () => {
  test("another user's room is no room to join, to leave or to send to", limit, async () => {
    const [mallory, bob] = [await user("mallory"), await user("bob")];
    const stolen = heard(mallory, "private-message");
    for (const name of ["user:bob", "user:", "user:mallory"]) {
      assert.equal((await call(mallory, "join-room", name)).code, "FORBIDDEN", name);
      assert.equal((await call(mallory, "leave", name)).code, "FORBIDDEN", name);
      assert.deepEqual(await call(mallory, "rejoin-rooms", ["fine", name]), { refused: [name] });
      if (name !== "user:mallory") assert.equal((await call(mallory, "relay", { roomId: name })).code, "FORBIDDEN");
    }
    const got = next(bob, "private-message");
    const ann = await user("ann");
    ann.emit("private-message", { toUserId: "bob", message: "for bob" });
    assert.equal((await got)[0].message, "for bob");
    assert.ok(await quiet(mallory, stolen));
  });

  test("another socket's room neither", limit, async () => {
    const [mallory, bob] = [await user("mallory"), await user("bob")];
    const forged = heard(bob, "relayed");
    for (const id of [bob.id, mallory.id]) assert.equal((await call(mallory, "join-room", id)).code, "FORBIDDEN");
    assert.equal((await call(mallory, "relay", { roomId: bob.id })).code, "FORBIDDEN");
    assert.equal((await call(mallory, "relay", { roomId: [bob.id, "fence"] })).code, "FORBIDDEN");
    assert.ok(await quiet(bob, forged));
  });

  test("a socket's own rooms are good to send to, all of them, also when it leaves", limit, async () => {
    const [ann, phone, bob, eve] = [await user("ann"), await user("ann"), await user("bob"), await user("eve")];
    for (const s of [ann, bob]) await call(s, "join-room", "den");
    const told = [ann, phone, bob, eve].map((s) => heard(s, "leaving"));
    assert.equal(await call(ann, "relay-to-mine", 1), "ok");
    ann.disconnect();
    await until(() => told[1].length === 2 && told[2].length === 2, "both");
    for (const list of told.slice(1, 3)) assert.deepEqual(list, [["ann", ""], ["ann", "client namespace disconnect"]]);
    assert.ok(await quiet(eve, told[3]));
    assert.deepEqual(told[0], []);
  });

  test("who sends is who the token says", limit, async () => {
    const [mallory, bob] = [await user("mallory"), await user("bob")];
    for (const s of [mallory, bob]) await call(s, "join-room", "den");
    const message = next(bob, "new-message");
    await call(mallory, "send-message", { roomId: "den", text: "hi", userId: "admin", sender: "admin", id: "1", timestamp: 0 });
    const [m] = await message;
    assert.equal(m.userId, "mallory");
    assert.notEqual(m.id, "1");
    assert.ok(m.timestamp > 0);
    const told = next(bob, "private-message");
    mallory.emit("private-message", { toUserId: "bob", message: "hi", fromUserId: "admin" });
    assert.equal((await told)[0].fromUserId, "mallory");
  });

  test("names with line breaks and other control characters", limit, async () => {
    const mallory = await user("mallory");
    for (const name of ["a\r\nSet-Cookie: x=1", "a\nb", "a\u0000b", "\u007f", "x".repeat(257), ""]) {
      assert.equal((await call(mallory, "join-room", name)).code, "INVALID", JSON.stringify(name));
      assert.equal((await call(mallory, "relay", { roomId: name })).code, "INVALID", JSON.stringify(name));
    }
    const refused = await call(mallory, "a\r\nb", 1);
    assert.deepEqual(refused, { error: "event: control character in the name", code: "INVALID" });
    assert.equal(await call(mallory, "join-room", "den"), undefined);
  });

  test("keys that mean something to JavaScript are keys", limit, async () => {
    const [mallory, bob] = [await user("mallory"), await user("bob")];
    for (const s of [mallory, bob]) await call(s, "join-room", "den");
    const data = JSON.parse('{"roomId":"den","__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}},"toString":1}');
    const relayed = next(bob, "relayed");
    assert.equal(await call(mallory, "relay", data), "ok");
    assert.equal(JSON.stringify((await relayed)[0]), JSON.stringify(data));
    assert.deepEqual(Object.keys((await call(mallory, "mixed", data))).sort(), ["__proto__", "constructor", "mine", "roomId", "toString"]);
    assert.deepEqual(Object.keys((await call(mallory, "keep", data)).kept), Object.keys(data));
    for (const room of ["__proto__", "constructor", "hasOwnProperty"]) {
      await call(mallory, "join-room", room);
      assert.equal((await call(bob, "send-message", { roomId: room, text: "hi" })).code, "FORBIDDEN");
    }
    assert.equal({}.admin, undefined);
  });

  test("events and namespaces called __proto__, constructor, hasOwnProperty", limit, async () => {
    const names = ["__proto__", "constructor", "hasOwnProperty", "prototype", "toString"];
    const mallory = await user("mallory");
    for (const name of names) {
      const answer = await call(mallory, name, 1);
      assert.deepEqual(answer, { error: `Unknown event ${name}`, code: "UNKNOWN_EVENT" });
      const [ann, bob] = [await user("ann", `/${name}`), await user("bob", `/${name}`)];
      for (const event of names) {
        const relayed = next(bob, event);
        assert.equal(await call(ann, event, { from: "ann" }), `/${name}`);
        assert.deepEqual(await relayed, [{ from: "ann" }]);
      }
    }
    assert.equal({}.from, undefined);
  });

  test("a WebSocket and polling across sites, with a visitor's token", limit, async () => {
    for (const origin of ["https://evil.example", "null", `https://${new URL(caddy.url).host}`]) {
      for (const transport of ["websocket", "polling"]) {
        await assert.rejects(user("ann", "", { transports: [transport], extraHeaders: { origin } }), /^Error: (websocket|xhr poll) error$/, `${transport} from ${origin}`);
      }
    }
    await user("ann", "", { extraHeaders: { origin: caddy.url } });
  });
});
