// The Socket.IO v5 cases by their numbers: S1–S32 are those of the protocol
// document's suite, D1–D3 what the document alone asks for, "2.1" and the like
// what the official server does beyond it. Then the real client, over each
// transport. The server is Caddy with socketio.Caddyfile; `npm run reference`
// runs the cases against the official server instead.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { join } from "node:path";
import { Caddy } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, connects, heard, next } from "./lib/client.mjs";
import { Endpoint, ends, RS } from "./lib/engine.mjs";
import { freePort, here, Process } from "./lib/process.mjs";
import { pause, until } from "./lib/wait.mjs";

const reference = Boolean(process.env.REFERENCE);
const limit = { timeout: 30_000 };
const ours = { ...limit, skip: reference && "ours alone: the official server has no such thing" };
// Where Node has a hole that a server should not copy.
const better = { ...limit, skip: reference && "the official server differs here, for the worse" };

let server;
let url; // pings every 25 s
let main; // its endpoint
let fast; // pings every 300 ms, waits 200 ms, wants a CONNECT within 1 s

before(async () => {
  if (reference) {
    const [port, fastPort] = [await freePort(), await freePort()];
    server = await Process.start(process.execPath, [join(here, "lib/reference.mjs"), "socketio", port, fastPort], port);
    server.ports = { PORT: port, FAST_PORT: fastPort };
  } else {
    server = await Caddy.start({ file: join(here, "socketio.Caddyfile"), ports: ["FAST_PORT"] });
  }
  url = `http://127.0.0.1:${server.ports.PORT}`;
  main = new Endpoint(`${url}/socket.io/`);
  fast = new Endpoint(`http://127.0.0.1:${server.ports.FAST_PORT}/socket.io/`);
});

afterEach(closeAll);

after(async () => {
  await server?.stop();
});

// ---- raw packets ----

const v4 = { EIO: "4", transport: "polling" };
const v4ws = { EIO: "4", transport: "websocket" };

const P = (num) => ({ _placeholder: true, num });
const packet = (head, data) => head + JSON.stringify(data);

function isConnect(packet, nsp = "/") {
  const head = nsp === "/" ? "40" : `40${nsp},`;
  assert.ok(packet.startsWith(head), packet);
  const answer = JSON.parse(packet.slice(head.length));
  assert.deepEqual(Object.keys(answer), ["sid"]);
  assert.match(answer.sid, /^[\w-]{20}$/);
  return answer.sid;
}

// joined takes a session into the main namespace.
async function joined(session) {
  await session.send("40");
  session.id = isConnect(await session.next());
  assert.equal(await session.next(), '42["auth",{}]');
  return session;
}

const socket = async () => joined(await main.websocket());
const pollingSocket = async () => joined(await main.poll());

// alive shows that a connection still serves the main namespace.
async function alive(session) {
  await session.send('4299["message-with-ack","alive"]');
  assert.equal(await session.next(), '4399["alive"]');
}

// closesOn tells that each of the packets ends its connection.
async function closesOn(...packets) {
  for (const p of packets) {
    const ws = await socket();
    ws.send(p);
    await assert.doesNotReject(ws.ended(), `after ${p}`);
  }
}

// closesOnAll tells that the packets together end a connection.
async function closesOnAll(...packets) {
  const ws = await socket();
  for (const p of packets) ws.send(p);
  await ws.ended();
}

describe("Socket.IO: Engine.IO below it", () => {
  test("S1 handshake by polling", limit, async () => {
    const { handshake } = await main.poll();
    assert.deepEqual(Object.keys(handshake).sort(), ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
    assert.deepEqual(handshake.upgrades, ["websocket"]);
    assert.equal(handshake.pingInterval, 25_000);
    assert.equal(handshake.pingTimeout, 20_000);
    assert.equal(handshake.maxPayload, 1_000_000);
  });

  test("S2 EIO missing or invalid", limit, async () => {
    for (const query of [{ transport: "polling" }, { ...v4, EIO: "abc" }]) assert.equal((await main.get(query)).status, 400);
  });

  test("S3 transport missing or invalid", limit, async () => {
    for (const query of [{ EIO: "4" }, { ...v4, transport: "abc" }]) assert.equal((await main.get(query)).status, 400);
  });

  test("S4 handshake by POST or PUT", limit, async () => {
    for (const method of ["POST", "PUT"]) assert.equal((await main.get(v4, { method })).status, 400);
  });

  test("S5 handshake by WebSocket", limit, async () => {
    const ws = await main.websocket();
    assert.deepEqual(ws.handshake.upgrades, []);
    ws.destroy();
  });

  test("S6 EIO missing or invalid, WebSocket", limit, async () => {
    for (const EIO of ["", "abc"]) await ends(await main.upgrade({ EIO, transport: "websocket" }));
  });

  test("S7 transport missing or invalid, WebSocket", limit, async () => {
    await ends(await main.upgrade({ EIO: "4" }));
    await ends(await main.upgrade({ EIO: "4", transport: "abc" }));
  });

  test("S8 polling heartbeat", limit, async () => {
    const p = await fast.poll();
    await p.send("40");
    isConnect(await p.next());
    assert.equal(await p.next(), '42["auth",{}]');
    for (let i = 0; i < 3; i++) {
      assert.equal((await p.get()).body, "2");
      assert.equal((await p.post("3")).status, 200);
    }
  });

  test("S9 polling, no pong", limit, async () => {
    const p = await fast.poll();
    assert.equal((await p.get()).body, "2");
    await p.get();
    assert.equal((await p.get()).status, 400);
  });

  test("S10 WebSocket heartbeat", limit, async () => {
    const ws = await joined(await fast.websocket());
    for (let i = 0; i < 3; i++) {
      assert.equal(await ws.frame(), "2");
      ws.send("3");
    }
    ws.destroy();
  });

  test("S11 WebSocket, no pong", limit, async () => {
    await (await joined(await fast.websocket())).ended();
  });

  test("S12 close while a GET is pending", limit, async () => {
    const p = await main.poll();
    const poll = p.get();
    await pause(50); // the GET first
    assert.equal((await p.post("1")).status, 200);
    assert.equal((await poll).status, 200);
    assert.equal((await p.get()).status, 400);
  });

  test("S13 WebSocket, close packet", limit, async () => {
    const ws = await joined(await fast.websocket());
    ws.send("1");
    await ws.ended();
  });

  test("S14 upgrade", limit, async () => {
    const p = await pollingSocket();
    const ws = await p.upgraded();
    await alive(ws);
    ws.destroy();
  });

  test("S15 HTTP requests after the upgrade", limit, async () => {
    const p = await pollingSocket();
    const ws = await p.upgraded();
    await alive(ws);
    assert.equal((await p.get()).status, 400);
    await alive(ws);
    ws.destroy();
  });

  test("S16 a second WebSocket after the upgrade", limit, async () => {
    const p = await pollingSocket();
    const ws = await p.upgraded();
    await alive(ws);
    await ends(await main.upgrade({ ...v4ws, sid: p.sid }));
    await alive(ws);
    ws.destroy();
  });

  test("1.7 a header by POST, its attachment by WebSocket", limit, async () => {
    const p = await pollingSocket();
    await p.post(packet("451-1", ["message-with-ack", P(0)]));
    const ws = await p.upgraded();
    ws.send(Buffer.from([1, 2, 3]));
    assert.equal(await ws.next(), packet("461-1", [P(0)]));
    assert.deepEqual(await ws.next(), Buffer.from([1, 2, 3]));
    ws.destroy();
  });

  test("1.1 requests beside the path are not ours", ours, async () => {
    for (const path of ["/socket.iox/", "/socket.io/../x/", "/", "/x/socket.io/"]) {
      const res = await new Endpoint(url + path).get(v4);
      assert.doesNotMatch(res.body, /"sid"/, path);
    }
  });
});

describe("browsers", () => {
  test("1.12 a page of the same origin names it in POST and upgrade, not in GET", limit, async () => {
    const origin = url;
    const p = await main.poll();
    assert.equal((await p.post("40", { origin })).status, 200);
    isConnect(await p.next());
    const { ws } = await main.upgrade({ ...v4ws, sid: p.sid }, { headers: { origin } });
    ws.send("2probe");
    assert.equal(await ws.frame(), "3probe");
    ws.send("5");
    if (p.pending === 0) assert.equal(await ws.next(), '42["auth",{}]');
    await alive(ws);
    ws.destroy();
  });

  test("1.12 a page of another origin is refused, and may not use a known sid", ours, async () => {
    const own = new URL(main.base);
    const p = await main.poll();
    for (const origin of ["http://evil.example", `http://${own.hostname}.evil.example`, `http://evil-${own.host}`, `https://${own.host}`, `http://${own.hostname}:1`, "null"]) {
      const headers = { origin };
      for (const query of [v4, { ...v4, sid: p.sid }]) assert.equal((await main.get(query, { headers })).status, 403, origin);
      assert.equal((await p.post("4evil", headers)).status, 403, origin);
      for (const query of [v4ws, { ...v4ws, sid: p.sid }]) assert.ok(!(await main.upgrade(query, { headers })).ws, origin);
    }
    assert.equal((await main.get(v4, { headers: { "sec-fetch-site": "cross-site" } })).status, 403);
    await joined(p); // and is still there
  });
});

describe("Socket.IO CONNECT", () => {
  test("S17 main namespace", limit, async () => {
    for (const session of [await main.websocket(), await main.poll()]) {
      await session.send("40");
      isConnect(await session.next());
      assert.equal(await session.next(), '42["auth",{}]');
    }
  });

  // The official suite sends a token, which no rule sees here.
  test("S18 with auth", limit, async () => {
    const ws = await main.websocket();
    ws.send('40{"token":"123","key":"123"}');
    isConnect(await ws.next());
    assert.equal(await ws.next(), '42["auth",{"key":"123"}]');
    ws.destroy();
  });

  test("S19 custom namespace", limit, async () => {
    for (const connect of ["40/custom,", "40/custom"]) {
      const ws = await main.websocket();
      ws.send(connect);
      isConnect(await ws.next(), "/custom");
      assert.equal(await ws.next(), '42/custom,["auth",{}]');
      ws.destroy();
    }
  });

  test("S20 custom namespace with auth", limit, async () => {
    const ws = await main.websocket();
    ws.send('40/custom,{"token":"abc","key":"abc"}');
    isConnect(await ws.next(), "/custom");
    assert.equal(await ws.next(), '42/custom,["auth",{"key":"abc"}]');
    ws.destroy();
  });

  test("S21 unknown namespace", limit, async () => {
    const ws = await main.websocket();
    for (const name of ["/random", "/custom/", "/custom?token=1", "/room-x", "/room-1x", "/xroom-1", '/a{"b":1}']) {
      ws.send(`40${name},`);
      assert.equal(await ws.next(), `44${name},{"message":"Invalid namespace"}`);
    }
    await joined(ws); // a refusal leaves the connection open
    ws.destroy();
  });

  test("S22 garbage as the first message", limit, async () => {
    const ws = await main.websocket();
    ws.send("4abc");
    await ws.ended();
  });

  test("S23 no CONNECT in time", limit, async () => {
    const ws = await fast.websocket();
    const beats = (async () => {
      for (;;) await ws.next(); // answers pings until the end
    })().catch(() => {});
    await ws.ended();
    await beats;
  });

  test("S23 refused namespaces do not count as CONNECT", limit, async () => {
    const ws = await fast.websocket();
    ws.send("40/random,");
    assert.match(await ws.next(), /^44\/random,/);
    (async () => {
      for (;;) await ws.next();
    })().catch(() => {});
    await ws.ended();
  });

  test("D1 first packet is not CONNECT", limit, async () => {
    for (const first of ['42["message",1]', "41", "43[]", "43/custom,1[]"]) {
      const ws = await main.websocket();
      ws.send(first);
      await ws.ended();
    }
  });

  test("2.2 the socket id is not the session's, and its own in each namespace", limit, async () => {
    const ws = await socket();
    ws.send("40/custom,");
    const other = isConnect(await ws.next(), "/custom");
    assert.equal(new Set([ws.handshake.sid, ws.id, other]).size, 3);
    ws.destroy();
  });

  test("2.2 CONNECT payloads that are no object", limit, async () => {
    for (const payload of ['["x"]', '"x"', "null", "{"]) {
      const ws = await main.websocket();
      ws.send(`40${payload}`);
      await ws.ended();
    }
  });

  test("2.2 CONNECT twice", limit, async () => {
    await closesOn("40", '40{"a":1}');
  });

  test("2.2 packets for a namespace that was not joined", limit, async () => {
    await closesOn('42/custom,["message",1]', "41/custom,", "43/custom,1[]", '42/random,["message",1]');
  });

  test("2.2 CONNECT_ERROR from a client", limit, async () => {
    await closesOn('44{"message":"no"}', '44"no"', "44/custom,{}");
  });

  test("2.3 namespace names with a space, an emoji, a control character", ours, async () => {
    const ws = await main.websocket();
    ws.send("40/a b,");
    assert.equal(await ws.next(), '44/a b,{"message":"Invalid namespace"}');
    ws.send("40/\u{1f600},");
    assert.equal(await ws.next(), '44/\u{1f600},{"message":"Invalid namespace"}');
    ws.send("40/a\u0007,");
    await ws.ended();
  });

  test("2.2 refusal by the rule keeps the connection", limit, async () => {
    const ws = await socket();
    for (const auth of ["", '{"key":"wrong"}', '{"key":1}', '{"key":null}']) {
      ws.send(`40/members,${auth}`);
      assert.equal(await ws.next(), '44/members,{"message":"Not authorized"}');
    }
    ws.send('40/members,{"key":"let me in","name":"Ada"}');
    isConnect(await ws.next(), "/members");
    assert.equal(await ws.next(), '42/members,["welcome","Ada"]');
    ws.destroy();
  });
});

describe("Socket.IO DISCONNECT", () => {
  test("S24 leaving the main namespace", limit, async () => {
    const ws = await joined(await fast.websocket());
    ws.send("41");
    assert.equal(await ws.frame(), "2");
    ws.send("3");
    assert.equal(await ws.frame(), "2");
    ws.destroy();
  });

  test("S25 leaving a custom namespace", limit, async () => {
    const ws = await socket();
    ws.send("40/custom,");
    isConnect(await ws.next(), "/custom");
    assert.equal(await ws.next(), '42/custom,["auth",{}]');
    ws.send("41/custom,");
    ws.send('42["message","message to main namespace"]');
    assert.equal(await ws.next(), '42["message-back","message to main namespace"]');
    ws.destroy();
  });

  test("2.5 an event after leaving", limit, async () => {
    const ws = await socket();
    ws.send("40/custom,");
    isConnect(await ws.next(), "/custom");
    assert.equal(await ws.next(), '42/custom,["auth",{}]');
    ws.send("41");
    ws.send('42/custom,["message",1]');
    assert.equal(await ws.next(), '42/custom,["message-back",1]'); // it has left by now
    ws.send('42["message",1]');
    await ws.ended();
  });

  test("2.5 leaving and joining again", better, async () => {
    const ws = await socket();
    ws.send("41");
    const before = ws.id;
    await joined(ws);
    assert.notEqual(ws.id, before);
    await alive(ws);
    ws.destroy();
  });

  test("2.5 disconnect by the server: one namespace", limit, async () => {
    const ws = await socket();
    ws.send("40/custom,");
    isConnect(await ws.next(), "/custom");
    assert.equal(await ws.next(), '42/custom,["auth",{}]');
    ws.send('42["kick"]');
    assert.equal(await ws.next(), "41");
    ws.send('42/custom,["message",1]');
    assert.equal(await ws.next(), '42/custom,["message-back",1]');
    ws.destroy();
  });

  test("2.5 disconnect by the server: the connection", limit, async () => {
    const ws = await socket();
    ws.send("40/custom,");
    isConnect(await ws.next(), "/custom");
    assert.equal(await ws.next(), '42/custom,["auth",{}]');
    ws.send('42["kick-all"]');
    assert.deepEqual([await ws.next(), await ws.next()].sort(), ["41", "41/custom,"]);
    await ws.ended();
  });

  test("2.5 what is queued goes out before the connection ends, by polling", limit, async () => {
    const p = await pollingSocket();
    await p.send('42["message","last"]' + RS + '42["kick-all"]');
    assert.equal(await p.next(), '42["message-back","last"]');
    assert.equal(await p.next(), "41");
    await until(() => main.gone(p.sid), "the session's end", 5000).catch(async () => {
      // or the close packet waits for a GET
      const rest = await p.get();
      assert.ok(rest.body.endsWith("1"), rest.body);
    });
  });
});

describe("Socket.IO events", () => {
  test("S26 text", limit, async () => {
    for (const session of [await socket(), await pollingSocket()]) {
      await session.send('42["message",1,"2",{"3":[true]}]');
      assert.equal(await session.next(), '42["message-back",1,"2",{"3":[true]}]');
    }
  });

  test("S27 binary", limit, async () => {
    const ws = await socket();
    ws.send(packet("452-", ["message", P(0), P(1)]));
    ws.send(Buffer.from([1, 2, 3]));
    ws.send(Buffer.from([4, 5, 6]));
    assert.equal(await ws.next(), packet("452-", ["message-back", P(0), P(1)]));
    assert.deepEqual(await ws.next(), Buffer.from([1, 2, 3]));
    assert.deepEqual(await ws.next(), Buffer.from([4, 5, 6]));
    ws.destroy();
  });

  test("S27 binary by polling", limit, async () => {
    const p = await pollingSocket();
    await p.send([packet("452-", ["message", P(0), { a: [P(1)] }]), "bAQID", "b"].join(RS));
    assert.equal(await p.next(), packet("452-", ["message-back", P(0), { a: [P(1)] }]));
    assert.equal(await p.next(), "bAQID");
    assert.equal(await p.next(), "b");
  });

  test("S28 ack", limit, async () => {
    for (const session of [await socket(), await pollingSocket()]) {
      await session.send('42456["message-with-ack",1,"2",{"3":[false]}]');
      assert.equal(await session.next(), '43456[1,"2",{"3":[false]}]');
    }
  });

  test("S29 binary ack", limit, async () => {
    const ws = await socket();
    ws.send(packet("452-789", ["message-with-ack", P(0), P(1)]));
    ws.send(Buffer.from([1, 2, 3]));
    ws.send(Buffer.from([4, 5, 6]));
    assert.equal(await ws.next(), packet("462-789", [P(0), P(1)]));
    assert.deepEqual(await ws.next(), Buffer.from([1, 2, 3]));
    assert.deepEqual(await ws.next(), Buffer.from([4, 5, 6]));
    ws.destroy();
  });

  test("S30 garbage after CONNECT", limit, () => closesOn("4abc", "4", "47", '49["x"]'));

  test("S31 a payload that is no array", limit, () => closesOn("42{}", '42"x"', "42null"));

  test("S32 an id that is no number", limit, () => closesOn('42abc["message-with-ack",1]', '42-1["x"]', '421.5["x"]'));

  test("D2 EVENT with an empty array", limit, () => closesOn("42[]"));

  test("D2 EVENT and ACK without payload", better, () => closesOn("42", "4212", "43", "4312"));

  test("D3 ACK with an empty array", limit, async () => {
    const ws = await socket();
    ws.send("4399[]"); // nobody asked: ignored
    ws.send('427["nothing"]');
    assert.equal(await ws.next(), "437[]");
    ws.destroy();
  });

  test("D3 ACK whose payload is no array", limit, () => closesOn("431{}", '431"x"', "431null"));

  test("2.1 event names that are none", limit, () =>
    closesOn("42[null]", '42[["a"]]', "42[true]", "42[{}]", '42["a"', '42["a"]]', "42['a']", '42["a",]'),
  );

  test("2.1 reserved event names", limit, () =>
    closesOn(...["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"].map((n) => packet("42", [n]))),
  );

  test("2.1 reserved event names, written with escapes", limit, () => closesOn('42["dis\\u0063onnect"]'));

  test("2.1 a number or nothing as the event's name", limit, async () => {
    const ws = await socket();
    for (const [sent, ack] of [['421[1,"a"]', "431["], ['422[""]', "432["]]) {
      ws.send(sent);
      const answer = await ws.next();
      assert.ok(answer.startsWith(ack), answer);
      assert.equal(JSON.parse(answer.slice(3))[0].code, "UNKNOWN_EVENT");
    }
    ws.destroy();
  });

  test("2.1 CONNECT with an id", limit, async () => {
    const ws = await main.websocket();
    ws.send('4012{"a":1}');
    isConnect(await ws.next());
    ws.destroy();
  });

  test("2.1 DISCONNECT with a payload", limit, () => closesOn('41{"a":1}', "41[]"));

  test("2.1 attachment counts", limit, () => closesOn('45["a"]', '45x-["a"]', '45-["a"]', '45-1-["a"]', '451.5-["a"]', '4511-["a"]', '4510000-["a"]'));

  test("2.1 attachment counts and ids that only JavaScript reads as numbers", better, () =>
    closesOn('451e0-["message",{"_placeholder":true,"num":0}]', '450-["a"]', '42 12["a"]', '42 ["a"]', '42123456789012345678901["message-with-ack"]'),
  );

  test("2.1 text where an attachment is due", limit, () => closesOnAll(packet("451-", ["message", P(0)]), '42["message",1]'));

  test("2.1 binary where none is due", limit, () => closesOn(Buffer.from([1, 2, 3])));

  test("2.1 one attachment too many", limit, () =>
    closesOnAll(packet("451-", ["message", P(0)]), Buffer.from([1]), Buffer.from([2])),
  );

  test("2.1 a placeholder that names no attachment", limit, async () => {
    await closesOnAll(packet("451-", ["message", P(1)]), Buffer.from([1]));
    await closesOnAll(packet("451-", ["message", P(-1)]), Buffer.from([1]));
    await closesOnAll(packet("451-", ["message", P("0")]), Buffer.from([1]));
  });

  test("2.1 an attachment named twice, or half", better, async () => {
    await closesOnAll(packet("451-", ["message", P(0), P(0)]), Buffer.from([1]));
    await closesOnAll(packet("451-", ["message", P(0.5)]), Buffer.from([1]));
    await closesOnAll(packet("452-", ["message", P(0)]), Buffer.from([1]), Buffer.from([2]));
  });

  test("2.4 ten attachments, out of order", limit, async () => {
    const ws = await socket();
    const order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7];
    ws.send(packet("4510-1", ["message-with-ack", ...order.map(P)]));
    for (let i = 0; i < 10; i++) ws.send(Buffer.from([i]));
    assert.match(await ws.next(), /^4610-1\[/);
    const got = [];
    for (let i = 0; i < 10; i++) got.push((await ws.next())[0]);
    assert.deepEqual(got.sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    ws.destroy();
  });

  test("2.4 a placeholder object in a packet without attachments is data", limit, async () => {
    const ws = await socket();
    ws.send(packet("421", ["message-with-ack", P(0)]));
    const answer = await ws.next();
    assert.equal(answer, packet("431", [P(0)]));
    ws.destroy();
  });

  test("2.4 pings may come between a header and its attachment", limit, async () => {
    const ws = await joined(await fast.websocket());
    ws.send(packet("451-1", ["message-with-ack", P(0)]));
    assert.equal(await ws.frame(), "2");
    ws.send("3");
    ws.send(Buffer.from([7]));
    assert.equal(await ws.next(), packet("461-1", [P(0)]));
    assert.deepEqual(await ws.next(), Buffer.from([7]));
    ws.destroy();
  });

  test("2.4 many arguments, deep and odd values", limit, async () => {
    const ws = await socket();
    const values = [null, true, 1.5, -0.25, 1e21, "", "\u2028\u2029\u0000\u001e\"\\/", "\ud83d\ude00", {}, [], { "": { __proto__x: 1 }, "a,b": [[[]]] }];
    ws.send(packet("421", ["message-with-ack", ...values]));
    assert.equal(await ws.next(), packet("431", values));
    const many = Array.from({ length: 63 }, (_, i) => i);
    ws.send(packet("422", ["message-with-ack", ...many]));
    assert.equal(await ws.next(), packet("432", many));
    ws.destroy();
  });

  test("2.4 payloads pass byte for byte", ours, async () => {
    const ws = await socket();
    const raw = '12345678901234567890,1.10,1E+2,{"b":1, "a" : [ 2 ]},"\\u00e9\\ud800\\/<>&\u2028"';
    ws.send(`421["message-with-ack",${raw}]`);
    assert.equal(await ws.next(), `431[${raw}]`);
    ws.send(`42["message",${raw}]`);
    assert.equal(await ws.next(), `42["message-back",${raw}]`);
    ws.destroy();
  });

  test("2.4 JSON 128 deep passes, deeper ends the connection", ours, async () => {
    const nest = (depth) => "[".repeat(depth) + "]".repeat(depth);
    const ws = await socket();
    ws.send(`421["message-with-ack",${nest(120)}]`);
    assert.equal(await ws.next(), `431[${nest(120)}]`);
    ws.send(`421["message-with-ack",${nest(130)}]`);
    await ws.ended();
  });

  test("2.4 the server's question: only the right ack counts, once", limit, async () => {
    const [asked, stranger] = [await socket(), await socket()];
    asked.send('425["question",{"of":"asked"}]');
    const question = await asked.next();
    const [, id] = /^42(\d+)\["question",\{"of":"asked"\}\]$/.exec(question);
    for (const forged of [id, Number(id) + 1]) stranger.send(`43${forged}["forged"]`);
    await alive(stranger);
    asked.send(`43${Number(id) + 1000}["wrong"]`);
    asked.send(`43${id}["right","ignored"]`);
    asked.send(`43${id}["again"]`);
    assert.equal(await asked.next(), '435["right"]');
    await alive(asked);
    asked.destroy();
    stranger.destroy();
  });

  test("2.4 a question suspends its own rule only", limit, async () => {
    const ws = await socket();
    ws.send('421["question",1]');
    const [, id] = /^42(\d+)/.exec(await ws.next());
    await alive(ws);
    ws.send(`43${id}["late"]`);
    assert.equal(await ws.next(), '431["late"]');
    ws.destroy();
  });

  test("2.4 a binary answer to the server's question", limit, async () => {
    const ws = await socket();
    ws.send('421["question",1]');
    const [, id] = /^42(\d+)/.exec(await ws.next());
    ws.send(packet(`461-${id}`, [{ of: P(0) }]));
    ws.send(Buffer.from([1, 2]));
    assert.equal(await ws.next(), packet("461-1", [{ of: P(0) }]));
    assert.deepEqual(await ws.next(), Buffer.from([1, 2]));
    ws.destroy();
  });

  test("2.6 volatile is dropped while no GET is pending", limit, async () => {
    const p = await pollingSocket();
    await p.send('42["tick",1]');
    await p.send('42["tick",2]' + RS + '42["message","kept"]');
    assert.equal((await p.get()).body, '42["message-back","kept"]');
  });

  test("2.8 one sender's messages stay in order across the upgrade", limit, async () => {
    const p = await pollingSocket();
    const got = [];
    for (let i = 0; i < 20; i++) await p.send(`42["message",${i}]`);
    for (let i = 0; i < 5; i++) got.push(await p.next());
    const ws = await p.upgraded();
    for (let i = 20; i < 40; i++) ws.send(`42["message",${i}]`);
    // What that one GET held and next() has not handed out comes first.
    while (p.pending > 0) got.push(await p.next());
    while (got.length < 40) got.push(await ws.next());
    assert.deepEqual(got, Array.from({ length: 40 }, (_, i) => `42["message-back",${i}]`));
    ws.destroy();
  });
});

describe("Socket.IO refusals", () => {
  test("an unknown event, with and without ack", limit, async () => {
    const ws = await socket();
    ws.send('421["no-such-event",1]');
    const answer = JSON.parse((await ws.next()).slice(3))[0];
    assert.equal(answer.code, "UNKNOWN_EVENT");
    assert.equal(typeof answer.error, "string");
    ws.send('42["no-such-event",1]');
    const [name, error] = JSON.parse((await ws.next()).slice(2));
    assert.equal(name, "error");
    assert.equal(error.code, "UNKNOWN_EVENT");
    assert.equal(error.event, "no-such-event");
    assert.equal(typeof error.message, "string");
    await alive(ws);
    ws.destroy();
  });

  test("names that are ours are refused from clients", limit, async () => {
    const ws = await socket();
    for (const name of ["error", "token-expired"]) {
      ws.send(packet("421", [name, "x"]));
      assert.match(JSON.parse((await ws.next()).slice(3))[0].code, /^(FORBIDDEN|UNKNOWN_EVENT)$/);
    }
    ws.destroy();
  });

  test("at most one error event a second", ours, async () => {
    const ws = await socket();
    for (let i = 0; i < 50; i++) ws.send('42["no-such-event"]');
    ws.send('429["message-with-ack"]');
    let errors = 0;
    for (let frame; (frame = await ws.next()) !== "439[]"; ) errors += frame.startsWith('42["error"');
    assert.ok(errors >= 1 && errors <= 10, `${errors} error events`);
    ws.destroy();
  });

  test("a condition that is false, or cannot be evaluated", limit, async () => {
    const ws = await socket();
    for (const data of ['{"text":""}', "{}", "1", "null", '"x"', "[]", '{"text":1}']) {
      ws.send(`421["checked",${data}]`);
      assert.equal(await ws.next(), '431[{"error":"Text required","code":"INVALID"}]');
    }
    ws.send('421["checked"]');
    assert.equal(await ws.next(), '431[{"error":"Text required","code":"INVALID"}]');
    ws.send('422["checked",{"text":"x"}]');
    assert.equal(await ws.next(), '432["fine"]');
    ws.send('423["guarded"]');
    assert.equal(await ws.next(), '433[{"error":"Not yours","code":"FORBIDDEN"}]');
    ws.destroy();
  });

  test("an expression that fails is INVALID and costs only its event", ours, async () => {
    const ws = await socket();
    for (const sent of ['421["join"]', '421["join",{"a":1}]', '421["join",null]', '421["say","r"]', '421["whisper",[1]]', '421["join",["a",["b"]]]']) {
      ws.send(sent);
      const answer = await ws.next();
      assert.equal(JSON.parse(answer.slice(3))[0]?.code, "INVALID", `${sent} → ${answer}`);
    }
    await alive(ws);
    ws.destroy();
  });

  test("rooms that are addresses are FORBIDDEN", ours, async () => {
    const [ws, other] = [await socket(), await socket()];
    for (const room of [ws.id, other.id, "user:1", "user:", "s_0123456789abcdefgh"]) {
      const mayTarget = room === ws.id; // its own address is good in a target, as in Node
      for (const event of mayTarget ? ["join", "leave"] : ["join", "leave", "say", "tell"]) {
        ws.send(packet("421", [event, room, "x"]));
        const answer = await ws.next();
        assert.equal(JSON.parse(answer.slice(3))[0]?.code, "FORBIDDEN", `${event} ${room} → ${answer}`);
      }
    }
    await alive(other); // and heard nothing
    ws.destroy();
    other.destroy();
  });

  test("targets that are none", ours, async () => {
    const [ws, other] = [await socket(), await socket()];
    for (const to of ["null", "{}", "1.5", "true", "[[]]", '["a",null]', JSON.stringify(Array.from({ length: 129 }, String))]) {
      ws.send(`421["tell",${to},"x"]`);
      const answer = await ws.next();
      assert.equal(JSON.parse(answer.slice(3))[0]?.code, "INVALID", `${to.slice(0, 20)} → ${answer}`);
    }
    ws.send('422["tell",[],"x"]'); // nobody, not everybody
    assert.equal(await ws.next(), "432[]");
    await alive(other);
    ws.destroy();
    other.destroy();
  });

  test("a room may be named by a whole number", ours, async () => {
    const [ws, other] = [await socket(), await socket()];
    other.send('421["join",42]');
    assert.equal(await other.next(), "431[]");
    ws.send('42["say","42","by text"]');
    assert.equal(await other.next(), '42["said","by text"]');
    ws.send('42["say",42,"by number"]');
    assert.equal(await other.next(), '42["said","by number"]');
    ws.destroy();
    other.destroy();
  });
});

// ---- the real client ----

const transports = {
  polling: { transports: ["polling"] },
  WebSocket: { transports: ["websocket"] },
  upgrade: { transports: ["polling", "websocket"] },
};

for (const [name, options] of Object.entries(transports)) {
  const open = async (more) => {
    const socket = await connected(url + (more?.nsp ?? ""), { ...options, ...more });
    if (name === "upgrade" && socket.io.engine.transport.name !== "websocket") await next(socket.io.engine, "upgrade");
    return socket;
  };
  const pair = (more) => Promise.all([open(more), open(more)]);

  describe(`socket.io-client by ${name}`, () => {
    test("connects with auth", limit, async () => {
      const socket = client(url, { ...options, auth: { code: "123", nested: { a: [1] } } });
      const greeting = next(socket, "auth");
      await connects(socket);
      assert.deepEqual(await greeting, [{ code: "123", nested: { a: [1] } }]);
      assert.match(socket.id, /^[\w-]{20}$/);
    });

    test("acks, ours and theirs", limit, async () => {
      const socket = await open();
      assert.equal(await call(socket, "message-with-ack", "hello"), "hello");
      assert.equal(await call(socket, "nothing"), undefined);
      assert.equal(await call(socket, "say hello"), "hello");
      socket.on("question", (data, answer) => answer({ twice: data * 2 }));
      assert.deepEqual(await call(socket, "question", 21), { twice: 42 });
    });

    test("a question that the client does not answer", limit, async () => {
      const socket = await open();
      assert.equal((await call(socket, "short-question", 1)).code, "TIMEOUT");
    });

    test("rooms: join, leave, emit to one, to all in it and to all but the sender", limit, async () => {
      const [a, b] = await pair();
      const c = await open();
      const room = `rooms-${name}`;
      const [heardA, heardB, heardC] = [a, b, c].map((s) => heard(s, "said"));
      for (const s of [a, b]) await call(s, "join", room);
      assert.deepEqual(await call(a, "rooms"), [a.id, room]);
      await call(a, "say", room, "to the others");
      await call(c, "say", room, "from outside");
      await call(a, "tell", room, "to all in it");
      await call(b, "leave", room);
      await call(a, "tell", room, "alone");
      await call(b, "say", room, "from one who left");
      for (const s of [a, b, c]) await call(s, "nothing"); // what came before it has arrived
      assert.deepEqual(heardA.flat(), ["from outside", "to all in it", "alone", "from one who left"]);
      assert.deepEqual(heardB.flat(), ["to the others", "from outside", "to all in it"]);
      assert.deepEqual(heardC, []);
    });

    test("emit to several rooms reaches each socket once, exceptions none", limit, async () => {
      const [a, b] = await pair();
      const c = await open();
      const [one, two, not] = ["one", "two", "not"].map((r) => `${r}-${name}`);
      const [heardA, heardB, heardC] = [a, b, c].map((s) => heard(s, "said"));
      await call(b, "join", [one, two]);
      await call(c, "join", [two, not]);
      await call(a, "join", one);
      await call(a, "say", [one, two], "all");
      await call(a, "say-except", [one, two], not, "but not c");
      for (const s of [a, b, c]) await call(s, "nothing");
      assert.deepEqual(heardA, []);
      assert.deepEqual(heardB.flat(), ["all", "but not c"]);
      assert.deepEqual(heardC.flat(), ["all"]);
    });

    test("broadcast to all: the whole namespace; and to one socket alone", limit, async () => {
      const [a, b] = await pair();
      const [heardA, heardB] = [a, b].map((s) => heard(s, "said"));
      await call(a, "say-all", "others");
      await call(a, "tell-all", "everybody");
      await call(a, "whisper", b.id, "only you");
      await call(b, "whisper", "s_aaaaaaaaaaaaaaaaaa", "nobody");
      for (const s of [a, b]) await call(s, "nothing");
      assert.deepEqual(heardA.flat(), ["everybody"]);
      assert.deepEqual(heardB.flat(), ["others", "everybody", "only you"]);
    });

    test("binary both ways, nested", limit, async () => {
      const [a, b] = await pair();
      const value = { list: [Buffer.from([1, 2]), { deep: Buffer.from([3]) }], empty: Buffer.alloc(0), text: "x" };
      const back = next(a, "message-back");
      a.emit("message", value, Buffer.from([9]));
      assert.deepEqual(await back, [value, Buffer.from([9])]);
      assert.deepEqual(await call(a, "message-with-ack", value), value);
      a.on("question", (_data, answer) => answer(value));
      assert.deepEqual(await call(a, "question", 1), value);
      const relayed = next(b, "relay");
      a.emit("relay", value);
      assert.deepEqual(await relayed, [value]);
    });

    test("text beyond ASCII", limit, async () => {
      const [a, b] = await pair();
      const texts = ["€ 漢字 😀 \u2028\u2029", "a\u0000\u001eb\u007f", "\"\\/<>&'", "\ud800 lone \udc00", "é".repeat(5000), "👩‍👩‍👧‍👦"];
      for (const text of texts) assert.equal(await call(a, "message-with-ack", text), text);
      const room = `Räume ☕ ${name}`;
      await call(b, "join", room);
      const said = next(b, "said");
      a.emit("say", room, texts[0]);
      assert.deepEqual(await said, [texts[0]]);
      assert.equal((await call(b, "rooms"))[1], room);
    });

    test("payloads near the limit", limit, async () => {
      const [a, b] = await pair();
      const text = "x".repeat(999_000);
      assert.equal((await call(a, "message-with-ack", text)).length, text.length);
      const bytes = Buffer.alloc(700_000, 7);
      assert.deepEqual(await call(a, "message-with-ack", bytes), bytes);
      const wide = "€".repeat(330_000);
      const relayed = next(b, "relay");
      a.emit("relay", wide);
      assert.equal((await relayed)[0] === wide, true);
    });

    test("a payload above the limit costs the connection", limit, async () => {
      const [a, b] = await pair();
      const gone = next(a, "disconnect");
      a.emit("message", "x".repeat(1_100_000));
      assert.match((await gone)[0], /^transport (close|error)$/);
      assert.equal(await call(b, "message-with-ack", 1), 1);
    });

    test("messages stay in order, none lost, none doubled", limit, async () => {
      const [a, b] = await pair();
      const all = heard(b, "relay");
      for (let i = 0; i < 1000; i++) a.emit("relay", i);
      await call(a, "nothing");
      await until(() => all.length >= 1000, "1000 messages");
      await call(b, "nothing");
      assert.deepEqual(all.flat(), Array.from({ length: 1000 }, (_, i) => i));
    });

    test("volatile, to a client that reads", limit, async () => {
      const socket = await open();
      const tick = next(socket, "tick");
      for (let i = 0; ; i++) {
        socket.emit("tick", i); // one between two polls may be lost
        if (await Promise.race([tick, call(socket, "nothing").then(() => undefined)])) break;
        assert.ok(i < 100);
      }
    });

    test("socket.data", limit, async () => {
      const socket = await open();
      await call(socket, "remember", { a: [1, "ü"] });
      assert.deepEqual(await call(socket, "recall"), { a: [1, "ü"] });
    });

    test("refusals: acknowledged as validation error, and as error event", limit, async () => {
      const socket = await open();
      assert.equal((await call(socket, "no-such-event", 1)).code, "UNKNOWN_EVENT");
      assert.deepEqual(await call(socket, "checked", {}), { error: "Text required", code: "INVALID" });
      assert.equal(await call(socket, "checked", { text: "x" }), "fine");
      const error = next(socket, "error");
      socket.emit("no-such-event");
      assert.equal((await error)[0].event, "no-such-event");
    });

    test("namespaces: static, by regexp, unknown, refused", limit, async () => {
      const custom = await open({ nsp: "/custom" });
      assert.equal(await call(custom, "message-with-ack", 1), 1);

      const seven = await open({ nsp: "/room-7" });
      const eight = await open({ nsp: "/room-8" });
      assert.equal(await call(seven, "whoami"), "/room-7");
      const said = heard(eight, "said");
      await call(seven, "tell-all", "only seven");
      await call(eight, "whoami");
      assert.deepEqual(said, []);

      await assert.rejects(connects(client(url + "/nowhere", options)), { message: "Invalid namespace" });
      await assert.rejects(connects(client(url + "/members", options)), { message: "Not authorized" });
      const member = client(url + "/members", { ...options, auth: { key: "let me in", name: "Ada" } });
      const welcome = next(member, "welcome");
      await connects(member);
      assert.deepEqual(await welcome, ["Ada"]);
    });

    test("two namespaces on one connection", limit, async () => {
      const socket = await open();
      const custom = socket.io.socket("/custom");
      await connects(custom);
      assert.equal(await call(custom, "message-with-ack", "c"), "c");
      custom.disconnect();
      assert.equal(await call(socket, "message-with-ack", "m"), "m");
    });

    test("disconnect: the reasons on both sides", limit, async () => {
      const watcher = await open();
      await call(watcher, "join", "watchers");
      const seen = heard(watcher, "left");
      const reason = async (id) => (await until(() => seen.find(([left]) => left.id === id), "the news of a disconnect"))[0].reason;

      for (const [leave, client, serverSide] of [
        [(s) => s.emit("kick"), "io server disconnect", ["server namespace disconnect"]],
        [(s) => s.emit("kick-all"), "io server disconnect", ["server namespace disconnect"]],
        [(s) => s.disconnect(), "io client disconnect", ["client namespace disconnect"]],
        [(s) => s.io.engine.close(), "forced close", ["transport close", "transport error"]],
      ]) {
        const socket = await open();
        const { id } = socket;
        const gone = next(socket, "disconnect");
        leave(socket);
        assert.equal((await gone)[0], client);
        const why = await reason(id);
        assert.ok(serverSide.includes(why), `${client}: ${why}`);
      }
    });

    test("retries with ackTimeout", limit, async () => {
      const socket = await connected(url, { ...options, retries: 3, ackTimeout: 500 });
      const answer = new Promise((resolve, reject) => socket.emit("stubborn", (error, tries) => (error ? reject(error) : resolve(tries))));
      assert.equal(await answer, 3); // two tries were ignored
    });
  });
}

describe("socket.io-client while it upgrades", () => {
  test("nothing is lost, doubled or out of order", limit, async () => {
    const listener = await connected(url, transports.WebSocket);
    await call(listener, "join", "crossing");
    for (let round = 0; round < 5; round++) {
      const socket = client(url, transports.upgrade);
      let crossed = false;
      socket.io.engine.once("upgrade", () => (crossed = true));
      const back = heard(socket, "message-back");
      const there = heard(listener, "said");
      let sent = 0;
      const send = () => {
        socket.emit("say", "crossing", sent);
        socket.emit("message", sent, Buffer.from([sent & 255]));
        sent++;
      };
      for (let i = 0; i < 10; i++) send(); // buffered until CONNECT
      await connects(socket);
      while (!crossed) {
        send();
        await pause(2); // a client that never stops sending never upgrades
      }
      for (let i = 0; i < 10; i++) send();
      await until(() => back.length >= sent && there.length >= sent, "all messages");
      const numbers = Array.from({ length: sent }, (_, i) => i);
      assert.deepEqual(back.map(([n]) => n), numbers);
      assert.deepEqual(there.flat(), numbers);
      listener.off("said");
      socket.disconnect();
    }
  });
});

describe("reasons of disconnects that only the server sees", () => {
  const watched = async (endpoint, base, run) => {
    const watcher = await connected(base, transports.WebSocket);
    await call(watcher, "join", "watchers");
    const seen = heard(watcher, "left");
    const id = await run(endpoint);
    return (await until(() => seen.find(([left]) => left.id === id), "the news of a disconnect"))[0].reason;
  };

  test("ping timeout", limit, async () => {
    // The watcher answers its own pings.
    const reason = await watched(fast, `http://127.0.0.1:${server.ports.FAST_PORT}`, async (endpoint) => {
      const ws = await joined(await endpoint.websocket());
      await ws.ended();
      return ws.id;
    });
    assert.equal(reason, "ping timeout");
  });

  for (const [what, sent, expected] of [
    ["a packet that is no Engine.IO", "abc", ["parse error"]],
    ["a packet that is no Socket.IO", "4abc", ["forced close"]],
    ["a client's ping", "2", ["transport error"]],
    ["a message above the limit", "4" + "x".repeat(1_000_000), ["transport error"]],
  ]) {
    test(what, limit, async () => {
      const reason = await watched(main, url, async () => {
        const ws = await socket();
        ws.send(sent);
        await ws.ended();
        return ws.id;
      });
      assert.ok(expected.includes(reason), reason);
    });
  }

  test("the connection cut", limit, async () => {
    const reason = await watched(main, url, async () => {
      const ws = await socket();
      ws.destroy();
      return ws.id;
    });
    assert.ok(["transport close", "transport error"].includes(reason), reason);
  });

  test("two polls at once", limit, async () => {
    const reason = await watched(main, url, async () => {
      const p = await pollingSocket();
      await Promise.all([p.get(), p.get()]);
      return p.id;
    });
    assert.equal(reason, "transport error");
  });
});

describe("presets", () => {
  const open = async () => {
    const socket = await connected(url + "/preset", transports.WebSocket);
    return socket;
  };

  test("rooms", ours, async () => {
    const [a, b] = [await open(), await open()];
    await call(a, "join-room", "lounge");
    const joinedEvent = next(a, "user-joined");
    await call(b, "join-room", "lounge");
    const [news] = await joinedEvent;
    assert.equal(news.userId, b.id);
    assert.equal(typeof news.timestamp, "number");
    const left = next(a, "user-left");
    await call(b, "leave-room", "lounge");
    assert.equal((await left)[0].userId, b.id);
    const silent = heard(a, "user-left");
    await call(b, "leave-room", "lounge"); // is not in it: nobody hears
    await call(b, "rejoin-rooms", ["lounge", "attic"]);
    await call(a, "leave-room", "attic");
    assert.deepEqual(silent, []);
    const again = next(b, "user-left");
    await call(a, "leave-room", "lounge");
    assert.equal((await again)[0].userId, a.id);
  });

  test("chat", ours, async () => {
    const [a, b] = [await open(), await open()];
    for (const s of [a, b]) await call(s, "join-room", "kitchen");
    const echo = next(a, "message-received");
    a.emit("message", { any: [1] });
    assert.deepEqual(await echo, [{ any: [1] }]);

    const heardByOther = next(b, "new-message");
    const answer = await call(a, "send-message", { roomId: "kitchen", text: "tea?", extra: { kept: true } });
    assert.equal(answer.success, true);
    assert.equal(typeof answer.messageId, "string");
    const [message] = await heardByOther;
    assert.equal(message.text, "tea?");
    assert.equal(message.id, answer.messageId);
    assert.equal(message.userId, a.id);
    assert.equal(message.roomId, "kitchen");
    assert.deepEqual(message.extra, { kept: true });
    assert.equal(typeof message.timestamp, "number");

    const outsider = await open();
    const refusal = await call(outsider, "send-message", { roomId: "kitchen", text: "x" });
    assert.equal(refusal.code, "FORBIDDEN");
  });

  test("updates", ours, async () => {
    const [a, b] = [await open(), await open()];
    const batches = heard(b, "batch-updates");
    for (let i = 0; i < 100; i++) a.emit("update", { i });
    await until(() => batches.flat(2).length >= 100, "100 updates");
    assert.deepEqual(batches.flat(2).map(({ i }) => i), Array.from({ length: 100 }, (_, i) => i));
    assert.ok(batches.length < 50, `${batches.length} batches`);
  });
});

describe("the server goes and comes back", () => {
  test("clients hear transport close and reconnect by themselves", { ...ours, timeout: 60_000 }, async () => {
    const caddy = await Caddy.start({ file: join(here, "socketio.Caddyfile"), ports: ["FAST_PORT"] });
    try {
      const sockets = await Promise.all(
        Object.values(transports).map((options) =>
          connected(caddy.url, { ...options, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 500 }),
        ),
      );
      const gone = sockets.map((s) => next(s, "disconnect"));
      await caddy.kill();
      for (const [reason] of await Promise.all(gone)) assert.match(reason, /^transport (close|error)$/);
      const late = call(sockets[0], "message-with-ack", "sent while away");
      await caddy.boot();
      await Promise.all(sockets.map((s) => connects(s)));
      for (const s of sockets) assert.equal(await call(s, "message-with-ack", "back"), "back");
      assert.equal(await late, "sent while away");
    } finally {
      await caddy.stop();
    }
  });
});
