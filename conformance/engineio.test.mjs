// The Engine.IO v4 cases, by their numbers: E1–E26 are those of the protocol
// document's suite, "1.3" and the like what the official server does beyond
// it. `npm run reference` runs them against the official server itself.

import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { ends, halfPost, RS } from "./lib/engine.mjs";
import { reference, removeBuild, startEcho } from "./lib/echo.mjs";
import { pause, until, within } from "./lib/wait.mjs";

const limit = { timeout: 30_000 };
// Where Node has a hole that a server should not copy.
const better = { ...limit, skip: reference && "the official server differs here, for the worse" };

let calm; // pings every 25 s
let lively; // pings every 300 ms, waits 200 ms
let eio; // calm's endpoint

before(async () => {
  calm = await startEcho();
  lively = await startEcho({ interval: 300, timeout: 200 });
  eio = calm.endpoint;
});

after(async () => {
  await calm?.stop();
  await lively?.stop();
  await removeBuild();
});

const v4 = { EIO: "4", transport: "polling" };
const v4ws = { EIO: "4", transport: "websocket" };

function refused(res, code, message, status = 400) {
  assert.equal(res.status, status);
  assert.match(res.headers["content-type"], /^application\/json/);
  assert.equal(res.body, JSON.stringify({ code, message }));
}

function handshake(open, upgrades) {
  assert.deepEqual(Object.keys(open).sort(), ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
  assert.match(open.sid, /^[\w-]{20,}$/);
  assert.deepEqual(open.upgrades, upgrades);
  for (const key of ["maxPayload", "pingInterval", "pingTimeout"]) assert.equal(typeof open[key], "number");
}

describe("Engine.IO handshake", () => {
  test("E1 polling", limit, async () => {
    const p = await eio.poll();
    handshake(p.handshake, ["websocket"]);
  });

  test("E2 EIO missing or invalid, polling", limit, async () => {
    for (const query of [{ transport: "polling" }, { EIO: "abc", transport: "polling" }, { EIO: "3", transport: "polling" }]) {
      refused(await eio.get(query), 5, "Unsupported protocol version");
    }
  });

  test("E3 transport missing or invalid, polling", limit, async () => {
    for (const query of [{ EIO: "4" }, { EIO: "4", transport: "abc" }, { EIO: "4", transport: "webtransport" }]) {
      refused(await eio.get(query), 0, "Transport unknown");
    }
  });

  test("E4 method other than GET", limit, async () => {
    for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
      refused(await eio.get(v4, { method }), 2, "Bad handshake method");
    }
    assert.equal((await eio.get(v4, { method: "HEAD" })).status, 400);
  });

  test("E5 WebSocket", limit, async () => {
    const ws = await eio.websocket();
    handshake(ws.handshake, []);
    ws.destroy();
  });

  test("E6 EIO missing or invalid, WebSocket", limit, async () => {
    for (const query of [{ transport: "websocket" }, { EIO: "abc", transport: "websocket" }]) await ends(await eio.upgrade(query));
  });

  test("E6 … refused before the upgrade", better, async () => {
    const res = await eio.upgrade({ EIO: "3", transport: "websocket" });
    assert.equal(res.status, 400);
    assert.equal(res.body, "Unsupported protocol version");
  });

  test("E7 transport missing or invalid, WebSocket", limit, async () => {
    await ends(await eio.upgrade({ EIO: "4" }));
    const res = await eio.upgrade({ EIO: "4", transport: "abc" });
    assert.equal(res.status, 400);
    assert.equal(res.body, "Transport unknown");
  });

  test("1.2 headers of the answer", limit, async () => {
    const { response } = await eio.poll();
    assert.match(response.headers["content-type"], /^text\/plain; charset=utf-8$/i);
    assert.equal(response.headers["cache-control"], "no-store");
  });

  test("1.2 key order of the open packet", limit, async () => {
    const { response } = await eio.poll();
    assert.match(response.body, /^0\{"sid":"[\w-]+","upgrades":\["websocket"\],"pingInterval":\d+,"pingTimeout":\d+,"maxPayload":\d+\}$/);
  });

  test("1.2 no two sessions have one sid", limit, async () => {
    const sids = await Promise.all(Array.from({ length: 50 }, async () => (await eio.poll()).sid));
    assert.equal(new Set(sids).size, 50);
  });
});

describe("Engine.IO errors", () => {
  test("1.3 unknown sid", limit, async () => {
    for (const method of ["GET", "POST"]) refused(await eio.get({ ...v4, sid: "unknown" }, { method }), 1, "Session ID unknown");
    const res = await eio.upgrade({ ...v4ws, sid: "unknown" });
    assert.equal(res.status, 400);
    assert.equal(res.body, "Session ID unknown");
  });

  test("1.3 transport=websocket without an upgrade", limit, async () => {
    refused(await eio.get(v4ws), 3, "Bad request");
  });

  test("1.3 transport of a request differs from the session's", limit, async () => {
    const p = await eio.poll();
    refused(await eio.get({ ...v4ws, sid: p.sid }), 3, "Bad request");
    await p.send("4still here");
    assert.equal(await p.next(), "4still here");
  });

  test("1.3 EIO of a request differs from the session's", limit, async () => {
    const p = await eio.poll();
    refused(await eio.get({ EIO: "3", transport: "polling", sid: p.sid }), 3, "Bad request");
    await p.send("4still here");
    assert.equal(await p.next(), "4still here");
  });

  test("1.3 upgrade request with transport=polling", limit, async () => {
    await ends(await eio.upgrade(v4));
  });

  test("1.3 method other than GET and POST with a sid", limit, async () => {
    const p = await eio.poll();
    for (const method of ["PUT", "DELETE"]) assert.ok((await p.get({ method })).status >= 400);
    await p.send("4still here");
    assert.equal(await p.next(), "4still here");
  });

  test("1.3 upgrade with broken WebSocket headers", limit, async () => {
    const res = await eio.get(v4ws, { headers: { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13" } });
    assert.equal(res.status, 400);
  });
});

describe("Engine.IO polling", () => {
  test("E8 text", limit, async () => {
    const p = await eio.poll();
    const res = await p.post("4hello");
    assert.equal(res.status, 200);
    assert.equal(res.body, "ok");
    assert.match(res.headers["content-type"], /^text\/html/);
    const { body, headers, status } = await p.get();
    assert.equal(status, 200);
    assert.equal(body, "4hello");
    assert.match(headers["content-type"], /^text\/plain; charset=utf-8$/i);
    assert.equal(headers["cache-control"], "no-store");
  });

  test("E9 several packets", limit, async () => {
    const p = await eio.poll();
    const payload = ["4test1", "4test2", "4test3"].join(RS);
    await p.post(payload);
    assert.equal((await p.get()).body, payload);
  });

  test("E10 text and binary", limit, async () => {
    const p = await eio.poll();
    const payload = ["4hello", "bAQIDBA=="].join(RS);
    await p.post(payload);
    assert.equal((await p.get()).body, payload);
  });

  test("E11 invalid packet", limit, async () => {
    const p = await eio.poll();
    const res = await p.post("abc").catch(() => ({ status: "cut" }));
    assert.ok([200, 400, "cut"].includes(res.status));
    refused(await p.get(), 1, "Session ID unknown");
  });

  test("E12 two GETs at once", limit, async () => {
    const p = await eio.poll();
    // Which of the two arrives first is not ours to say.
    const both = await Promise.all([p.get(), p.get()]);
    both.sort((a, b) => a.status - b.status);
    assert.equal(both[0].status, 200);
    assert.equal(both[0].body, "1");
    assert.ok([400, 500].includes(both[1].status));
    refused(await p.get(), 1, "Session ID unknown");
  });

  test("E13 GET cancelled by the client", limit, async () => {
    const p = await eio.poll();
    const cut = new AbortController();
    const poll = p.get({ signal: cut.signal }).catch(() => {});
    await p.post("3"); // answered after the GET has arrived, or soon after
    await pause(100); // a GET that never arrived would prove nothing
    cut.abort();
    await poll;
    await until(() => p.endpoint.gone(p.sid), "the session's end");
  });

  test("E26 two POSTs at once", limit, async () => {
    const p = await eio.poll();
    const half = halfPost(p.url(), "4begun", 1000);
    await half.sent;
    await until(async () => (await p.post("4second").catch(() => ({ status: 400 }))).status === 400, "the refusal of a second POST");
    assert.notEqual(await within(half.answer, "the end of the first POST"), 200);
    assert.ok(await eio.gone(p.sid));
  });

  test("1.5 POST cut by the client", limit, async () => {
    const p = await eio.poll();
    const half = halfPost(p.url(), "4begun", 1000);
    await half.sent;
    await pause(100); // as in E13
    half.destroy();
    await until(() => p.endpoint.gone(p.sid), "the session's end");
  });

  test("1.5 a GET waits until there is something", limit, async () => {
    const p = await eio.poll();
    const poll = p.get();
    assert.equal(await Promise.race([poll, pause(150)]), undefined);
    await p.post("4at last");
    assert.equal((await poll).body, "4at last");
  });

  test("1.5 octet-stream is refused and ends the session", limit, async () => {
    const p = await eio.poll();
    assert.equal((await p.post("4abc", { "content-type": "application/octet-stream" })).status, 400);
    refused(await p.get(), 1, "Session ID unknown");
  });

  test("1.5 POST of exactly maxPayload bytes", limit, async () => {
    const p = await eio.poll();
    const packet = "4" + "x".repeat(p.handshake.maxPayload - 1);
    assert.equal((await p.post(packet)).status, 200);
    assert.equal(await p.next(), packet);
  });

  test("1.5 POST above maxPayload: 413, session stays", limit, async () => {
    const p = await eio.poll();
    const res = await p.post("4" + "x".repeat(p.handshake.maxPayload)).catch(() => ({ status: "cut" }));
    assert.ok([413, "cut"].includes(res.status), `${res.status}`);
    await p.send("4still here");
    assert.equal(await p.next(), "4still here");
  });

  test("1.5 payloads that are no packets end the session", limit, async () => {
    for (const body of ["", "4a" + RS, RS + "4a", "4a" + RS + RS + "4b", "7", "x", "-"]) {
      const p = await eio.poll();
      const res = await p.post(body);
      assert.ok([200, 400].includes(res.status), `${res.status}`);
      await until(() => p.endpoint.gone(p.sid), `the session's end after ${JSON.stringify(body)}`);
    }
  });

  test("1.5 an error answers the pending GET with a close packet", limit, async () => {
    const p = await eio.poll();
    const poll = p.get();
    await pause(50); // the GET first
    await p.post("abc");
    assert.ok((await poll).body.endsWith("1"));
  });

  test("1.4 a ping from the client ends the session", limit, async () => {
    const p = await eio.poll();
    assert.equal((await p.post("2")).status, 200);
    assert.ok(await eio.gone(p.sid));
  });

  test("1.4 pong unasked, open, upgrade and noop change nothing", limit, async () => {
    const p = await eio.poll();
    assert.equal((await p.post(["3", "0", "5", "6", "4still here"].join(RS))).status, 200);
    assert.equal(await p.next(), "4still here");
  });

  test("1.4 base64 without padding", limit, async () => {
    const p = await eio.poll();
    await p.post("bAQI");
    assert.equal(await p.next(), "bAQI=");
  });

  test("1.4 text beyond ASCII", limit, async () => {
    const p = await eio.poll();
    for (const text of ["4€ 漢字 😀", "4\u2028\u0000\u0007", "4" + "é".repeat(1000)]) {
      await p.send(text);
      assert.equal(await p.next(), text);
    }
  });

  test("E21 close while a GET is pending", limit, async () => {
    const p = await eio.poll();
    const poll = p.get();
    await pause(50); // the GET first
    const res = await p.post(["1", "4never"].join(RS));
    assert.equal(res.status, 200);
    assert.equal(res.body, "ok");
    const { status, body } = await poll;
    assert.equal(status, 200);
    assert.ok(["6", "1"].includes(body), body);
    refused(await p.get(), 1, "Session ID unknown");
  });

  test("E21 close and a GET, crossing on two connections", limit, async () => {
    for (let i = 0; i < 100; i++) {
      const p = await eio.poll();
      const post = () => p.post("1");
      const [first, second] = i % 2 ? [p.get(), post()] : [post(), p.get()];
      const [poll, close] = i % 2 ? [await first, await second] : [await second, await first];
      assert.deepEqual([poll.status, poll.body, close.status, close.body], [200, "6", 200, "ok"], `round ${i}`);
      refused(await p.get(), 1, "Session ID unknown");
    }
  });
});

describe("Engine.IO WebSocket", () => {
  test("E14 text", limit, async () => {
    const ws = await eio.websocket();
    ws.send("4hello");
    assert.equal(await ws.next(), "4hello");
    ws.destroy();
  });

  test("E15 binary", limit, async () => {
    const ws = await eio.websocket();
    for (const bytes of [Buffer.from([1, 2, 3, 4]), Buffer.alloc(0), Buffer.alloc(70_000, 7)]) {
      ws.send(bytes);
      assert.deepEqual(await ws.next(), bytes);
    }
    ws.destroy();
  });

  test("E16 invalid packet", limit, async () => {
    for (const frame of ["abc", "", "7", "é"]) {
      const ws = await eio.websocket();
      ws.send(frame);
      await ws.ended();
      assert.ok(await eio.gone(ws.handshake.sid));
    }
  });

  test("1.4 base64 in a text frame", limit, async () => {
    const ws = await eio.websocket();
    ws.send("bAQIDBA==");
    assert.deepEqual(await ws.next(), Buffer.from([1, 2, 3, 4]));
    ws.destroy();
  });

  test("1.4 b64=1: binary goes out as text", limit, async () => {
    const ws = await eio.websocket({ b64: "1" });
    ws.send(Buffer.from([1, 2, 3, 4]));
    assert.equal(await ws.next(), "bAQIDBA==");
    ws.destroy();
  });

  test("1.4 a ping from the client ends the session", limit, async () => {
    const ws = await eio.websocket();
    ws.send("2");
    await ws.ended();
  });

  test("1.4 pong unasked, open, upgrade and noop change nothing", limit, async () => {
    const ws = await eio.websocket();
    for (const frame of ["3", "0", "5", "6", "4still here"]) ws.send(frame);
    assert.equal(await ws.next(), "4still here");
    ws.destroy();
  });

  test("1.6 a message in fragments", limit, async () => {
    const ws = await eio.websocket();
    ws.send("4he", { fin: false });
    ws.raw.ping();
    ws.send("ll", { fin: false });
    ws.send("o", { fin: true });
    assert.equal(await ws.next(), "4hello");
    ws.destroy();
  });

  test("1.6 a control ping is answered", limit, async () => {
    const ws = await eio.websocket();
    const pong = new Promise((resolve) => ws.raw.on("pong", resolve));
    ws.raw.ping("abc");
    assert.equal((await within(pong, "a pong")).toString(), "abc");
    ws.destroy();
  });

  test("1.6 a message of exactly maxPayload bytes", limit, async () => {
    const ws = await eio.websocket();
    const text = "4" + "x".repeat(ws.handshake.maxPayload - 1);
    ws.send(text);
    assert.equal(await ws.next(), text);
    ws.destroy();
  });

  test("1.6 a message above maxPayload closes with 1009", limit, async () => {
    const ws = await eio.websocket();
    ws.send("4" + "x".repeat(ws.handshake.maxPayload));
    assert.equal(await ws.ended(), 1009);
    assert.ok(await eio.gone(ws.handshake.sid));
  });

  test("1.6 fragments above maxPayload together close with 1009", limit, async () => {
    const ws = await eio.websocket();
    const half = "4" + "x".repeat(ws.handshake.maxPayload / 2);
    ws.send(half, { fin: false });
    ws.send(half, { fin: false });
    assert.equal(await ws.ended(), 1009);
  });

  test("1.6 invalid UTF-8 closes with 1007", limit, async () => {
    const ws = await eio.websocket();
    ws.send(Buffer.from([0x34, 0xff, 0xfe]), { binary: false });
    assert.equal(await ws.ended(), 1007);
  });

  test("1.6 a close frame is answered", limit, async () => {
    const ws = await eio.websocket();
    ws.raw.close(1000);
    assert.equal(await ws.ended(), 1000);
    assert.ok(await eio.gone(ws.handshake.sid));
  });

  test("1.6 no extension unless configured", limit, async () => {
    const ws = await eio.websocket({}, { perMessageDeflate: true });
    assert.equal(ws.raw.extensions, "");
    ws.destroy();
  });
});

describe("Engine.IO heartbeat", () => {
  test("E17 polling", limit, async () => {
    const p = await lively.endpoint.poll();
    for (let i = 0; i < 3; i++) {
      assert.equal((await p.get()).body, "2");
      assert.equal((await p.post("3")).status, 200);
    }
  });

  test("E18 polling, no pong", limit, async () => {
    const p = await lively.endpoint.poll();
    assert.equal((await p.get()).body, "2");
    const last = await p.get(); // held until the session ends
    assert.ok((last.status === 200 && last.body === "1") || last.status === 400, JSON.stringify(last));
    refused(await p.get(), 1, "Session ID unknown");
  });

  test("E18 polling, nobody polls", limit, async () => {
    const p = await lively.endpoint.poll();
    await pause(p.handshake.pingInterval + p.handshake.pingTimeout);
    await until(() => lively.endpoint.gone(p.sid), "the session's end", 2000);
  });

  test("E19 WebSocket", limit, async () => {
    const ws = await lively.endpoint.websocket();
    for (let i = 0; i < 3; i++) {
      assert.equal(await ws.frame(), "2");
      ws.send("3");
    }
    ws.destroy();
  });

  test("E20 WebSocket, no pong", limit, async () => {
    const ws = await lively.endpoint.websocket();
    await ws.ended();
    assert.ok(await lively.endpoint.gone(ws.handshake.sid));
  });

  test("E22 WebSocket, close packet", limit, async () => {
    const ws = await lively.endpoint.websocket();
    ws.send("1");
    await ws.ended(); // at the latest for want of a pong
  });

  test("1.8 a ping on its way outlives the upgrade", better, async () => {
    const p = await lively.endpoint.poll();
    assert.equal((await p.get()).body, "2");
    const ws = await p.upgraded();
    await ws.ended(); // the ping was never answered
    assert.ok(await lively.endpoint.gone(p.sid));
  });

  test("1.8 pings go on after the upgrade", limit, async () => {
    const p = await lively.endpoint.poll();
    const ws = await p.upgraded();
    for (let i = 0; i < 3; i++) {
      assert.equal(await ws.frame(), "2");
      ws.send("3");
    }
    ws.destroy();
  });
});

describe("Engine.IO and browsers", () => {
  test("1.12 a page of the same origin names it in POST and upgrade, not in GET", limit, async () => {
    const origin = new URL(eio.base).origin;
    const p = await eio.poll();
    assert.equal((await p.post("4hello", { origin })).status, 200);
    assert.equal((await p.get({ headers: { "sec-fetch-site": "same-origin" } })).body, "4hello");
    const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid }, { headers: { origin } });
    ws.send("2probe");
    assert.equal(await ws.frame(), "3probe");
    ws.send("5");
    ws.send("4upgraded");
    assert.equal(await ws.next(), "4upgraded");
    ws.destroy();
  });
});

describe("Engine.IO upgrade", () => {
  test("E23 polling to WebSocket", limit, async () => {
    const p = await eio.poll();
    const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
    const poll = p.get();
    ws.send("2probe");
    assert.equal(await ws.frame(), "3probe");
    const { status, body } = await poll;
    assert.equal(status, 200);
    assert.equal(body, "6");
    ws.send("5");
    ws.send("4hello");
    assert.equal(await ws.next(), "4hello");
    ws.destroy();
  });

  test("E24 HTTP requests after the upgrade", limit, async () => {
    const p = await eio.poll();
    const ws = await p.upgraded();
    ws.send("4settled");
    assert.equal(await ws.next(), "4settled");
    refused(await p.get(), 3, "Bad request");
    refused(await p.post("4hello"), 3, "Bad request");
    ws.send("4still here");
    assert.equal(await ws.next(), "4still here");
    ws.destroy();
  });

  test("E25 a second WebSocket after the upgrade", limit, async () => {
    const p = await eio.poll();
    const ws = await p.upgraded();
    ws.send("4settled");
    assert.equal(await ws.next(), "4settled");
    await ends(await eio.upgrade({ ...v4ws, sid: p.sid }));
    ws.send("4still here");
    assert.equal(await ws.next(), "4still here");
    ws.destroy();
  });

  test("1.7 a second WebSocket while upgrading", limit, async () => {
    const p = await eio.poll();
    const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
    ws.send("2probe");
    assert.equal(await ws.frame(), "3probe");
    await ends(await eio.upgrade({ ...v4ws, sid: p.sid }));
    ws.send("5");
    ws.send("4still here");
    assert.equal(await ws.next(), "4still here");
    ws.destroy();
  });

  test("1.7 every GET is released while upgrading, without haste", limit, async () => {
    const p = await eio.poll();
    const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
    ws.send("2probe");
    assert.equal(await ws.frame(), "3probe");
    const begun = Date.now();
    for (let i = 0; i < 4; i++) assert.equal((await p.get()).body, "6");
    assert.ok(Date.now() - begun >= 100, "four GETs came back at once: a client would spin");
    ws.send("5");
    ws.destroy();
  });

  test("1.7 polling stays the transport until the upgrade packet", limit, async () => {
    const p = await eio.poll();
    const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
    ws.send("2probe");
    assert.equal(await ws.frame(), "3probe");
    await p.send("4by polling");
    let packet;
    do packet = await p.next();
    while (packet === "6");
    assert.equal(packet, "4by polling");
    ws.send("5");
    ws.send("4by WebSocket");
    assert.equal(await ws.next(), "4by WebSocket");
    ws.destroy();
  });

  test("1.7 what waits goes out on the WebSocket, in order", limit, async () => {
    const p = await eio.poll();
    const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
    ws.send("2probe");
    assert.equal(await ws.frame(), "3probe");
    await p.post(["4one", "bAQID", "4two"].join(RS)); // nobody polls: the echoes wait
    ws.send("5");
    ws.send("4three");
    assert.equal(await ws.next(), "4one");
    assert.deepEqual(await ws.next(), Buffer.from([1, 2, 3]));
    assert.equal(await ws.next(), "4two");
    assert.equal(await ws.next(), "4three");
    ws.destroy();
  });

  test("1.7 upgrade packet without a probe", limit, async () => {
    const p = await eio.poll();
    const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
    ws.send("5");
    ws.send("4hello");
    assert.equal(await ws.next(), "4hello");
    ws.destroy();
  });

  test("1.7 any other packet closes the probing socket only", limit, async () => {
    for (const packet of ["2", "40", "3", "abc", Buffer.from([1])]) {
      const p = await eio.poll();
      const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
      ws.send(packet);
      await ws.ended();
      await p.send("4still here");
      assert.equal(await p.next(), "4still here");
    }
  });

  test("1.7 a lost probe leaves the session on polling, and another may follow", limit, async () => {
    const p = await eio.poll();
    const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
    ws.send("2probe");
    assert.equal(await ws.frame(), "3probe");
    ws.destroy();
    await p.send("4still here");
    let packet;
    do packet = await p.next();
    while (packet === "6");
    assert.equal(packet, "4still here");
    // The server may still believe in the first probe for a moment.
    const again = await until(async () => {
      const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
      ws?.send("2probe");
      return ws && (await ws.frame().catch(() => undefined)) === "3probe" ? ws : undefined;
    }, "a second probe");
    again.send("5");
    again.send("4upgraded");
    assert.equal(await again.next(), "4upgraded");
    again.destroy();
  });

  test("1.7 the session's end closes the probing socket", limit, async () => {
    const p = await eio.poll();
    const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
    ws.send("2probe");
    assert.equal(await ws.frame(), "3probe");
    await p.post("1");
    await ws.ended();
  });

  test("1.7 an upgrade not completed in 10 s is given up", limit, async () => {
    const p = await eio.poll();
    const { ws } = await eio.upgrade({ ...v4ws, sid: p.sid });
    ws.send("2probe");
    assert.equal(await ws.frame(), "3probe");
    await ws.ended();
    await p.send("4still here");
    let packet;
    do packet = await p.next();
    while (packet === "6");
    assert.equal(packet, "4still here");
  });

  test("1.7 a session that began on WebSocket cannot be taken over", better, async () => {
    const first = await eio.websocket();
    const { ws: thief } = await eio.upgrade({ ...v4ws, sid: first.handshake.sid });
    if (thief) {
      thief.send("2probe");
      thief.send("5");
      await thief.ended();
    }
    first.send("4still mine");
    assert.equal(await first.next(), "4still mine");
    first.destroy();
  });
});
