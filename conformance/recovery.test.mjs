// Connection state recovery as an application sees it: the stock client, over
// each transport, through a network that fails.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { Caddy, globals } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, connects, heard, next } from "./lib/client.mjs";
import { Endpoint } from "./lib/engine.mjs";
import { jwt, secret } from "./lib/jwt.mjs";
import { Link } from "./lib/link.mjs";
import { random } from "./lib/tcp.mjs";
import { until, within } from "./lib/wait.mjs";

const limit = { timeout: 60_000 };
const transports = {
  WebSocket: { transports: ["websocket"] },
  polling: { transports: ["polling"] },
  both: {},
};

const config = (allowed = "true") => `${globals()}
http://127.0.0.1:{$PORT} {
	realtime {
		hub open
		recovery 1m
		limits {
			events off
			fanout off
		}
		allow_rooms \`${allowed}\`
		use rooms
		on connect {
			set times \`has(socket.data.times) ? socket.data.times + 1 : 1\`
			broadcast came socket.id socket.recovered to "watchers"
		}
		on disconnect {
			broadcast went socket.id reason to "watchers"
		}
		on whoami {
			ack \`{"rooms": socket.rooms, "data": socket.data, "recovered": socket.recovered}\`
		}
		on say {
			emit said data.text to data.room
		}
		on tell {
			emit told data.text to \`socket_room(data.id)\`
		}
		on hint {
			emit hinted data to * volatile
		}
		on all {
			emit said args... to *
		}
		on out {
			disconnect
		}
		on order {
			dedupe data.key 10m
			broadcast ordered data.n to "kitchen"
			ack \`{"taken": data.n}\`
		}
	}
}
http://127.0.0.1:{$BRIEF} {
	realtime {
		hub brief
		recovery 1s
		use rooms
		on disconnect {
			broadcast went socket.id reason to "watchers"
		}
	}
}
http://127.0.0.1:{$CLOSED} {
	realtime {
		hub closed
		recovery 1m
		auth jwt {
			secret {env.JWT_SECRET}
		}
		on connect {
			require \`!has(user.banned)\` "Banned"
		}
		on tell {
			emit told data.text to \`user_room(data.id)\`
		}
	}
}
http://127.0.0.1:{$ONCE} {
	realtime {
		hub once
		recovery 1m
		auth jwt {
			secret {env.JWT_SECRET}
		}
		limits {
			connections_per_user 1
		}
		allow_rooms false
		on connect {
			join "members"
		}
		on tell {
			emit told data.text to "members"
			ack
		}
		on seldom {
			rate 1/1h
			ack "done"
		}
	}
}
http://127.0.0.1:{$OFF} {
	realtime {
		hub off
		on all {
			emit said args... to *
		}
	}
}
`;

let caddy;
let link;
let urls;

before(async () => {
  caddy = await Caddy.start({ config: config(), ports: ["BRIEF", "CLOSED", "ONCE", "OFF"], env: { JWT_SECRET: secret } });
  urls = Object.fromEntries(Object.entries(caddy.ports).map(([name, port]) => [name, `http://127.0.0.1:${port}`]));
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

const comesBack = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100 };
const texts = (all) => all.map(([text]) => text); // without the offsets

// gone resolves when the client has noticed that the link is down.
async function breaks(socket) {
  link.down();
  await until(() => !socket.connected, "the client to notice");
}

async function back(socket) {
  const connect = next(socket, "connect");
  link.up();
  await connect;
}

// A raw client connects with what it says of itself; it gets what comes first.
async function raw(url, payload) {
  const wire = await new Endpoint(`${url}/socket.io/`).websocket();
  wire.send(`40${JSON.stringify(payload)}`);
  return wire;
}

describe("recovery", () => {
  for (const [name, transport] of Object.entries(transports)) {
    test(`over ${name}: the same socket, with its rooms, its data and what it missed, after connect`, limit, async () => {
      const bob = await connected(urls.PORT, transports.WebSocket);
      for (const room of ["den", "watchers"]) await call(bob, "join-room", room);
      const came = heard(bob, "came");
      const went = heard(bob, "went");

      const ann = client(link.url, { ...transport, ...comesBack });
      await connects(ann);
      if (name === "both" && ann.io.engine.transport.name !== "websocket") await next(ann.io.engine, "upgrade");
      await call(bob, "say", { room: "den", text: "before she joined" });
      await call(ann, "join-room", "den");
      await call(ann, "join-room", "hall");
      await call(ann, "leave-room", "hall");
      const log = [];
      for (const event of ["said", "told", "hinted"]) ann.on(event, (...args) => log.push([event, ...args.slice(0, -1)]));
      const said = next(ann, "said");
      await call(bob, "say", { room: "den", text: "first" });
      assert.equal((await said).length, 2, "the text and its offset");

      const { id } = ann;
      await breaks(ann);
      await call(bob, "say", { room: "den", text: "second" });
      await call(bob, "say", { room: "hall", text: "not hers" });
      await call(bob, "tell", { id, text: "third" });
      await call(bob, "hint", "volatile");
      await call(bob, "all", "fourth", Buffer.from([1, 2]), { n: 1.5 });
      ann.once("connect", () => log.push(["connect"]));
      await back(ann);
      assert.equal(ann.recovered, true);
      assert.equal(ann.id, id);
      assert.deepEqual(await call(ann, "whoami"), { rooms: [id, "den"], data: { times: 2 }, recovered: true });
      await call(bob, "say", { room: "den", text: "fifth" });
      await call(ann, "whoami");
      assert.deepEqual(log, [
        ["said", "first"], ["connect"], ["said", "second"], ["told", "third"], ["said", "fourth", Buffer.from([1, 2]), { n: 1.5 }], ["said", "fifth"],
      ]);
      assert.deepEqual(came.map(([who, recovered]) => [who, recovered]), [[id, false], [id, true]]);
      assert.deepEqual(went, [], "on disconnect waits for the end of the time");
    });
  }

  test("a client that heard nothing yet hears everything since it connected", limit, async () => {
    const bob = await connected(urls.PORT, transports.WebSocket);
    await call(bob, "all", "before");
    const ann = client(link.url, { ...transports.WebSocket, ...comesBack });
    const said = heard(ann, "said");
    await connects(ann);
    await breaks(ann);
    await call(bob, "all", "after");
    await back(ann);
    await call(ann, "whoami");
    assert.deepEqual([ann.recovered, texts(said)], [true, ["after"]]);
  });

  test("a message that was lost on its way comes again", limit, async () => {
    const bob = await connected(urls.PORT, transports.WebSocket);
    const ann = client(link.url, { ...transports.WebSocket, ...comesBack });
    const said = heard(ann, "said");
    await connects(ann);
    for (let n = 0; n < 5; n++) {
      const lost = link.lose(`lost ${n}`);
      await call(bob, "all", `lost ${n}`);
      await lost;
      await until(() => !ann.connected, "the client to notice");
      await back(ann);
      await call(ann, "whoami");
    }
    assert.deepEqual(texts(said), ["lost 0", "lost 1", "lost 2", "lost 3", "lost 4"]);
  });

  for (const [name, transport] of Object.entries({ WebSocket: transports.WebSocket, polling: transports.polling })) {
    test(`over ${name}: a break while it gets what it missed repeats nothing`, limit, async () => {
      const bob = await connected(urls.PORT, transports.WebSocket);
      const ann = client(link.url, { ...transport, ...comesBack });
      const said = heard(ann, "said");
      await connects(ann);
      await call(bob, "all", "first");
      await until(() => said.length === 1, "the first message");
      await breaks(ann);
      const all = ["first"];
      for (let n = 0; n < 60; n++) {
        all.push(`${n} ${"x".repeat(5_000)}`);
        await call(bob, "all", all.at(-1));
      }
      for (const bytes of [100_000, 50, 20_000]) {
        const broken = link.pass(bytes);
        link.up();
        await within(broken, "the break");
        await until(() => !ann.connected, "the client to notice");
      }
      await back(ann);
      await call(ann, "whoami");
      assert.ok(ann.recovered);
      assert.deepEqual(texts(said), all);
    });
  }

  test("many clients, a network that fails all the time: each hears everything once and in order", { timeout: 120_000 }, async () => {
    const links = await Promise.all(Array.from({ length: 4 }, () => Link.to(caddy.ports.PORT)));
    try {
      const crowd = Array.from({ length: 40 }, (_, i) =>
        client(links[i % links.length].url, { ...(i % 8 === 0 ? transports.polling : transports.WebSocket), ...comesBack, reconnectionDelayMax: 40 }));
      const heardBy = crowd.map((s) => heard(s, "said"));
      await Promise.all(crowd.map(connects));
      await Promise.all(crowd.map((s) => call(s, "join-room", "crowd")));
      const bob = await connected(urls.PORT, transports.WebSocket);
      const dice = random(7);
      for (let n = 0; n < 600; n++) {
        await call(bob, "say", { room: "crowd", text: n });
        if (n % 20 === 10) {
          const failing = links[dice(links.length)];
          failing.down();
          failing.up();
        }
      }
      const all = Array.from({ length: 600 }, (_, n) => n);
      await until(() => heardBy.every((h) => h.length >= all.length), "everybody to hear everything", 30_000).catch((error) => {
        throw new Error(`${error.message}: ${heardBy.map((h) => h.length)}, recovered ${crowd.map((s) => s.recovered)}`);
      });
      for (const h of heardBy) assert.deepEqual(texts(h), all);
    } finally {
      for (const l of links) l.close();
    }
  });

  test("what an anonymous client queued while it was away runs exactly once", limit, async () => {
    const kitchen = await connected(urls.PORT, transports.WebSocket);
    await call(kitchen, "join-room", "kitchen");
    const ordered = heard(kitchen, "ordered");
    const ann = client(link.url, { ...transports.WebSocket, ...comesBack, retries: 10, ackTimeout: 5_000 });
    const order = (n) => ann.emitWithAck("order", { n, key: `k${n}` });
    assert.deepEqual(await order(0), { taken: 0 });
    const lost = link.lose('"taken":1');
    const answers = [order(1)];
    await within(lost, "the answer that gets lost");
    await until(() => !ann.connected, "the client to notice");
    answers.push(order(2));
    link.up();
    assert.deepEqual(await within(Promise.all(answers), "all answers"), [{ taken: 1 }, { taken: 2 }]);
    await call(kitchen, "whoami");
    assert.deepEqual(texts(ordered), [0, 1, 2]);
  });

  test("an old connection that nobody knows to be dead gives way", limit, async () => {
    const bob = await connected(urls.PORT, transports.WebSocket);
    await call(bob, "join-room", "watchers");
    const went = heard(bob, "went");
    const first = await raw(urls.PORT, {});
    const { sid, pid } = JSON.parse((await first.next()).slice(2));
    await call(bob, "all", "one");
    const offset = JSON.parse((await first.next()).slice(2)).at(-1);
    const second = await raw(urls.PORT, { pid, offset });
    assert.equal(await second.next(), `40{"sid":"${sid}","pid":"${pid}"}`);
    await first.closed;
    await call(bob, "tell", { id: sid, text: "still there?" });
    assert.match(await second.next(), /^42\["told","still there\?",/);
    assert.deepEqual(went, []);
    second.destroy();
  });

  test("with connections_per_user 1 the old connection does not count; the rooms that rules chose and what rate took are found again", limit, async () => {
    const token = jwt({ sub: "ann" });
    const first = await raw(urls.ONCE, { token });
    const { sid, pid } = JSON.parse((await first.next()).slice(2));
    first.send('421["seldom"]');
    assert.equal(await first.next(), '431["done"]');
    const second = await raw(urls.ONCE, { token, pid });
    assert.equal(await second.next(), `40{"sid":"${sid}","pid":"${pid}"}`);
    await first.closed;
    second.send('422["seldom"]');
    assert.match(await second.next(), /^432\[\{"error":"Too many requests"/);
    second.send('423["tell",{"text":"me"}]');
    assert.match(await second.next(), /^42\["told","me"/);
    second.destroy();
  });
});

describe("no recovery", () => {
  test("when the time is over; then on disconnect runs", limit, async () => {
    const bob = await connected(urls.BRIEF, transports.WebSocket);
    await call(bob, "join-room", "watchers");
    const went = next(bob, "went");
    const first = await raw(urls.BRIEF, {});
    const { sid, pid } = JSON.parse((await first.next()).slice(2));
    first.destroy();
    assert.equal((await went)[0], sid);
    const second = await raw(urls.BRIEF, { pid, offset: "1" });
    const again = JSON.parse((await second.next()).slice(2));
    assert.notEqual(again.sid, sid);
    assert.notEqual(again.pid, pid);
    second.destroy();
  });

  test("for who left, or was disconnected", limit, async () => {
    for (const last of ["41", '42["out"]']) {
      const first = await raw(urls.PORT, {});
      const { sid, pid } = JSON.parse((await first.next()).slice(2));
      first.send(last);
      if (last !== "41") assert.equal(await first.next(), "41");
      first.send(`40${JSON.stringify({ pid })}`);
      assert.notEqual(JSON.parse((await first.next()).slice(2)).sid, sid);
      first.destroy();
    }
  });

  test("for another user, nor for one who is refused now", limit, async () => {
    const bob = await connected(urls.CLOSED, { ...transports.WebSocket, auth: { token: jwt({ sub: "bob" }) } });
    const first = await raw(urls.CLOSED, { token: jwt({ sub: "ann" }) });
    const { sid, pid } = JSON.parse((await first.next()).slice(2));
    first.destroy();
    await call(bob, "tell", { id: "ann", text: "secret" });

    const thief = await raw(urls.CLOSED, { token: jwt({ sub: "eve" }), pid });
    assert.notEqual(JSON.parse((await thief.next()).slice(2)).sid, sid);
    thief.destroy();
    const noToken = await raw(urls.CLOSED, { pid });
    assert.equal(await noToken.next(), '44{"message":"Authentication error"}');
    noToken.destroy();
    const banned = await raw(urls.CLOSED, { token: jwt({ sub: "ann", banned: true }), pid });
    assert.equal(await banned.next(), '44{"message":"Banned"}');
    banned.destroy();
    const late = await raw(urls.CLOSED, { token: jwt({ sub: "ann" }), pid });
    assert.notEqual(JSON.parse((await late.next()).slice(2)).sid, sid, "a pid serves once, also in vain");
    late.destroy();
  });

  test("of the room that is not allowed any more, nor of its messages; a reload keeps the rest", limit, async () => {
    const bob = await connected(urls.PORT, transports.WebSocket);
    const ann = client(link.url, { ...transports.WebSocket, ...comesBack });
    const said = heard(ann, "said");
    await connects(ann);
    for (const room of ["den", "attic"]) await call(ann, "join-room", room);
    await breaks(ann);
    await call(bob, "say", { room: "attic", text: "secret" });
    await call(bob, "say", { room: "den", text: "one" });
    const { code, output } = await caddy.reload(config('room != "attic"'));
    assert.equal(code, 0, output);
    await back(ann);
    const { rooms, recovered } = await call(ann, "whoami");
    assert.deepEqual([rooms, recovered, texts(said)], [[ann.id, "den"], true, ["one"]]);
    assert.equal((await caddy.reload(config())).code, 0);
  });

  test("and no offsets without the option", limit, async () => {
    const ann = await connected(urls.OFF, transports.WebSocket);
    const said = next(ann, "said");
    ann.emit("all", 1, "two");
    assert.deepEqual(await said, [1, "two"]);
    assert.ok(!ann.recovered);
  });

  test("by an offset from before a restart", limit, async () => {
    const ann = client(link.url, { ...transports.WebSocket, ...comesBack });
    const said = heard(ann, "said");
    await connects(ann);
    let bob = await connected(urls.PORT, transports.WebSocket);
    await call(bob, "all", "before");
    await until(() => said.length === 1, "the message");
    const again = next(ann, "connect");
    await caddy.kill("SIGKILL");
    await caddy.boot();
    await again;
    assert.equal(ann.recovered, false);
    await breaks(ann); // before she hears anything
    bob = await connected(urls.PORT, transports.WebSocket);
    for (let n = 0; n < 80; n++) await call(bob, "all", n);
    await back(ann);
    await call(ann, "whoami");
    assert.deepEqual([ann.recovered, texts(said)], [false, ["before"]]);
  });
});
