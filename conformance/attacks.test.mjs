// One abuser of each kind beside honest clients: they are served as before,
// nobody of them is disconnected, and the limit that holds the abuser is
// counted. SECONDS=<n> lets each last longer.

import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { abuse } from "./lib/abuse.mjs";
import { Caddy, globals } from "./lib/caddy.mjs";
import { Endpoint, request } from "./lib/engine.mjs";
import { pause, until } from "./lib/wait.mjs";

const limit = { timeout: 60_000 };
const ms = Number(process.env.SECONDS ?? 2) * 1000;
const patient = 400; // ms that an answer may take on a busy machine, 99 of 100

// Everything comes through a trusted proxy, so that each honest client has an
// address of its own and the abuser one for all that he does.
const config = `${globals(`
	servers {
		trusted_proxies static 127.0.0.1/32
	}`)}
http://127.0.0.1:{$PORT} {
	metrics /metrics
	realtime {
		limits {
			fanout 1MB/s burst 2MB
			connections_per_ip 100
		}
		on echo {
			ack args...
		}
		on join {
			join data
		}
		on shout {
			broadcast shout data to "crowd"
		}
		on ignored {
			ignore
		}
		namespace ~/room-[0-9]+ {
			on echo {
				ack args...
			}
		}
	}
}
`;

// Honest asks something ten times a second and notes how long answers take.
class Honest {
  took = [];
  #id = 0;

  static async open(endpoint, address) {
    const h = new Honest();
    h.ws = await endpoint.websocket({}, { headers: { "x-forwarded-for": address } });
    h.ws.send("40");
    await h.ws.next();
    await h.call("join", "crowd");
    return h;
  }

  async call(event, data) {
    const id = this.#id++;
    const began = performance.now();
    this.ws.send(`42${id}${JSON.stringify([event, data])}`);
    for (;;) {
      const packet = await this.ws.next();
      if (packet.startsWith("42")) continue; // what the abuser may shout
      assert.ok(packet.startsWith(`43${id}[`), packet.slice(0, 100));
      assert.ok(!packet.includes('"code"'), packet);
      this.took.push(performance.now() - began);
      return;
    }
  }

  async ask(until) {
    while (!until.over) {
      await this.call("echo", this.#id);
      await pause(100);
    }
  }
}

let caddy, endpoint;
let honest = [];

before(async () => {
  caddy = await Caddy.start({ config });
  endpoint = new Endpoint(`${caddy.url}/socket.io/`);
  honest = await Promise.all(Array.from({ length: 30 }, (_, i) => Honest.open(endpoint, `203.0.113.${i + 1}`)));
});

after(async () => {
  for (const h of honest) h.ws.destroy();
  await caddy?.stop();
});

// during has the honest ask as long as `work` takes; it resolves to the time
// that 99 of 100 answers took at most.
async function during(work) {
  for (const h of honest) h.took = [];
  const until = { over: false };
  const asking = Promise.all(honest.map((h) => h.ask(until)));
  const outcome = await work.finally(() => (until.over = true));
  await asking;
  const took = honest.flatMap((h) => h.took).sort((a, b) => a - b);
  return { outcome, p99: took[Math.floor(took.length * 0.99)], answers: took.length };
}

async function exhausted(kind) {
  const { body } = await request(`${caddy.url}/metrics`);
  return Number(new RegExp(`budget_exhausted_total\\{hub="",kind="${kind}"\\} (\\S+)`).exec(body)?.[1] ?? NaN);
}

describe("beside an abuser", () => {
  test("nobody yet", limit, async (t) => {
    const { p99, answers } = await during(pause(ms));
    t.diagnostic(`${answers} answers, p99 ${p99.toFixed(1)} ms`);
  });

  for (const [kind, budget] of Object.entries({
    events: "events",
    joins: "events",
    acks: "events",
    fanout: "fanout",
    bytes: "bytes",
    connects: "connect_rate",
    namespaces: "connects",
    unread: undefined,
    deep: undefined,
    oversized: undefined,
  })) {
    test(`a flood: ${kind}`, limit, async (t) => {
      const before = budget && (await exhausted(budget));
      const { outcome, p99, answers } = await during(abuse(kind, caddy.ports.PORT, ms));
      t.diagnostic(`${answers} answers, p99 ${p99.toFixed(1)} ms; abuser: ${JSON.stringify(outcome)}`);
      assert.ok(p99 < patient, `99 of 100 answers within ${p99} ms`);
      if (budget) assert.ok((await exhausted(budget)) > before, `no limit of ${budget} was met`);
      if (kind === "deep" || kind === "oversized") assert.ok(outcome.closed > 0, "such messages are tolerated");
    });
  }
});

describe("afterwards", () => {
  // What they have sent beyond their allowance is still read, later, and
  // their end comes behind it.
  test("what the abusers made grow is gone", limit, async () => {
    await until(async () => {
      const { body } = await request(`${caddy.url}/metrics`);
      const held = [...body.matchAll(/memory_held_bytes\{use="\w+"\} (\S+)/g)].map((m) => Number(m[1]));
      return held.length > 0 && held.every((n) => n === 0);
    }, "the memory of the abusers", 50_000).catch(async (error) => {
      const { body } = await request(`${caddy.url}/metrics`);
      throw new Error(`${error.message}:\n${body.match(/^caddy_realtime.*$/gm).join("\n")}`);
    });
    assert.ok((await caddy.figures()).heap < 60e6);
  });
});
