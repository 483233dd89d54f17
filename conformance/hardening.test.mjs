// What must hold under attack, failure and growth, as far as an outside client
// can see it in seconds: separate hubs, origins, identity, secrets, limits.
// garbage.test.mjs and reload.test.mjs show the rest; many.mjs and
// reload-large.mjs are the large forms.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { deflateRawSync } from "node:zlib";
import { Caddy, globals } from "./lib/caddy.mjs";
import { call, closeAll, connected, heard, next } from "./lib/client.mjs";
import { disperse, inBatches, PollingMember, WebSocketMember } from "./lib/crowd.mjs";
import { Endpoint, request } from "./lib/engine.mjs";
import { jwt, secret } from "./lib/jwt.mjs";
import { frame, throwAt, upgradeRequest } from "./lib/tcp.mjs";
import { until } from "./lib/wait.mjs";

const limit = { timeout: 60_000 };
const websocket = { transports: ["websocket"] };
const v4 = { EIO: "4", transport: "polling" };
const v4ws = { EIO: "4", transport: "websocket" };

// Four sites: one hub without identity, one with, one with tight limits, one
// with compression. All write access logs.
const config = `${globals(`
	log {
		level DEBUG
	}`)}

http://127.0.0.1:{$PORT} {
	log
	realtime {
		hub open
		limits {
			bytes off
			fanout off
		}
		origins https://example.com https://*.example.org capacitor://localhost chrome-extension://hpjkanmbpgjdkmmajkdkgigmgnlkpgkm
		use rooms chat
		on handshake {
			ack socket.handshake
		}
		on relay {
			broadcast * args...
		}
		on echo {
			ack args...
		}
		on checked {
			require \`data.text == "a"\` "Not a"
		}
		on big {
			emit big data to "readers"
		}
		on join {
			join data
		}
	}
}

http://127.0.0.1:{$AUTH} {
	log
	realtime {
		hub members
		origins *
		auth jwt {
			secret "${secret}"
		}
		use rooms chat
		on me {
			ack user sender
		}
		on handshake {
			ack socket.handshake
		}
	}
}

http://127.0.0.1:{$TIGHT} {
	log
	realtime {
		hub tight
		limits {
			connections 10
			rooms 3
			outbox 300KB
			handshake 1s
			bytes off
			fanout off
		}
		on join {
			join data
		}
		on publish {
			emit news args... to "all"
		}
		on drop {
			emit news args... to "all" volatile
		}
		on disconnect {
			emit left reason to "watchers"
		}
	}
}

http://127.0.0.1:{$DEFLATE} {
	log
	realtime {
		hub deflate
		compression 1KB
		on echo {
			ack args...
		}
	}
}
`;

let caddy;
let urls;
let open, members, tight, deflate; // the sites' endpoints

before(async () => {
  caddy = await Caddy.start({ config, ports: ["AUTH", "TIGHT", "DEFLATE"] });
  urls = Object.fromEntries(Object.entries(caddy.ports).map(([name, port]) => [name, `http://127.0.0.1:${port}`]));
  [open, members, tight, deflate] = ["PORT", "AUTH", "TIGHT", "DEFLATE"].map((name) => new Endpoint(`${urls[name]}/socket.io/`));
});

afterEach(() => {
  closeAll();
  disperse();
});

after(() => caddy?.stop());

describe("hubs", () => {
  test("two hubs share neither sockets nor rooms", limit, async () => {
    const here = await connected(urls.PORT, websocket);
    const there = await connected(urls.AUTH, { ...websocket, auth: { token: jwt({ sub: "bob" }) } });
    const heardThere = [];
    there.onAny((...event) => heardThere.push(event));
    await call(here, "join-room", "lobby");
    await call(there, "join-room", "lobby");
    await call(here, "send-message", { roomId: "lobby", text: "here" });
    await call(here, "private-message", { toUserId: "bob", message: "psst" });
    await call(here, "relay", "to all");
    await call(there, "me");
    assert.deepEqual(heardThere, []);
    const { handshake } = await open.poll();
    assert.equal((await members.get({ ...v4, sid: handshake.sid })).status, 400);
  });
});

describe("origins", () => {
  test("a list: those on it and the own one, with their CORS headers, and no other", limit, async () => {
    const own = new URL(open.base).host;
    const allowed = [
      ...["https://example.com", "https://a.example.org", "https://a.b.example.org", "capacitor://localhost", "chrome-extension://hpjkanmbpgjdkmmajkdkgigmgnlkpgkm"],
      ...[`http://${own}`, `ws://${own}`, `http://${own}/`, `http://${own}/chat`, "wss://example.com", "https://example.com/", "https://example.com:443/chat"],
    ];
    const refused = [
      ...["http://example.com", "https://example.com:444", "https://example.com.evil.io", "https://evil-example.com", "https://example.org", "https://evilexample.org"],
      ...["https://a.example.org.evil.io", "https://user@example.com", "https://example.com@evil.io", "https://evil.io/@example.com", "https://evil.io\\.example.org"],
      ...["null", "https://", "example.com", "https://a.example.org:8443", "file://", "ionic://localhost", "capacitor://localhost:80", "capacitor://evil.io"],
      ...[`https://${own}`, `wss://${own}`, `http://${own}@evil.io`, `http://evil.io/${own}`, `http://${own}.evil.io`],
    ];
    for (const origin of [...allowed, ...refused]) {
      const ok = allowed.includes(origin);
      const headers = { origin };
      const res = await open.get(v4, { headers });
      assert.equal(res.status, ok ? 200 : 403, origin);
      assert.equal(res.headers["access-control-allow-origin"], ok ? origin : undefined, origin);
      assert.match(res.headers.vary ?? "", /origin/i, origin);
      const { ws } = await open.upgrade(v4ws, { headers });
      assert.equal(Boolean(ws), ok, `WebSocket from ${origin}`);
      ws?.destroy();
    }
  });

  test("a preflight", limit, async () => {
    const ask = { origin: "https://example.com", "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
    const res = await open.get(v4, { method: "OPTIONS", headers: ask });
    assert.equal(res.status, 204);
    assert.equal(res.headers["access-control-allow-origin"], "https://example.com");
    assert.match(res.headers["access-control-allow-methods"], /POST/);
    const evil = await open.get(v4, { method: "OPTIONS", headers: { ...ask, origin: "https://evil.example" } });
    assert.equal(evil.headers["access-control-allow-origin"], undefined);
  });

  test("* never sends credentials", limit, async () => {
    const res = await members.get(v4, { headers: { origin: "https://anywhere.example" } });
    assert.equal(res.status, 200);
    assert.equal(res.headers["access-control-allow-origin"], "*");
    assert.equal(res.headers["access-control-allow-credentials"], undefined);
  });

  test("an error carries the CORS headers too", limit, async () => {
    const res = await open.get({ ...v4, EIO: "3" }, { headers: { origin: "https://example.com" } });
    assert.equal(res.status, 400);
    assert.equal(res.headers["access-control-allow-origin"], "https://example.com");
  });

  test("another origin's request does not continue a session", limit, async () => {
    const mine = { headers: { origin: "https://example.com" } };
    const open1 = await open.get(v4, mine);
    const { sid } = JSON.parse(open1.body.slice(1));
    const theirs = { headers: { origin: "https://a.example.org" } };
    const res = await open.get({ ...v4, sid }, { ...theirs, method: "POST", body: "1" });
    assert.equal(res.status, 400);
    assert.equal(res.body, '{"code":1,"message":"Session ID unknown"}');
    assert.equal((await open.get({ ...v4, sid }, { ...mine, method: "POST", body: "40" })).status, 200);
  });
});

describe("identity", () => {
  const enter = (token, more) => connected(urls.AUTH, { ...websocket, auth: token === undefined ? {} : { token }, ...more });

  test("no token, bad tokens", limit, async () => {
    await assert.rejects(enter(), { message: "Authentication error" });
    const good = jwt({ sub: "ann" });
    const past = Math.floor(Date.now() / 1000) - 3600;
    for (const [what, token] of Object.entries({
      "another secret": jwt({ sub: "ann" }, { key: "another secret of thirty-two bytes!!" }),
      "no signature": jwt({ sub: "ann" }, { alg: "none" }),
      "another algorithm's name": jwt({ sub: "ann" }, { alg: "HS512" }),
      expired: jwt({ sub: "ann", exp: past }),
      "no expiry": jwt({ sub: "ann", exp: undefined }),
      "no subject": jwt({}),
      "an empty subject": jwt({ sub: "" }),
      "a fraction as subject": jwt({ sub: 7.5 }),
      "not yet valid": jwt({ sub: "ann", nbf: past + 7200 }),
      cut: good.slice(0, -4),
      "no token": "x.y.z",
      "a long one": good + "x".repeat(20_000),
    })) {
      await assert.rejects(enter(token), { message: "Invalid token" }, what);
    }
    for (const token of [7, null, {}, [], "", true]) await assert.rejects(enter(token), /Authentication error|Invalid token/, JSON.stringify(token));
  });

  test("a good one, by auth and by header", limit, async () => {
    const ann = await enter(jwt({ sub: "ann", role: "admin" }));
    const me = await new Promise((resolve) => ann.emit("me", (...answer) => resolve(answer)));
    assert.equal(me[0].id, "ann");
    assert.equal(me[0].role, "admin");
    assert.equal(me[1], "ann");
    const bob = await enter(undefined, { extraHeaders: { authorization: `Bearer ${jwt({ sub: "bob" })}` } });
    assert.equal((await call(bob, "me")).id, "bob");
  });

  test("private messages reach all devices of that user, and nobody else", limit, async () => {
    const [ann, bob1, bob2, eve] = await Promise.all(["ann", "bob", "bob", "eve"].map((sub) => enter(jwt({ sub }))));
    const others = [heard(eve, "private-message"), heard(ann, "private-message")];
    const got = [next(bob1, "private-message"), next(bob2, "private-message")];
    await call(ann, "private-message", { toUserId: "bob", message: "psst" });
    for (const [message] of await Promise.all(got)) {
      assert.equal(message.fromUserId, "ann");
      assert.equal(message.message, "psst");
    }
    for (const room of ["user:bob", "user:", bob1.id]) {
      assert.equal((await call(eve, "join-room", room)).code, "FORBIDDEN", room);
      assert.equal((await call(eve, "send-message", { roomId: room, text: "forged" })).code, "FORBIDDEN", room);
    }
    await call(ann, "private-message", { toUserId: "bob", message: "again" });
    await call(eve, "me");
    assert.deepEqual(others, [[], []]);
  });
});

describe("secrets", () => {
  const cookie = "session=very-secret-cookie";
  const bearer = "very-secret-bearer";

  test("the handshake that rules see has none", limit, async () => {
    const token = jwt({ sub: "ann" });
    const socket = await connected(urls.AUTH, {
      ...websocket,
      auth: { token, kept: "yes" },
      query: { token: "very-secret-query", kept: "yes" },
      extraHeaders: { cookie, "x-kept": "yes" },
    });
    const handshake = await call(socket, "handshake");
    assert.equal(handshake.auth.kept, "yes");
    assert.equal(handshake.query.kept, "yes");
    assert.equal(handshake.headers["x-kept"], "yes");
    const text = JSON.stringify(handshake);
    assert.ok(!text.includes("very-secret") && !text.includes(token), text);
    for (const key of ["headers", "time", "address", "xdomain", "secure", "issued", "url", "query", "auth"]) assert.ok(key in handshake, key);
  });

  test("no log has any, after good and bad flows", limit, async () => {
    const token = jwt({ sub: "secretive" });
    const secrets = [cookie, bearer, token, "very-secret"];
    const headers = { cookie, authorization: `Bearer ${bearer}` };
    for (const endpoint of [open, members, tight]) {
      const p = await endpoint.poll({ token: "very-secret-query" });
      secrets.push(p.sid);
      await p.post("40" + JSON.stringify({ token }));
      await p.get({ headers });
      await endpoint.get({ ...v4, sid: p.sid, token: "very-secret" }, { method: "PUT", headers });
      await endpoint.get({ ...v4, EIO: "3", token: "very-secret" }, { headers });
      await endpoint.get({ ...v4, sid: "x", token: "very-secret" }, { headers });
      await endpoint.upgrade({ ...v4ws, EIO: "3", token: "very-secret" }, { headers });
      const { ws } = await endpoint.upgrade({ ...v4ws, sid: p.sid });
      ws?.destroy();
      const direct = await endpoint.websocket({ token: "very-secret" }, { headers, protocols: ["realtime.v1", `bearer.${token}`] }).catch(() => undefined);
      if (direct) {
        secrets.push(direct.handshake.sid);
        direct.send("4abc");
        await direct.ended();
      }
      await p.post("abc").catch(() => {});
    }
    // Refusals of each kind, which are logged.
    await open.get({ ...v4, token: "very-secret" }, { headers: { ...headers, origin: "https://very-secret@evil.example/?very-secret" } });
    await open.get({ ...v4, token: "very-secret" }, { headers: { origin: "https://evil.example/very-secret?token=very-secret" } });
    await assert.rejects(connected(urls.AUTH, { ...websocket, auth: { token: jwt({ sub: "ann", exp: undefined, x: "very-secret" }) } }));
    await assert.rejects(connected(urls.AUTH, { ...websocket, auth: { token: "very-secret", pid: "very-secret" } }));
    const refused = await connected(urls.PORT, { ...websocket, auth: { token: "very-secret" } });
    for (const event of ["unknown", "checked", "join"]) assert.ok((await call(refused, event, { text: "very-secret", token })).error, event);
    await until(() => /"msg":"refused".*"event":"checked".*"rule":"[^"]*:\d+"/.test(caddy.log), "the lines of refusals");

    await request(`${urls.PORT}/somewhere-else`); // is logged: the log works
    await until(() => caddy.log.includes("/somewhere-else"), "the access log");
    for (const s of secrets) assert.ok(!caddy.log.includes(s), `the log has ${s}: ${caddy.log.split("\n").find((line) => line.includes(s))}`);
  });

  test("a token is never selected as subprotocol", limit, async () => {
    const ws = await open.websocket({}, { protocols: ["bearer.x.y.z", "other"] });
    assert.equal(ws.raw.protocol, "other");
    ws.destroy();
    const only = await open.websocket({}, { protocols: ["bearer.x.y.z"] }).catch(() => undefined); // the library may insist on one
    assert.equal(only?.raw.protocol ?? "", "");
    only?.destroy();
  });
});

describe("what others may receive", () => {
  test("reserved names are never relayed", limit, async () => {
    const sender = await open.websocket();
    sender.send("40");
    await sender.next();
    const listeners = await Promise.all(Array.from({ length: 20 }, () => connected(urls.PORT, websocket)));
    const heardAny = [];
    for (const s of listeners) {
      s.onAny((name) => heardAny.push(name));
      s.on("disconnect", () => heardAny.push("DISCONNECT"));
    }
    for (const name of ["error", "token-expired"]) {
      sender.send(`421["${name}","forged"]`);
      assert.match(await sender.next(), /^431\[\{"error"/);
    }
    sender.send('422["relay","fine"]');
    assert.equal(await sender.next(), "432[]");
    for (const s of listeners) await call(s, "echo", 1);
    assert.deepEqual(heardAny, Array(20).fill("relay"));
    sender.destroy();
  });

  test("keys that are there twice are refused where a rule reads them", limit, async () => {
    const ws = await open.websocket();
    ws.send("40");
    await ws.next();
    for (const data of ['{"text":"a","text":"b"}', '{"text":"b","text":"a"}', '{"text":"a","te\\u0078t":"b"}']) {
      ws.send(`421["checked",${data}]`);
      assert.equal(JSON.parse((await ws.next()).slice(3))[0]?.code, "INVALID", data);
    }
    ws.send('422["checked",{"text":"a","__proto__":{"text":"b"}}]');
    assert.equal(await ws.next(), "432[]");
    ws.destroy();
  });

  test("messages of max_message, back to back: nobody is closed", limit, async () => {
    const readers = [
      ...(await inBatches(30, 10, () => WebSocketMember.open(urls.PORT))),
      ...(await inBatches(10, 10, () => PollingMember.open(urls.PORT))),
    ];
    await Promise.all(readers.map((m) => m.call("join", "readers")));
    const sender = await WebSocketMember.open(urls.PORT);
    const text = "x".repeat(999_900);
    const keepUp = (least) =>
      until(() => readers.every((m) => m.heard >= least), `${least} large messages at each`, 40_000).catch((error) => {
        throw new Error(`${error.message}; heard ${readers.map((m) => m.heard)}, disconnected ${readers.map((m) => m.disconnects)}`);
      });
    for (let i = 0; i < 8; i++) {
      await sender.call("big", text);
      await keepUp(i - 1); // with the next, three are on their way: four would be more than the backlog that each may have
    }
    await keepUp(8);
    assert.deepEqual(readers.map((m) => m.disconnects), readers.map(() => 0));
  });
});

describe("limits", () => {
  test("rooms of a socket", limit, async () => {
    const socket = await connected(urls.TIGHT, websocket);
    for (const room of ["a", "b", "c", "a"]) assert.equal(await call(socket, "join", room), undefined);
    assert.equal((await call(socket, "join", "d")).code, "LIMIT");
    assert.equal((await call(socket, "join", ["a", "x".repeat(257)])).code, "INVALID");
  });

  test("connections: beyond, 503, and room again when one leaves", limit, async () => {
    const sockets = [];
    let refusal;
    await until(async () => {
      const { ws, status } = await tight.upgrade(v4ws);
      if (ws) {
        sockets.push(ws);
        ws.send("40");
      }
      refusal = status;
      return status !== undefined;
    }, "the refusal of a connection");
    assert.equal(refusal, 503);
    assert.equal((await tight.get(v4)).status, 503);
    assert.ok(sockets.length >= 5 && sockets.length <= 10, `${sockets.length} connections`);
    for (const ws of sockets) ws.destroy();
    await until(async () => (await tight.get(v4)).status === 200, "room for a connection");
    await until(async () => {
      // Sessions that nobody goes on with end by the handshake's time.
      const { ws } = await tight.upgrade(v4ws);
      ws?.destroy();
      return ws;
    }, "room for a WebSocket");
  });

  // Connections of earlier tests may still count.
  const room = () => until(() => connected(urls.TIGHT, websocket).catch(() => undefined), "room for a connection");

  // deaf is a client in the room "all" that reads nothing more.
  async function deaf() {
    const ws = await until(() => tight.websocket().catch(() => undefined), "room for a connection");
    ws.send("40");
    await ws.next();
    ws.send('421["join","all"]');
    await ws.next();
    ws.raw.pause();
    return ws;
  }

  test("a client that does not read is closed as a slow consumer; the others have everything", limit, async () => {
    const [watcher, reader, publisher] = [await room(), await room(), await room()];
    await call(watcher, "join", "watchers");
    await call(reader, "join", "all");
    const slow = await deaf();

    const news = heard(reader, "news");
    const left = heard(watcher, "left");
    const text = "x".repeat(50_000);
    let sent = 0;
    while (left.length === 0 && sent < 2000) await call(publisher, "publish", sent++, text);
    assert.deepEqual(left, [["slow consumer"]]);
    await until(() => news.length >= sent, "all news at the reader");
    assert.deepEqual(news.map(([n]) => n), Array.from({ length: sent }, (_, i) => i));
    slow.destroy();
  });

  test("volatile ones are dropped before a client is", limit, async () => {
    const publisher = await room();
    const slow = await deaf();
    const text = "x".repeat(50_000);
    const rounds = 400; // 20 MB, far beyond the outbox
    for (let i = 0; i < rounds; i++) await call(publisher, "drop", i, text);
    slow.raw.resume();
    slow.send('422["join","all"]');
    let got = 0;
    for (let packet = ""; !packet.startsWith("432["); got++) packet = await slow.next();
    assert.ok(got - 1 > 0 && got - 1 < rounds, `${got - 1} of ${rounds}`);
    slow.destroy();
  });
});

describe("compression", () => {
  test("works for those who offer it", limit, async () => {
    const ws = await deflate.websocket({}, { perMessageDeflate: { threshold: 0 } });
    assert.match(ws.raw.extensions.toString() + Object.keys(ws.raw._extensions ?? {}), /deflate/);
    ws.send("40");
    await ws.next();
    for (const text of ["short", "long ".repeat(10_000), "€".repeat(3000)]) {
      ws.send('421["echo",' + JSON.stringify(text) + "]");
      assert.equal(await ws.next(), "431[" + JSON.stringify(text) + "]");
    }
    ws.destroy();
  });

  test("a client with a small window gets nothing that refers further back", limit, async () => {
    for (const serverMaxWindowBits of [9, 12, 15]) {
      // zlib inflates with exactly that window, and ends the connection where it does not suffice.
      const ws = await deflate.websocket({}, { perMessageDeflate: { threshold: 0, serverMaxWindowBits } });
      assert.match(ws.raw.extensions.toString() + Object.keys(ws.raw._extensions ?? {}), /deflate/);
      ws.send("40");
      await ws.next();
      for (const period of [300, 500, 3000, 5000]) {
        const text = randomBytes(period / 2).toString("hex").repeat(5);
        ws.send('421["echo","' + text + '"]');
        assert.equal(await ws.next(), '431["' + text + '"]');
      }
      ws.destroy();
    }
  });

  test("a message that inflates beyond all measure ends its connection", limit, async () => {
    const before = await caddy.figures();
    const bomb = deflateRawSync(Buffer.alloc(300_000_000, "4"), { level: 9 });
    const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n";
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        const answer = await throwAt(caddy.ports.DEFLATE, [upgradeRequest(caddy.ports.DEFLATE, undefined, offer), frame(1, bomb, { reserved: 4 })], {
          wait: true,
          patience: 10_000,
        });
        assert.match(answer, /^HTTP\/1.1 101[^]*permessage-deflate/i);
      }),
    );
    const now = await caddy.figures();
    assert.ok(now.heap < before.heap + 20e6, `heap ${before.heap} → ${now.heap}`);
    const ws = await deflate.websocket();
    ws.destroy();
  });
});
