// Reloads under load, the large form of reload.test.mjs: not part of the test
// run.
//
//	node reload-large.mjs [--sockets 8000] [--polling 500] [--rate 2000] [--reloads 50]
//
// Every 5th config is invalid, every 10th fails when it starts. `rate` numbered
// messages a second go out; each reaches one WebSocket, and each polling client
// gets ten a second of them all. WebSockets must have everything exactly once
// and in order; polling clients may reconnect, at most 0.5 % a reload.

import { createServer } from "node:net";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { Caddy, globals } from "./lib/caddy.mjs";
import { inBatches, PollingMember, WebSocketMember } from "./lib/crowd.mjs";
import { pause, until } from "./lib/wait.mjs";

const { values } = parseArgs({
  options: {
    sockets: { type: "string", default: "8000" },
    polling: { type: "string", default: "500" },
    rate: { type: "string", default: "2000" },
    reloads: { type: "string", default: "50" },
  },
});
const [sockets, pollers, rate, reloads] = [values.sockets, values.polling, values.rate, values.reloads].map(Number);
if (sockets + 2 * pollers > 18_000) throw new Error("too many clients for one process");

const config = (version, more = "") => `${globals()}
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
		on to-one {
			emit news args[1] "${version}" to data
		}
		on to-pollers {
			emit news data "${version}" to "pollers"
		}
		on version {
			ack "${version}"
		}
	}
}
${more}`;

let failed = false;
const check = (ok, what) => {
  console.log(`${ok ? "ok  " : "FAIL"} ${what}`);
  failed ||= !ok;
};

const taken = createServer();
taken.listen(0, "127.0.0.1");
await once(taken, "listening");

const caddy = await Caddy.start({ config: config("v0") });
try {
  const numbered = (m, name, [n]) => {
    m.got ??= [];
    m.got.push(n);
  };
  const members = await inBatches(sockets, 200, () => WebSocketMember.open(caddy.url, numbered));
  await Promise.all(members.map((m, i) => m.call("sub", `one-${i}`)));
  const polling = await inBatches(pollers, 50, () => PollingMember.open(caddy.url, numbered, (m) => m.emit("sub", "pollers")));
  const publisher = await WebSocketMember.open(caddy.url);
  await pause(500);
  // Some reloads before measuring: the first ones allocate what stays.
  for (let i = 0; i < 3; i++) await caddy.reload(config(`warm${i}`));
  const before = await caddy.figures();

  const sent = new Array(sockets).fill(0);
  let total = 0;
  let toPollers = 0;
  let publishing = true;
  const traffic = (async () => {
    const begun = performance.now();
    let lastPoll = begun;
    while (publishing) {
      const due = ((performance.now() - begun) / 1000) * rate;
      while (total < due) {
        const i = (total++ * 7919) % sockets;
        publisher.emit("to-one", `one-${i}`, sent[i]++);
      }
      if (performance.now() - lastPoll > 100) {
        lastPoll += 100;
        publisher.emit("to-pollers", toPollers++);
      }
      await pause(5);
    }
  })();

  let current = "warm2";
  for (let i = 1; i <= reloads; i++) {
    const due = pause(500);
    const version = `v${i}`;
    const fails = i % 10 === 0 || i % 5 === 0;
    const text =
      i % 10 === 0
        ? config(version, `http://127.0.0.1:${taken.address().port} {\n\trespond hi\n}`)
        : i % 5 === 0
          ? config(version).replace('ack "', "ack nonsense(")
          : config(version);
    const { code, output } = await caddy.reload(text);
    if (!fails) current = version;
    if ((code !== 0) !== fails) check(false, `reload ${i} ended with ${code}: ${output}`);
    const [answer] = await members[i % sockets].call("version");
    if (answer !== current) check(false, `after reload ${i} a rule says ${answer}, not ${current}`);
    await due;
  }
  publishing = false;
  await traffic;
  await publisher.call("version");

  const complete = (m, i) => (m.got?.length ?? 0) >= sent[i];
  await until(() => members.every(complete), "all messages", 30_000).catch(() => {});
  const exact = members.filter((m, i) => (m.got?.length ?? 0) === sent[i] && (m.got ?? []).every((n, k) => n === k)).length;
  const dropped = members.filter((m) => m.disconnects > 0).length;
  check(dropped === 0, `${dropped} of ${sockets} WebSockets were disconnected`);
  check(exact === sockets, `${exact} of ${sockets} WebSockets have each of ${total} messages once and in order`);

  const losses = polling.reduce((sum, m) => sum + m.disconnects, 0);
  const rateOfLoss = losses / pollers / reloads || 0;
  check(rateOfLoss <= 0.005, `${losses} reconnects of ${pollers} polling clients, ${(100 * rateOfLoss).toFixed(2)} % a reload`);
  check(
    polling.every((m) => (m.got ?? []).every((n, k) => k === 0 || n > m.got[k - 1])),
    "polling clients have nothing doubled or out of order",
  );
  const unbroken = polling.filter((m) => m.disconnects === 0);
  await until(() => unbroken.every((m) => m.got.length >= toPollers), "all messages at polling clients", 15_000).catch(() => {});
  check(
    unbroken.every((m) => m.got.length === toPollers),
    `${unbroken.length} polling clients never reconnected and have all ${toPollers} messages`,
  );

  let after;
  await until(
    async () => {
      after = await caddy.figures();
      return after.goroutines <= before.goroutines * 1.02 + 5 && after.heap <= before.heap * 1.02 + 2e6;
    },
    "heap and goroutines",
    30_000,
  ).then(
    () => check(true, `heap ${before.heap} → ${after.heap}, goroutines ${before.goroutines} → ${after.goroutines}`),
    () => check(false, `heap ${before.heap} → ${after.heap}, goroutines ${before.goroutines} → ${after.goroutines}`),
  );
  check(caddy.panics.length === 0, "no panic in the log");
  for (const m of [...members, ...polling, publisher]) m.close();
} finally {
  taken.close();
  await caddy.stop();
}
process.exit(failed ? 1 : 0);
