// Who a socket is over its life: tokens that expire while the stock client is
// connected, tokens that are refreshed, and what a refresh must not do.

import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import WebSocket from "ws";
import { Caddy, globals } from "./lib/caddy.mjs";
import { call, closeAll, connected, connects, heard, next } from "./lib/client.mjs";
import { inSeconds, jwt, secret } from "./lib/jwt.mjs";
import { pause, Queue, until, within } from "./lib/wait.mjs";

const limit = { timeout: 60_000 };

const config = `${globals()}
http://127.0.0.1:{$PORT} {
	realtime {
		protocols socketio json
		auth jwt {
			secret "${secret}"
			optional
		}
		on me {
			ack user
		}
		on rooms {
			ack socket.rooms
		}
		on join {
			join data
		}
		on slowly {
			ask answer question timeout 20s
			emit done user answer[0] to "watchers"
			ack user
		}
		on auth-refresh {
			emit refreshed user data to "watchers"
		}
		on disconnect {
			emit left sender reason to "watchers"
		}
		on * {
			ack "any"
		}
	}
}
`;

let caddy;

before(async () => {
  caddy = await Caddy.start({ config });
});

after(async () => {
  closeAll(); // not after each test: they run side by side
  await caddy?.stop();
});

const token = (sub, seconds, more) => jwt({ sub, exp: inSeconds(seconds), ...more });

async function watcher() {
  const socket = await connected(caddy.url);
  await call(socket, "join", "watchers");
  return socket;
}

describe("expiry and refresh", { concurrency: true, ...limit }, () => {
  for (const transport of ["websocket", "polling"]) {
    test(`a client whose token expires comes back with a fresh one: ${transport}`, limit, async () => {
      const given = [];
      const socket = await connected(caddy.url, {
        transports: [transport],
        reconnection: true,
        reconnectionDelay: 50,
        auth: (cb) => {
          given.push(token(`retry-${transport}`, given.length === 0 ? 4 : 600));
          cb({ token: given.at(-1) });
        },
      });
      const first = socket.id;
      await next(socket, "token-expired");
      assert.equal((await call(socket, "me")).id, `retry-${transport}`); // it has ten seconds more
      const [why] = await next(socket, "disconnect");
      assert.match(why, /^transport (close|error)$/); // after which the client tries again
      await connects(socket);
      assert.notEqual(socket.id, first);
      assert.equal(given.length, 2);
      assert.equal((await call(socket, "me")).id, `retry-${transport}`);
    });
  }

  test("a refreshed socket stays the same, in the same rooms", limit, async () => {
    const others = await watcher();
    const told = heard(others, "refreshed");
    const socket = await connected(caddy.url, { auth: { token: token("fresh", 5, { role: "guest" }) } });
    const { id } = socket;
    await call(socket, "join", "lobby");
    await next(socket, "token-expired");
    const later = token("fresh", 600, { role: "admin" });
    assert.equal(await call(socket, "auth-refresh", { token: later }), undefined);
    const lost = heard(socket, "disconnect");
    assert.equal((await call(socket, "me")).role, "admin");
    assert.deepEqual(await call(socket, "rooms"), [id, "user:fresh", "lobby"]);
    await until(() => told.length > 0, "on auth-refresh");
    assert.equal(told[0][0].role, "admin");
    assert.deepEqual(told[0][1], {}); // nobody gets the token
    const again = await call(socket, "auth-refresh", { token: token("fresh", 900) });
    assert.equal(again.code, "RATE_LIMITED");
    await pause(11_000); // past the old token's end
    assert.deepEqual(lost, []);
    assert.equal(socket.id, id);
  });

  test("a rule that waits goes on as the user of its event's arrival", limit, async () => {
    const socket = await connected(caddy.url, { auth: { token: token("patient", 600, { role: "guest" }) } });
    const question = next(socket, "question");
    const answer = call(socket, "slowly");
    const [reply] = await question;
    await call(socket, "auth-refresh", { token: token("patient", 900, { role: "admin" }) });
    assert.equal((await call(socket, "me")).role, "admin");
    reply("at last");
    assert.equal((await answer).role, "guest");
  });

  test("a rule that waits does not go on when the token has expired", limit, async () => {
    const others = await watcher();
    const done = heard(others, "done");
    const left = new Queue();
    others.on("left", (who, why) => who === "expiring" && left.put(why));
    const socket = await connected(caddy.url, { auth: { token: token("expiring", 3) } });
    const question = next(socket, "question");
    socket.emit("slowly"); // and 20 s for an answer that never comes
    await question;
    assert.equal(await left.next("on disconnect"), "token expired");
    await call(others, "other");
    assert.deepEqual(done.filter(([user]) => user?.id === "expiring"), []);
  });

  test("auth-refresh with another user's token: nobody becomes somebody else", limit, async () => {
    const socket = await connected(caddy.url, { auth: { token: token("ann", 600) } });
    const answer = await call(socket, "auth-refresh", { token: token("bob", 900) });
    assert.equal(answer.code, "FORBIDDEN");
    assert.equal((await call(socket, "me")).id, "ann");
    const nobody = await connected(caddy.url);
    assert.equal((await call(nobody, "auth-refresh", { token: token("bob", 900) })).code, "FORBIDDEN");
    assert.equal(await call(nobody, "other"), "any");
  });

  test("auth-refresh with an older token is refused", limit, async () => {
    const auth = { token: token("old", 600) };
    const socket = await connected(caddy.url, { auth });
    assert.equal((await call(socket, "auth-refresh", auth)).code, "FORBIDDEN");
  });

  test("rules are told why an expired socket went", limit, async () => {
    const others = await watcher();
    const left = new Queue();
    others.on("left", (who, why) => who === "leaver" && left.put(why));
    await connected(caddy.url, { auth: { token: token("leaver", 3) } });
    assert.equal(await left.next("on disconnect"), "token expired");
  });

  test("plain clients refresh and expire, too", limit, async () => {
    const ws = new WebSocket(`${caddy.url.replace("http", "ws")}/socket.io/`);
    const frames = new Queue();
    ws.on("message", (data) => frames.put(JSON.parse(data)));
    ws.on("close", () => frames.end(new Error("closed")));
    await within(new Promise((resolve) => ws.once("open", resolve)), "the WebSocket");
    ws.send(JSON.stringify({ auth: { token: token("plain", 4) } }));
    assert.equal((await frames.next()).open.user.id, "plain");
    ws.send(JSON.stringify({ event: "auth-refresh", args: [{ token: token("plain", 6) }], id: 1 }));
    assert.deepEqual(await frames.next(), { ack: 1, args: [] });
    assert.deepEqual(await frames.next(), { event: "token-expired", args: [] });
    await assert.rejects(frames.next("the end"), /closed/);
  });
});
