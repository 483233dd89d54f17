// What an application needs of a realtime server and no other suite shows: a
// client that comes back into its rooms, a queue over a lost connection,
// compression as it is on the wire, and plain WebSockets beside. The stock
// client, over each transport.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { once } from "node:events";
import WebSocket from "ws";
import { Caddy, globals } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, heard, next } from "./lib/client.mjs";
import { jwt, secret } from "./lib/jwt.mjs";
import { Link } from "./lib/link.mjs";
import { Queue, until, within } from "./lib/wait.mjs";

const limit = { timeout: 60_000 };
const transports = { WebSocket: { transports: ["websocket"] }, polling: { transports: ["polling"] } };

const config = `${globals()}
http://127.0.0.1:{$PORT} {
	realtime {
		ping 3s 5s
		auth jwt {
			secret {env.JWT_SECRET}
		}
		use rooms chat
		on connect {
			emit "user is back" user.id to "watchers"
		}
		on disconnect {
			emit "user is gone" user.id reason to "watchers"
		}
		on order {
			dedupe data.key 10m
			broadcast ordered data.n to "kitchen"
			ack \`{"taken": data.n}\`
		}
	}
}
http://127.0.0.1:{$DEFLATE} {
	realtime {
		hub deflate
		protocols socketio json
		compression 1KB
		on echo {
			ack args...
		}
		on relay {
			broadcast relayed args...
			ack
		}
	}
}
`;

let caddy;
let link;

before(async () => {
  caddy = await Caddy.start({ config, ports: ["DEFLATE"], env: { JWT_SECRET: secret } });
  link = await Link.to(caddy.ports.PORT);
});

afterEach(() => {
  closeAll();
  link.up();
});

after(async () => {
  link?.close();
  await caddy?.stop();
});

const auth = (sub) => ({ auth: { token: jwt({ sub }) } });
const comesBack = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100 };

describe("reconnect and rejoin", () => {
  for (const [name, transport] of Object.entries(transports)) {
    test(`over ${name}: both sides see why, and who is back hears its rooms again`, limit, async () => {
      const bob = await connected(caddy.url, { ...transports.WebSocket, ...auth("bob") });
      for (const room of ["den", "watchers"]) await call(bob, "join-room", room);
      const told = heard(bob, "user-joined");
      const gone = next(bob, "user is gone");

      const ann = client(link.url, { ...transport, ...comesBack, ...auth("ann") });
      const rooms = ["den"];
      const first = within(new Promise((resolve) => ann.once("connect", () => resolve(call(ann, "join-room", "den")))), "the room");
      await first;
      const { id } = ann;
      const back = new Promise((resolve) => ann.on("connect", () => resolve(call(ann, "rejoin-rooms", rooms))));

      const lost = next(ann, "disconnect");
      link.down();
      assert.match((await lost)[0], /^transport (close|error)$/);
      const [who, why] = await gone;
      assert.equal(who, "ann");
      assert.match(why, /^(transport (close|error)|ping timeout)$/); // the latter if no poll was pending
      assert.equal(ann.active, true, "the client tries again");
      link.up();
      await within(back, "the client's return");
      assert.notEqual(ann.id, id);
      const message = next(ann, "new-message");
      await call(bob, "send-message", { roomId: "den", text: "welcome back" });
      assert.equal((await message)[0].text, "welcome back");
      assert.deepEqual(told.map(([{ userId }]) => userId), ["ann"]); // once: a rejoin is told to nobody
    });
  }
});

describe("offline queue", () => {
  for (const [name, transport] of Object.entries(transports)) {
    test(`over ${name}: what is sent offline, or again after a lost answer, runs exactly once and in order`, limit, async () => {
      const kitchen = await connected(caddy.url, { ...transports.WebSocket, ...auth("cook") });
      await call(kitchen, "join-room", "kitchen");
      const ordered = heard(kitchen, "ordered");

      const ann = client(link.url, { ...transport, ...comesBack, ...auth("ann"), retries: 10, ackTimeout: 5_000 });
      const order = (n) => ann.emitWithAck("order", { n, key: `${name}-${n}` });
      assert.deepEqual(await order(0), { taken: 0 });
      const lost = link.lose('"taken":1');
      const answers = [order(1)];
      await within(lost, "the answer that gets lost");
      await until(() => !ann.connected, "the client to notice");
      for (let n = 2; n < 20; n++) answers.push(order(n));
      assert.deepEqual(ordered.flat(), [0, 1]);

      link.up();
      assert.deepEqual(await within(Promise.all(answers), "all answers"), Array.from({ length: 19 }, (_, i) => ({ taken: i + 1 })));
      await call(kitchen, "rejoin-rooms", []); // what came before it has arrived
      assert.deepEqual(ordered.flat(), Array.from({ length: 20 }, (_, n) => n));
    });
  }
});

// framesOf collects the unmasked frames that come over a connection from now
// on, each with its bit RSV1, which says that it is compressed, and its length.
function framesOf(connection) {
  const frames = [];
  let bytes = Buffer.alloc(0);
  connection.on("data", (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
    for (let head = 2; bytes.length >= head; head = 2) {
      let length = bytes[1] & 127;
      if (length === 126) head = 4;
      if (length === 127) head = 10;
      if (bytes.length < head) return;
      if (length === 126) length = bytes.readUInt16BE(2);
      if (length === 127) length = Number(bytes.readBigUInt64BE(2));
      if (bytes.length < head + length) return;
      frames.push({ compressed: (bytes[0] & 0x40) !== 0, length });
      bytes = bytes.subarray(head + length);
    }
  });
  return frames;
}

describe("compression", () => {
  const url = () => `http://127.0.0.1:${caddy.ports.DEFLATE}`;

  async function deflated(options) {
    const socket = await connected(url(), options);
    if (socket.io.engine.transport.name !== "websocket") await next(socket.io.engine, "upgrade");
    const { ws } = socket.io.engine.transport;
    return { socket, extensions: ws.extensions, frames: framesOf(ws._socket) };
  }

  for (const [name, options] of Object.entries({ WebSocket: transports.WebSocket, "an upgraded connection": {} })) {
    test(`over ${name}: negotiated, and RSV1 is set from the threshold on`, limit, async () => {
      const { socket, extensions, frames } = await deflated(options);
      assert.match(extensions, /permessage-deflate/);
      for (const size of [10, 999, 1000, 1001, 100_000]) { // of the message, `431["…"]`
        const text = "x".repeat(size - `43${socket.ids}[""]`.length);
        const begin = frames.length;
        assert.equal(await call(socket, "echo", text), text);
        const { compressed, length } = frames[begin];
        assert.equal(compressed, size >= 1000, `a message of ${size} bytes`);
        assert.ok(compressed ? length < size / 5 : length === size, `${length} bytes on the wire for ${size}`);
      }
      const small = Array.from({ length: 10 }, () => Buffer.alloc(200));
      const begin = frames.length;
      assert.deepEqual(await call(socket, "echo", small), small);
      assert.deepEqual(frames.slice(begin).map(({ compressed }) => compressed), Array.from({ length: 11 }, () => false), "small attachments");
    });
  }

  test("not for a client that does not offer it", limit, async () => {
    const { socket, extensions, frames } = await deflated({ ...transports.WebSocket, perMessageDeflate: false });
    assert.equal(extensions, "");
    const text = "x".repeat(10_000);
    assert.equal(await call(socket, "echo", text), text);
    assert.deepEqual(frames.map(({ compressed }) => compressed), [false]);
  });
});

describe("plain WebSockets", () => {
  for (const [name, options] of Object.entries(transports)) {
    test(`binary, and keys that look like it, both ways: the other side over ${name}`, limit, async () => {
      const url = `http://127.0.0.1:${caddy.ports.DEFLATE}`;
      const ws = new WebSocket(`${url.replace("http", "ws")}/socket.io/`);
      const frames = new Queue();
      ws.on("message", (data) => frames.put(JSON.parse(data)));
      assert.ok((await frames.next()).open);
      const socket = await connected(url, options);

      const value = { bytes: Buffer.from([1, 2, 3]), nested: [{ $bin: "text", $$bin: 1 }], empty: Buffer.alloc(0) };
      const frame = { bytes: { $bin: "AQID" }, nested: [{ $$bin: "text", $$$bin: 1 }], empty: { $bin: "" } };
      await call(socket, "relay", value);
      assert.deepEqual(await frames.next(), { event: "relayed", args: [frame] });

      const relayed = next(socket, "relayed");
      ws.send(JSON.stringify({ event: "relay", args: [frame, 7], id: 1 }));
      assert.deepEqual(await relayed, [value, 7]);
      assert.deepEqual(await frames.next(), { ack: 1, args: [] });
      ws.close();
      await once(ws, "close");
    });
  }
});
