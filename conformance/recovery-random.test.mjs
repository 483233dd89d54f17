// Recovery under random trouble: stock clients whose networks fail, also while
// they get what they missed, a server that restarts, and reloads that shorten
// the time, turn recovery off, or remove the namespace, and bring it back. Each
// client must hear what it is promised: in order, nothing twice, and nothing
// left out as long as it is told that it was recovered.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { Caddy, globals } from "./lib/caddy.mjs";
import { client, closeAll } from "./lib/client.mjs";
import { Link } from "./lib/link.mjs";
import { random } from "./lib/tcp.mjs";
import { until } from "./lib/wait.mjs";

const seeds = Number(process.env.SEEDS ?? 20);
const first = Number(process.env.SEED ?? 1);

const config = (recovery, namespace = true) => `${globals()}
http://127.0.0.1:{$PORT} {
	realtime {
		recovery ${recovery}
		limits {
			events off
			fanout off
			connect_rate off
		}
		${namespace ? `namespace /chat {
			on enter {
				join data
				ack
			}
			on say {
				if \`data.to == "all"\` {
					emit said data.n data.padding to *
				}
				if \`data.to != "all"\` {
					emit said data.n data.padding to data.to
				}
				ack
			}
		}` : ""}
	}
}
`;

// A Listener is a stock client with what it heard, by lives: each begins with a
// connect that was not recovered.
class Listener {
  lives = [];
  recoveries = 0;

  constructor(link, room, options, clock) {
    Object.assign(this, { link, room, clock });
    this.socket = client(`${link.url}/chat`, { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50, ...options });
    this.socket.on("connect", () => {
      if (this.socket.recovered) this.recoveries++;
      else this.lives.push({ after: clock.begun, heard: [] });
      const life = this.lives.at(-1);
      if (life.inside === undefined) this.#enter(life);
    });
    this.socket.on("said", (n) => this.lives.at(-1).heard.push(n));
    const again = () => {
      if (!this.socket.active) setTimeout(() => this.socket.connect(), 30);
    };
    this.socket.on("connect_error", again);
    this.socket.on("disconnect", again);
  }

  #enter(life) {
    this.socket.timeout(5_000).emit("enter", this.room, (error) => {
      if (!error && life === this.lives.at(-1)) life.inside ??= this.clock.begun;
    });
  }

  // hears reports whether the last message has arrived.
  hears(n) {
    return this.lives.at(-1)?.heard.at(-1) === n;
  }

  // check throws unless what it heard is what it was promised.
  check(said) {
    const all = this.lives.flatMap(({ heard }) => heard);
    for (let i = 1; i < all.length; i++) assert.ok(all[i - 1] < all[i], `heard ${all[i]} after ${all[i - 1]}: ${all}`);
    for (const { after, inside = Infinity, heard } of this.lives) {
      const has = new Set(heard);
      for (const n of heard) assert.ok(["all", this.room].includes(said[n].to), `heard ${n}, which was for ${said[n].to}`);
      for (let n = after + 1; n < heard.at(-1); n++) {
        const { to, sure } = said[n];
        const promised = sure && (to === "all" || (to === this.room && n > inside));
        assert.ok(!promised || has.has(n), `never heard ${n} to ${to}; connected after ${after}, in its room after ${inside}, heard ${heard}`);
      }
    }
  }
}

describe("recovery under random trouble", () => {
  let caddy;
  let recoveries = 0;
  let lives = 0;

  before(async () => {
    caddy = await Caddy.start({ config: config("1m") });
  });
  afterEach(closeAll);
  after(async () => {
    await caddy?.stop();
    assert.ok(seeds < 20 || recoveries > lives, `${recoveries} times recovered, ${lives} times not`);
  });

  const reload = async (...args) => assert.equal((await caddy.reload(config(...args))).code, 0);

  for (let seed = first; seed < first + seeds; seed++) {
    test(`seed ${seed}`, { timeout: 120_000 }, async () => {
      const dice = random(seed);
      const clock = { begun: 0 }; // the last message that somebody has begun to send
      const said = [{}];
      const links = [];
      const pause = (ms) => new Promise((on) => setTimeout(on, dice(ms)));
      try {
        const listeners = [];
        for (let i = 0; i < 6; i++) {
          links.push(await Link.to(caddy.ports.PORT));
          listeners.push(new Listener(links[i], i % 2 ? "odd" : "even", { transports: i === 5 ? ["polling"] : ["websocket"] }, clock));
        }
        const speaker = client(`${caddy.url}/chat`, { transports: ["websocket"], reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50 });
        const again = () => {
          if (!speaker.active) setTimeout(() => speaker.connect(), 20);
        };
        speaker.on("connect_error", again);
        speaker.on("disconnect", again);

        const say = async () => {
          const n = ++clock.begun;
          const to = ["all", "all", "odd", "even"][dice(4)];
          said[n] = { to, sure: false };
          const padding = "x".repeat(dice(4) ? 0 : dice(20_000));
          try {
            await until(() => speaker.connected, "the speaker to be back");
            await speaker.timeout(5_000).emitWithAck("say", { n, to, padding });
            said[n].sure = true;
          } catch {
            // it may have been heard, or not
          }
        };
        const cut = (link) => {
          link.down();
          setTimeout(() => link.up(), dice(150));
        };
        const cutLater = (link) => {
          link.pass(1 + dice(30_000)).then(() => setTimeout(() => link.up(), dice(100)));
          link.up();
        };
        const troubles = [
          () => reload("1s"),
          () => reload("1m"),
          () => reload("1m 1MB"),
          async () => {
            await reload("off");
            for (let n = dice(4); n > 0; n--) await say();
            await reload("1m");
          },
          async () => {
            await reload("1m", false);
            await pause(40);
            await reload("1m");
          },
          async () => {
            await caddy.kill("SIGKILL");
            await caddy.boot();
          },
        ];
        await until(() => speaker.connected && listeners.every((l) => l.socket.connected), "everybody to connect");
        for (let step = 0; step < 100; step++) {
          const link = links[dice(links.length)];
          switch (dice(12)) {
            case 0:
            case 1:
            case 2:
              cut(link);
              break;
            case 3:
            case 4:
              cutLater(link);
              break;
            case 5:
              if (step % 2 === 0) await troubles[dice(troubles.length)]();
              break;
            default:
              for (let n = dice(6); n >= 0; n--) await say();
          }
          await pause(20);
        }
        await reload("1m");
        for (const link of links) {
          link.pass(Infinity);
          link.up();
        }
        await until(() => speaker.connected, "the speaker to be back");
        await until(() => listeners.every((l) => l.socket.connected), "everybody to be back", 20_000);
        do await say();
        while (said.at(-1).to !== "all" || !said.at(-1).sure);
        await until(() => listeners.every((l) => l.hears(clock.begun)), "everybody to hear the last", 20_000);
        for (const l of listeners) {
          l.check(said);
          recoveries += l.recoveries;
          lives += l.lives.length;
        }
      } finally {
        for (const link of links) link.close();
      }
    });
  }
});
