// Garbage at every layer costs only the client that sent it: two bystanders
// see nothing of it, no panic is logged, and heap and goroutines return to
// where they were. GARBAGE=<n> repeats the random parts n times; SEED=<n>
// repeats one run.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { join } from "node:path";
import { Caddy } from "./lib/caddy.mjs";
import { call, client, connects } from "./lib/client.mjs";
import { Endpoint, request, RS } from "./lib/engine.mjs";
import { here } from "./lib/process.mjs";
import { frame, random, throwAt, upgradeRequest } from "./lib/tcp.mjs";
import { until, within } from "./lib/wait.mjs";

const limit = { timeout: 180_000 };
const rounds = Number(process.env.GARBAGE ?? 1);
const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);
const rnd = random(seed);

let caddy;
let port;
let endpoint;
let start; // heap and goroutines before the first attack
const bystanders = [];
const noticed = []; // what a bystander should not have seen

before(async () => {
  console.log(`SEED=${seed}`);
  caddy = await Caddy.start({ file: join(here, "socketio.Caddyfile"), ports: ["FAST_PORT"] });
  port = caddy.ports.PORT;
  endpoint = new Endpoint(`${caddy.url}/socket.io/`);
  for (const transport of ["websocket", "polling"]) {
    const socket = client(caddy.url, { transports: [transport] });
    await connects(socket);
    await call(socket, "join", "bystanders");
    socket.onAny((...event) => noticed.push(event));
    socket.on("disconnect", (reason) => noticed.push(["disconnect", reason]));
    bystanders.push(socket);
  }
  await call(bystanders[0], "rooms");
  noticed.length = 0; // the greeting
  start = await caddy.figures();
});

// After every attack the bystanders are served as before.
afterEach(async () => {
  for (const socket of bystanders) assert.equal(await call(socket, "message-with-ack", "here"), "here");
  assert.deepEqual(noticed, []);
  assert.ok(caddy.process.alive, caddy.log);
});

after(async () => {
  for (const socket of bystanders) socket.disconnect();
  await caddy?.stop();
});

const noise = (length) => Buffer.from(Array.from({ length }, () => rnd(256)));

// attack runs a task for each item, at most `atOnce` of them at a time.
async function attack(items, task, atOnce = 20) {
  const queue = [...items].entries();
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const [i, item] of queue) await task(item, i);
    }),
  );
}

// joined is a raw WebSocket in the main namespace.
async function joined() {
  const ws = await endpoint.websocket();
  ws.send("40");
  await ws.next();
  await ws.next();
  return ws;
}

// costsItself sends messages over a joined WebSocket: the connection must end.
async function costsItself(...messages) {
  const ws = await joined();
  for (const message of messages) ws.send(message);
  await ws.ended();
}

describe("HTTP", () => {
  const get = (path, more = "") => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${more}\r\n`;

  test("requests that are none, or odd ones", limit, () =>
    attack(
      [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET /socket.io/?EIO=4&transport=polling\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\xff".repeat(100),
        get("/socket.io/?EIO=4&transport=polling&sid=" + "x".repeat(100_000)),
        get("/socket.io/?EIO=4&transport=polling&sid=%00%ff%zz"),
        get("/socket.io/?" + "a=b&".repeat(20_000)),
        get("/socket.io/?EIO=4&EIO=4&transport=polling&transport=websocket"),
        get("/socket.io/%2e%2e/%2e%2e/etc/passwd?EIO=4&transport=polling"),
        get("/socket.io/?EIO=4&transport=polling", "X: " + "y".repeat(2_000_000) + "\r\n"),
        get("/socket.io/?EIO=4&transport=polling", "Origin: \x00\x01\r\n"),
        get("/socket.io/?EIO=4&transport=polling", "Origin: http://evil.example\r\n"),
        get("/socket.io/?EIO=4&transport=polling", "Content-Length: -1\r\n"),
        `POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc`,
        `POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef`,
        upgradeRequest(port, "/socket.io/?EIO=4&transport=websocket&sid=unknown"),
        upgradeRequest(port, "/socket.io/?EIO=99&transport=websocket"),
        upgradeRequest(port, undefined, "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n"),
        ...Array.from({ length: 100 * rounds }, () => noise(1 + rnd(3000))),
      ],
      (bytes) => throwAt(port, [bytes], { patience: 500 }),
    ),
  );

  test("POST bodies that are too large, broken off, or of garbage", limit, async () => {
    const mega = Buffer.alloc(1_000_000, "4");
    for (const head of ["Content-Length: 100000000", "Transfer-Encoding: chunked"]) {
      const p = await endpoint.poll();
      const chunked = head.startsWith("T");
      const begin = `POST ${new URL(p.url()).pathname}${new URL(p.url()).search} HTTP/1.1\r\nHost: 127.0.0.1\r\n${head}\r\n\r\n`;
      const chunks = Array.from({ length: 100 }, () => (chunked ? Buffer.concat([Buffer.from("f4240\r\n"), mega, Buffer.from("\r\n")]) : mega));
      const answer = await throwAt(port, [begin, ...chunks], { patience: 20_000 });
      assert.doesNotMatch(answer, /^HTTP\/1.1 200/);
    }
    const bodies = [RS.repeat(100_000), "4".repeat(999_999), ("4a" + RS).repeat(300_000), "b" + "!".repeat(1000), "b====", "\u0000".repeat(10_000)];
    bodies.push(...Array.from({ length: 30 * rounds }, () => noise(1 + rnd(2000))));
    await attack(bodies, async (body) => {
      const p = await endpoint.poll();
      await p.post(body).catch(() => {});
    });
  });

  test("handshakes that nobody goes on with", limit, () => attack(Array.from({ length: 300 }), () => endpoint.poll().then((p) => p.post("1"))));
});

describe("WebSocket frames", () => {
  const mega = Buffer.alloc(1_000_000, "4");

  test("frames that are none", limit, () =>
    attack(
      [
        [frame(1, "42", { masked: false })],
        [frame(1, "40", { reserved: 4 })], // compressed, but nothing was negotiated
        [frame(1, "40", { reserved: 7 })],
        [frame(3, "40")],
        [frame(0, "40")], // a continuation of nothing
        [frame(1, "4", { fin: false }), frame(1, "0")], // a message within a message
        [frame(9, "x".repeat(126))], // a control frame that is too long
        [frame(9, "x", { fin: false })],
        [frame(8, "\x00")],
        [frame(8, Buffer.from([0x00, 0x01]))],
        [frame(8, Buffer.from([0x03, 0xe8, 0xff, 0xfe]))],
        [frame(1, "40", { announced: 2n ** 63n })],
        [frame(1, "40", { announced: 2n ** 64n - 1n })],
        [frame(1, "40", { announced: 100_000_000 })],
        [frame(2, "40", { announced: 1_000_001 })],
        [frame(1, Buffer.from([0x34, 0xc3]))],
        [frame(1, "4", { fin: false }), ...Array.from({ length: 20_000 }, () => frame(0, "x", { fin: false }))],
        [...Array.from({ length: 20_000 }, () => frame(1, "", { fin: false }))],
        Array.from({ length: 5000 }, () => frame(9, "ping")),
        ...Array.from({ length: 50 * rounds }, () => [noise(1 + rnd(2000))]),
        ...Array.from({ length: 50 * rounds }, () => [frame(rnd(16), noise(rnd(300)), { fin: rnd(2) > 0, reserved: rnd(8), masked: rnd(4) > 0 })]),
      ],
      async (frames) => assert.match(await throwAt(port, [upgradeRequest(port), ...frames], { patience: 700, wait: true }), /^HTTP\/1.1 101/),
    ),
  );

  test("frames before the answer to the upgrade", limit, () =>
    attack(
      Array.from({ length: 30 * rounds }, () => [frame(1, "40"), frame(rnd(16), noise(rnd(300)))]),
      (frames) => throwAt(port, [Buffer.concat([Buffer.from(upgradeRequest(port)), ...frames])], { patience: 300 }),
    ),
  );

  test("100 MB: in one frame, in fragments, in a hurry", limit, async () => {
    await throwAt(port, [upgradeRequest(port), frame(1, mega, { announced: 100_000_000 }), ...Array.from({ length: 99 }, () => mega)], { patience: 20_000, wait: true });
    await throwAt(port, [upgradeRequest(port), frame(1, mega, { fin: false }), ...Array.from({ length: 99 }, () => frame(0, mega, { fin: false }))], {
      patience: 20_000,
      wait: true,
    });
    const ws = await joined();
    ws.send("4" + "2".repeat(100_000_000));
    assert.ok([1009, 1006].includes(await ws.ended()));
  });
});

describe("Engine.IO packets", () => {
  test("packets that are none, on both transports", limit, async () => {
    const packets = ["", "abc", "7", "9", "-1", "2probe", "2", "0{}", "b", "b!", "bAQ=", "\u0000", "😀", "1", "5", "4"];
    packets.push(...Array.from({ length: 50 * rounds }, () => noise(1 + rnd(200)).toString("latin1")));
    await attack(packets, async (packet) => {
      const ws = await joined();
      ws.send(packet);
      ws.raw.close();
      await ws.ended();
      const p = await endpoint.poll();
      await p.post(packet).catch(() => {});
    });
  });

  test("probes that lead nowhere", limit, () =>
    attack(
      Array.from({ length: 50 }, (_, i) => ["2probe", "5", "abc", "40", Buffer.from([1])][i % 5]),
      async (packet) => {
        const p = await endpoint.poll();
        const { ws } = await endpoint.upgrade({ EIO: "4", transport: "websocket", sid: p.sid });
        ws?.send(packet);
        ws?.send("2probe");
        await p.post("1").catch(() => {});
        ws?.destroy();
      },
    ),
  );
});

describe("Socket.IO packets", () => {
  const placeholder = '{"_placeholder":true,"num":0}';

  test("10,000 attachments announced", limit, async () => {
    await costsItself(`4510000-["message",${placeholder}]`);
    await costsItself(`45${"9".repeat(400)}-["message",${placeholder}]`);
    await costsItself(`4611-1[${placeholder}]`);
  });

  test("30,000 references to one attachment", limit, () => costsItself(`451-["say-all",${Array(30_000).fill(placeholder).join(",")}]`, Buffer.from([1])));

  test("attachments that never come, or come in millions of bytes", limit, async () => {
    // Each holds a megabyte of a packet that is never complete, and leaves.
    await attack(
      Array.from({ length: 40 }),
      async () => {
        const ws = await joined();
        ws.send(`4510-["say-all",${placeholder}]`);
        for (let i = 0; i < 4; i++) ws.send(Buffer.alloc(200_000));
        ws.send("3");
        ws.raw.close();
        await ws.ended();
      },
      10,
    );
    await costsItself('4510-["say-all"]', ...Array.from({ length: 10 }, () => Buffer.alloc(900_000)));
  });

  test("JSON that is deep, broken, or no UTF-8", limit, async () => {
    for (const json of [
      "[".repeat(400_000),
      `["say-all",${"[".repeat(400_000)}${"]".repeat(400_000)}]`,
      `["say-all",${'{"a":'.repeat(150_000)}1${"}".repeat(150_000)}]`,
      '["say-all",' + "[{".repeat(200_000),
      '["say-all",01]',
      '["say-all",1e]',
      '["say-all",nan]',
      '["say-all","\\x"]',
      '["say-all","\\ud8"]',
      '["say-all","\u0001"]',
      '["say-all",{"a" 1}]',
      '["say-all"]]',
      '["say-all",]',
      "[" + " ".repeat(900_000),
      '["say-all" "x"]',
    ]) {
      await costsItself(`42${json}`);
    }
    const ws = await joined();
    ws.send(Buffer.concat([Buffer.from('42["say-all","'), Buffer.from([0xff, 0xc0, 0xaf]), Buffer.from('"]')]), { binary: false });
    await ws.ended();
  });

  test("names and ids beyond all measure", limit, () =>
    attack(
      [
        `42["${"x".repeat(900_000)}"]`,
        `42${"9".repeat(900_000)}["message"]`,
        `40/${"x".repeat(900_000)},`,
        `42/${"x".repeat(900_000)},["message"]`,
        `42[${"1,".repeat(400_000)}1]`,
        `42["message",${"{},".repeat(300_000)}1]`,
        `43${"1".repeat(30)}[]`,
      ],
      (packet) => costsItself(packet),
      3,
    ),
  );

  test("CONNECT after CONNECT, namespace after namespace", limit, async () => {
    await attack(
      Array.from({ length: 10 }),
      async (_, i) => {
        const ws = await endpoint.websocket();
        for (let n = 0; n < 2000; n++) ws.send(`40/room-${i}${n},{"n":${n}}`);
        await ws.ended();
      },
      5,
    );
  });

  test("packets at random", limit, () =>
    attack(
      Array.from({ length: 200 * rounds }, () => {
        const parts = ["4", String(rnd(10)), ["", "1-", "10-", "x"][rnd(4)], ["", "/custom,", "/room-1,", "/"][rnd(4)], ["", "1", "99"][rnd(3)]];
        return parts.join("") + ['["nothing"]', "[]", "{}", '["kick"]', '["nothing",{"_placeholder":true,"num":0}]', noise(rnd(40)).toString("latin1")][rnd(6)];
      }),
      async (packet) => {
        const ws = await joined();
        ws.send(packet);
        ws.send(Buffer.from([1, 2, 3]));
        ws.raw.close();
        await ws.ended();
      },
    ),
  );
});

describe("arguments", () => {
  // Events whose rules send to nobody else, whatever their arguments are.
  const events = ["join", "leave", "rooms", "whisper", "tick", "remember", "recall", "checked", "guarded", "message", "message-with-ack"];
  const values = [
    ...["", "null", "true", "0", "-1", "1.5", "1e308", "1e-400", "9007199254740993", "9".repeat(30)],
    ...['""', '"a"', '"\\u0000"', '"\\ud800"', `"${"x".repeat(300)}"`, `"${"é".repeat(200)}"`, '"user:1"', '"s_aaaaaaaaaaaaaaaaaa"'],
    ...["[]", "[[]]", "[null]", '["a",1,{}]', `[${Array.from({ length: 1000 }, (_, i) => `"r${i}"`)}]`],
    ...["{}", '{"text":{}}', '{"text":"a","text":1}', '{"te\\u0078t":1,"text":"a"}', '{"__proto__":{"text":"a"}}', '{"_placeholder":true,"num":7}', '{"$bin":"AQ=="}'],
    ...[`{"text":"${"x".repeat(200_000)}"}`, "[".repeat(100) + "]".repeat(100), `{"text":${"[".repeat(60)}${"]".repeat(60)}}`, `[${"1,".repeat(50_000)}1]`],
  ];

  test("every event with every type is answered, and the connection stays", limit, async () => {
    const ws = await joined();
    let id = 0;
    for (const event of events) {
      for (const value of values) {
        id++;
        ws.send(`42${id}["${event}"${value && "," + value}]`);
        for (let reply = ""; !reply.startsWith(`43${id}[`); ) {
          reply = await ws.next();
          assert.match(reply, /^4[23]/, `${event} ${value.slice(0, 60)}`);
        }
      }
    }
    ws.destroy();
  });

  test("binary where text is meant", limit, async () => {
    const ws = await joined();
    for (const [i, event] of events.entries()) {
      ws.send(`451-${i}["${event}",{"_placeholder":true,"num":0}]`);
      ws.send(Buffer.alloc(100_000, i));
    }
    ws.send('429999["rooms"]');
    for (let reply; !String(reply).startsWith("439999["); ) reply = await ws.next();
    ws.destroy();
  });

  test("a client that sends as fast as it can", limit, async () => {
    const ws = await joined();
    for (let i = 0; i < 20_000; i++) ws.send(i % 2 ? '42["no-such-event"]' : '421["checked",{"text":1}]');
    ws.raw.close();
    await ws.ended();
  });
});

describe("afterwards", () => {
  test("no secret was logged", limit, async () => {
    const { sid } = (await endpoint.poll()).handshake;
    await request(endpoint.url({ EIO: "4", transport: "polling", sid, token: "very-secret" }), { method: "POST", body: "1" });
    assert.ok(!caddy.log.includes(sid) && !caddy.log.includes("very-secret"));
  });

  test("heap and goroutines return to where they were", limit, async () => {
    let now;
    await within(
      until(
        async () => {
          now = await caddy.figures();
          return now.goroutines <= start.goroutines + 10 && now.heap <= start.heap * 1.5 + 4e6;
        },
        "heap and goroutines to shrink",
        90_000,
      ).catch((error) => {
        throw new Error(`${error.message}: before ${JSON.stringify(start)}, now ${JSON.stringify(now)}`);
      }),
      "the figures",
      120_000,
    );
    console.log(`heap ${(start.heap / 1e6).toFixed(1)} → ${(now.heap / 1e6).toFixed(1)} MB, goroutines ${start.goroutines} → ${now.goroutines}`);
  });
});
