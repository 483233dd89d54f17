// 1,000 sockets in one room, 10,000 idle ones, held for a while: not part of
// the test run.
//
//	node many.mjs [--room 1000] [--idle 10000] [--hold 30]
//
// Each process needs as many descriptors as there are sockets (ulimit -n).

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Caddy, globals } from "./lib/caddy.mjs";
import { inBatches, WebSocketMember } from "./lib/crowd.mjs";
import { pause, until } from "./lib/wait.mjs";

const { values } = parseArgs({
  options: {
    room: { type: "string", default: "1000" },
    idle: { type: "string", default: "10000" },
    hold: { type: "string", default: "30" },
  },
});
const [inRoom, idle, hold] = [values.room, values.idle, values.hold].map(Number);
if (inRoom + idle > 18_000) throw new Error("more than 18000 sockets: too many for one process");

const config = `${globals()}
http://127.0.0.1:{$PORT} {
	realtime {
		limits {
			connections 20000
			accept off
			events off
			bytes off
			fanout off
		}
		on sub {
			join data
		}
		on publish {
			broadcast news data to "crowd"
		}
		on echo {
			ack args...
		}
	}
}
`;

const rss = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`))[1]) * 1024;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

const caddy = await Caddy.start({ config });
let failed = false;
const check = (ok, what) => {
  console.log(`${ok ? "ok  " : "FAIL"} ${what}`);
  failed ||= !ok;
};
try {
  const before = rss(caddy.process.pid);
  const first = await caddy.figures();

  const crowd = await inBatches(inRoom, 100, () => WebSocketMember.open(caddy.url));
  await Promise.all(crowd.map((m) => m.call("sub", "crowd")));
  const [publisher, ...listeners] = crowd;
  const rounds = 50;
  const begun = performance.now();
  for (let i = 0; i < rounds; i++) await publisher.call("publish", { i, text: "x".repeat(100) });
  await until(() => listeners.every((m) => m.heard >= rounds), "every message at every listener", 60_000);
  const took = (performance.now() - begun) / 1000;
  check(
    listeners.every((m) => m.heard === rounds),
    `room of ${inRoom}: ${rounds} messages, ${listeners.length * rounds} deliveries in ${took.toFixed(2)} s, none lost or doubled`,
  );

  const crowdRSS = rss(caddy.process.pid);
  const idlers = await inBatches(idle, 200, () => WebSocketMember.open(caddy.url));
  const full = await caddy.figures();
  const grown = rss(caddy.process.pid) - crowdRSS;
  console.log(`     ${idle} idle: ${megabytes(grown)} more resident, ${(grown / idle / 1024).toFixed(1)} KB each`);
  console.log(`     heap ${megabytes(first.heap)} → ${megabytes(full.heap)}, goroutines ${first.goroutines} → ${full.goroutines}`);

  console.log(`     holding ${inRoom + idle} sockets for ${hold} s`);
  await pause(hold * 1000);
  const dropped = [...crowd, ...idlers].filter((m) => m.disconnects > 0).length;
  check(dropped === 0, `${dropped} sockets were disconnected`);
  const sample = Array.from({ length: 100 }, (_, i) => idlers[Math.floor((i * idlers.length) / 100)]).filter(Boolean);
  const echoes = await Promise.all(sample.map((m, i) => m.call("echo", i)));
  check(
    echoes.every(([n], i) => n === i),
    "a sample of the idle ones is served",
  );
  check(caddy.panics.length === 0, "no panic in the log");

  for (const m of [...crowd, ...idlers]) m.close();
  let after;
  const back = await until(
    async () => {
      after = await caddy.figures();
      return after.goroutines <= first.goroutines + 20 && after.heap <= first.heap * 1.5 + 8e6;
    },
    "heap and goroutines",
    60_000,
  ).catch(() => false);
  check(Boolean(back), `back to heap ${megabytes(after.heap)} (was ${megabytes(first.heap)}), goroutines ${after.goroutines} (was ${first.goroutines})`);
  console.log(`     resident ${megabytes(before)} → ${megabytes(rss(caddy.process.pid))}`);
} finally {
  await caddy.stop();
}
process.exit(failed ? 1 : 0);
