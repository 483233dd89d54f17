// Everything that docs/errors.md lists, as the stock client gets it,
// and nothing else: each test makes all of one table, and compares.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import WebSocket from "ws";
import { Caddy, globals } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, connects, next } from "./lib/client.mjs";
import { Endpoint } from "./lib/engine.mjs";
import { inSeconds, jwt, secret } from "./lib/jwt.mjs";
import { root } from "./lib/process.mjs";
import { Queue, until, within } from "./lib/wait.mjs";

const limit = { timeout: 60_000 };
const transports = { WebSocket: { transports: ["websocket"] }, polling: { transports: ["polling"] } };
const websocket = transports.WebSocket;
const v4 = { EIO: "4", transport: "polling" };
const v4ws = { EIO: "4", transport: "websocket" };

const config = `${globals()}
http://127.0.0.1:{$PORT} {
	realtime {
		hub open
		limits {
			rooms 3
		}
		on read {
			require \`data.text == "a"\` "Not an a"
			ack data.more
		}
		on guarded {
			require false "Not yours" FORBIDDEN
		}
		on join {
			join data
		}
		on rarely {
			rate 1/h
		}
		on unanswered {
			ask answer question timeout 100ms
		}
		on slowly {
			dedupe data 1m
			ask answer question
		}
		on proxied {
			require false "The shop is closed" UPSTREAM_ERROR
		}
		namespace /strict {
			allow_rooms \`room == "lobby"\`
			on connect {
				require \`socket.handshake.auth.name != "eve"\` "Not you"
				join socket.handshake.auth.room
			}
		}
	}
}
http://127.0.0.1:{$MEMBERS} {
	realtime {
		hub members
		protocols socketio json
		auth jwt {
			secret {env.JWT_SECRET}
		}
		on disconnect {
			log reason
		}
	}
}
http://127.0.0.1:{$FULL} {
	realtime {
		hub full
		limits {
			connections 1
		}
	}
}
http://127.0.0.1:{$IMPATIENT} {
	realtime {
		hub impatient
		ping 1s 1s
		on disconnect {
			log reason
		}
	}
}
http://127.0.0.1:{$SHORT} {
	realtime {
		hub short
		max_message 10KB
		limits {
			outbox 100KB
			events off
			bytes off
			fanout off
		}
		on leave {
			disconnect
		}
		on listen {
			join "news"
		}
		on publish {
			broadcast news data data data data data data data data to "news"
			ack
		}
		on disconnect {
			log reason
		}
	}
}
`;

let caddy;
let urls;

before(async () => {
  caddy = await Caddy.start({ config, ports: ["MEMBERS", "FULL", "IMPATIENT", "SHORT"], env: { JWT_SECRET: secret } });
  urls = Object.fromEntries(Object.entries(caddy.ports).map(([name, port]) => [name, `http://127.0.0.1:${port}`]));
});

afterEach(closeAll);

after(() => caddy?.stop());

// table reads the rows of the table whose first column has that name.
async function table(name) {
  const errors = await readFile(join(root, "docs", "errors.md"), "utf8");
  const [, rows] = new RegExp(`^\\| ${name} \\|.*\\n\\|[-|]+\\n((?:\\|.*\\n)+)`, "m").exec(errors);
  return rows.trim().split("\n").map((row) => row.split("|").slice(1, -1));
}

// words are what stands in backticks.
const words = (cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, word]) => word);

describe("refused events", () => {
  // Each code, and what makes it: an event and its arguments, after others.
  const refusals = {
    UNKNOWN_EVENT: [["no-such-event"], "Unknown event no-such-event"],
    INVALID: [["read", { text: "b" }], "Not an a"],
    FORBIDDEN: [["guarded"], "Not yours"],
    TOO_LARGE: [["read", { text: "x".repeat(70_000) }], "Arguments too large"],
    LIMIT: [["join", ["a", "b", "c", "d"]], "Too many rooms: at most 3"],
    BUSY: [["slowly", "key"], "Too many events are waiting", (s) => Array.from({ length: 65 }, () => s.emit("slowly", "key"))],
    TIMEOUT: [["unanswered"], "No answer in time"],
    RATE_LIMITED: [["rarely"], "Too many requests", (s) => s.emit("rarely")],
    UPSTREAM_ERROR: [["proxied"], "The shop is closed"],
  };

  for (const [name, transport] of Object.entries(transports)) {
    for (const [code, [event, message, prepare]] of Object.entries(refusals)) {
      test(`${code} over ${name}: as acknowledgement, and as event error`, limit, async () => {
        const socket = await connected(urls.PORT, transport);
        prepare?.(socket);
        assert.deepEqual(await call(socket, ...event), { error: message, code });
        const other = await connected(urls.PORT, transport);
        prepare?.(other);
        const error = next(other, "error");
        other.emit(...event);
        assert.deepEqual(await error, [{ code, message, event: event[0] }]);
      });
    }
  }

  test("what an expression cannot find is INVALID", limit, async () => {
    const socket = await connected(urls.PORT, websocket);
    assert.deepEqual(await call(socket, "read", { text: "a" }), { error: "Missing field more", code: "INVALID" });
    assert.deepEqual(await call(socket, "read", { text: "a", more: 1 }), 1);
  });

  // A bug is what nobody can ask for; the hub's tests have one.
  test("the page has these codes and PROCESSING_ERROR", limit, async () => {
    const codes = (await table("code")).flatMap(([cell]) => words(cell));
    assert.deepEqual(codes.sort(), [...Object.keys(refusals), "PROCESSING_ERROR"].sort());
  });
});

describe("connect_error", () => {
  const refusals = {
    "Authentication error": () => [urls.MEMBERS],
    "Invalid token": () => [urls.MEMBERS, { auth: { token: "x.y.z" } }],
    "Invalid namespace": () => [`${urls.PORT}/nowhere`],
    "Not you": () => [`${urls.PORT}/strict`, { auth: { name: "eve" } }],
    "Room not allowed": () => [`${urls.PORT}/strict`, { auth: { name: "ann", room: "cellar" } }],
    "Missing field room": () => [`${urls.PORT}/strict`, { auth: { name: "ann" } }],
  };

  for (const [name, transport] of Object.entries(transports)) {
    for (const [message, make] of Object.entries(refusals)) {
      test(`"${message}" over ${name} is final`, limit, async () => {
        const [url, options] = make();
        const socket = client(url, { ...transport, ...options, reconnection: true, reconnectionDelay: 10 });
        await assert.rejects(connects(socket), { message });
        assert.equal(socket.active, false);
      });
    }

    test(`a limit over ${name} is passing: the client tries again, and comes in`, limit, async () => {
      const first = await connected(urls.FULL, websocket);
      const waiting = client(urls.FULL, { ...transport, reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50 });
      const [error] = await next(waiting, "connect_error");
      assert.match(error.message, /^(xhr poll|websocket) error$/);
      assert.equal(waiting.active, true);
      const back = next(waiting, "connect");
      first.disconnect();
      await back;
    });
  }

  test("plain WebSockets are told in a frame, and may try again", limit, async () => {
    const ws = new WebSocket(`${urls.MEMBERS.replace("http", "ws")}/socket.io/`);
    const frames = new Queue();
    ws.on("message", (data) => frames.put(JSON.parse(data)));
    await within(once(ws, "open"), "the WebSocket");
    for (const [frame, code, message] of [
      [{ auth: {} }, "FORBIDDEN", "Authentication error"],
      [{ auth: { token: "x.y.z" } }, "FORBIDDEN", "Invalid token"],
    ]) {
      ws.send(JSON.stringify(frame));
      assert.deepEqual(await frames.next(), { error: { code, message } });
    }
    ws.send(JSON.stringify({ auth: { token: jwt({ sub: "ann" }) } }));
    assert.equal((await frames.next()).open.user.id, "ann");
    ws.send(JSON.stringify({ connect: "/nowhere" }));
    assert.deepEqual(await frames.next(), { error: { code: "INVALID", message: "Invalid namespace" }, ns: "/nowhere" });
    ws.close();
  });

  test("plain WebSockets: a wrong member costs the frame, and its error names it", limit, async () => {
    const ws = new WebSocket(`${urls.PORT.replace("http", "ws")}/socket.io/`);
    const frames = new Queue();
    ws.on("message", (data) => frames.put(JSON.parse(data)));
    ws.on("close", (code) => frames.put({ closed: code }));
    assert.ok((await frames.next()).open);
    for (const [frame, member] of [
      [{ event: 7, id: 1 }, "event"],
      [{ event: "a\u0000", id: 2 }, "event"],
      [{ event: "connect", id: 3 }, "event"],
      [{ event: "read", args: { text: "a" }, id: 4 }, "args"],
      [{ event: "read", args: [{ $bin: "not base64" }], id: 5 }, "args"],
      [{ event: "read", args: Array(65).fill(0), id: 6 }, "args"],
      [{ event: "read", id: "7" }, "id"],
      [{ event: "read", id: 8, ns: "strict" }, "ns"],
      [{ event: "read", id: 9, ns: "/strict" }, "ns"],
      [{ event: "read", id: 10, data: 1 }, '"data"'],
      [{ evnet: "read", id: 11 }, '"evnet"'],
      [{ event: "read", id: 12, ping: 1 }, "ping"],
      [{ ack: "1" }, "ack"],
      [{ connect: "strict" }, "connect"],
      [{ connect: "/" }, "connect"],
      [{ connect: "/strict", auth: "token" }, "auth"],
      [{ disconnect: "/strict" }, "disconnect"],
      [{ auth: "token" }, "auth"],
      [{ auth: {} }, "auth"],
      [{ ping: "1" }, "ping"],
      [{ id: 13 }, "a frame must have one of"],
    ]) {
      ws.send(JSON.stringify(frame));
      const { error, id } = await frames.next();
      assert.ok(error?.message.startsWith(member), `${JSON.stringify(frame)}: ${JSON.stringify(error)}`);
      assert.equal(id, Number.isInteger(frame.id) ? frame.id : undefined);
    }
    ws.send(JSON.stringify({ event: "read", args: [{ text: "a", more: 1 }], id: 14 }));
    assert.deepEqual(await frames.next(), { ack: 14, args: [1] });
    ws.close();
  });

  test("plain WebSockets: what is not a frame closes with a code and a reason", limit, async () => {
    for (const [message, code] of [
      ["hello", 1007],
      ["[]", 1007],
      ["null", 1007],
      ['{"event":"a"', 1007],
      [Buffer.from('{"ping":1}'), 1003],
    ]) {
      const ws = new WebSocket(`${urls.PORT.replace("http", "ws")}/socket.io/`);
      await within(once(ws, "message"), "the open frame");
      ws.send(message);
      const [got, reason] = await within(once(ws, "close"), "the close frame");
      assert.equal(got, code, String(message));
      assert.notEqual(String(reason), "", String(message));
    }
  });

  test("an honest mistake costs one event, not the connection", limit, async () => {
    for (const transport of Object.values(transports)) {
      const socket = await connected(urls.PORT, transport);
      const ended = next(socket, "disconnect");
      for (const [args, code] of [
        [["line\nbreak", 1], "INVALID"],
        [["x".repeat(200)], "TOO_LARGE"],
        [["read", ...Array(100).fill(0)], "TOO_LARGE"],
        [["read", ...Array(12).fill(Buffer.from("x"))], "TOO_LARGE"],
        [["read", ...Array(3).fill(Buffer.alloc(400_000))], "TOO_LARGE"],
      ]) {
        assert.equal((await call(socket, ...args)).code, code, args[0]);
      }
      const error = next(socket, "error");
      socket.emit("line\nbreak");
      assert.equal((await error)[0].code, "INVALID");
      assert.equal(await call(socket, "read", { text: "a", more: 1 }), 1);
      socket.disconnect();
      assert.equal((await ended)[0], "io client disconnect");
    }
    const retrying = await connected(urls.PORT, { ...websocket, retries: 3, ackTimeout: 10_000 });
    retrying.on("disconnect", (reason) => assert.fail(reason));
    assert.equal((await retrying.emitWithAck("line\nbreak")).code, "INVALID");
    assert.equal(await retrying.emitWithAck("read", { text: "a", more: 1 }), 1);
    retrying.off("disconnect");
  });

  test("an auth that is not an object: the client is told", limit, async () => {
    const socket = client(urls.PORT, { ...websocket, auth: "token" });
    const [error] = await next(socket, "connect_error");
    assert.equal(error.message, "auth: must be an object");
  });

  test("the page has these messages", limit, async () => {
    const messages = (await table("`connect_error`")).flatMap(([cell]) => words(cell)).filter((word) => word !== "require");
    assert.deepEqual(messages, [...Object.keys(refusals).slice(0, 3), "Too many connections"]); // the last: identity.test.mjs
  });
});

describe("HTTP", () => {
  test("the page's statuses and bodies", limit, async () => {
    const open = new Endpoint(`${urls.PORT}/socket.io/`);
    const full = new Endpoint(`${urls.FULL}/socket.io/`);
    const short = new Endpoint(`${urls.SHORT}/socket.io/`);
    await until(async () => (await full.get(v4)).status === 200, "the only place"); // which is taken now
    const session = await open.poll();
    const answers = [
      await open.get({ EIO: "4", transport: "carrier-pigeon" }),
      await open.get({ ...v4, sid: "nobody" }),
      await open.get(v4, { method: "PUT" }),
      await open.get({ ...v4ws, sid: session.sid }),
      await open.get({ ...v4, EIO: "3" }),
      await session.post("4text", { "content-type": "application/octet-stream" }),
      await open.get(v4, { headers: { origin: "https://evil.example" } }),
      await (await short.poll()).post("4" + "x".repeat(11_000)),
      await open.get(v4, { headers: { "early-data": "1" } }),
      await full.get(v4),
    ];
    const rows = await table("status");
    for (const [i, [status, body]] of rows.entries()) {
      assert.equal(answers[i]?.status, Number(status), rows[i]);
      const [json] = words(body);
      assert.deepEqual(answers[i].body ? JSON.parse(answers[i].body) : undefined, json && JSON.parse(json), rows[i]);
    }
    assert.equal(answers.length, rows.length);
    assert.ok(Number(answers.at(-1).headers["retry-after"]) > 0);
  });
});

describe("reasons of disconnects", () => {
  // The server's reasons are in the log, which on disconnect writes.
  const logged = (id) =>
    until(() => {
      const line = caddy.log.split("\n").find((line) => line.includes(`"socket_id":"${id}"`));
      return line && JSON.parse(JSON.parse(line).value);
    }, `the reason why ${id} went`);

  // What makes a client go; each has a connection of its own, to SHORT if
  // places has no other.
  const ends = {
    "client namespace disconnect": (s) => s.disconnect(),
    "server namespace disconnect": (s) => s.emit("leave"),
    "token expired": () => {},
    "transport close": (s) => s.io.engine.close(),
    "transport error": (s) => s.emit("publish", "x".repeat(11_000)),
    "ping timeout": (s) => {
      const { _sendPacket: send } = s.io.engine;
      s.io.engine._sendPacket = (type, ...rest) => type === "pong" || send.call(s.io.engine, type, ...rest);
    },
    "parse error": (s) => s.io.engine.transport.ws.send("no packet"),
    "forced close": (s) => s.io.engine.transport.ws.send("4no packet"),
    "slow consumer": async (s) => {
      const { id } = s;
      await call(s, "listen");
      s.io.engine.transport.ws._socket.pause();
      const publisher = await connected(urls.SHORT, websocket);
      while (!caddy.log.includes(`"socket_id":"${id}"`)) await call(publisher, "publish", "x".repeat(9_000));
      s.io.engine.transport.ws._socket.resume();
    },
    "server shutting down": () => caddy.kill(),
  };

  const places = {
    "token expired": () => [urls.MEMBERS, { auth: { token: jwt({ sub: "ann", exp: inSeconds(3) }) } }],
    "ping timeout": () => [urls.IMPATIENT],
  };

  test("the page's, on both sides", limit, async () => {
    const rows = await table("`reason`");
    assert.deepEqual(rows.map(([cell]) => words(cell)[0]), Object.keys(ends));
    const sees = async ([reason, end], clientSees) => {
      const [url, options] = places[reason]?.() ?? [urls.SHORT];
      const socket = await connected(url, { ...websocket, ...options });
      const { id } = socket;
      const gone = within(new Promise((resolve) => socket.once("disconnect", (...args) => resolve(args))), `the client to notice: ${reason}`);
      await end(socket);
      const [why] = await gone;
      assert.ok(clientSees.includes(why), `${reason}: the client sees ${why}`);
      assert.equal(await logged(id), reason);
    };
    const all = Object.entries(ends).map((entry, i) => [entry, words(rows[i][1])]);
    await Promise.all(all.slice(0, -1).map((args) => sees(...args)));
    await sees(...all.at(-1));
  });
});
