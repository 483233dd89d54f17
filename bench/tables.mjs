// Writes the tables of docs/performance.md, between markers <!-- name --> and
// <!-- /name -->, from what measure.sh measured. What was not measured is "–".
import { readFileSync, writeFileSync } from "node:fs";
import { against, machine, section } from "./data.mjs";

const number = (v, digits = 2) => (v === undefined || Number.isNaN(v) ? "–" : Number(v.toPrecision(digits)).toLocaleString("en-US"));
const ratio = (v, base) => number(v / base);
const kilobytes = (bytes) => (bytes === undefined ? "–" : `${number(bytes / 1000)} KB`);

function table(head, rows) {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function machineTable() {
  const m = machine();
  return `Measured ${m.date} at commit ${m.commit}: ${m.cpu}, ${m.system}, ${m.go}, Node ${m.node}; rounds: ${m.rounds}, of which tables and plot show the median.`;
}

function peers() {
  const rows = against.map(({ name, label, metric, ours = "ours" }) => {
    const of = section(name);
    const floor = of(name, "floor", metric);
    const servers = ours === "ours" ? ["floor1", ours, "gws", "centrifuge", "node"] : [undefined, ours, undefined, undefined, undefined];
    return [label, `1 (${number(floor)} µs)`, ...servers.map((s) => ratio(of(name, s, metric), floor))];
  });
  const idle = section("idle");
  const memory = (server) => kilobytes(idle("idle", server, "mem_bytes_per_conn"));
  rows.push(["memory per idle connection in a room", memory("floor"), "–", memory("ours"), memory("gws"), memory("centrifuge"), memory("node")]);
  return table(["server CPU per …", "floor", "floor, one write each", "**this module**", "gws 1.8 (Go library)", "centrifuge 0.40 (Go)", "socket.io 4.8 (Node)"], rows);
}

function speeds() {
  const servers = ["floor", "floor1", "ours", "gws", "centrifuge", "node"];
  const of = (name, metric, digits) => servers.map((s) => number(section(name)(name, s, metric), digits));
  const latency = section("latency");
  const both = (s) => `${number(latency("latency", s, "latency_ms_p50"))} / ${number(latency("latency", s, "latency_ms_p99"))}`;
  return table(["", "floor", "floor, one write each", "**this module**", "gws", "centrifuge", "socket.io"], [
    ["deliveries/s, 1,000 in a room, 8 in flight", ...of("room8", "deliveries_per_s")],
    ["deliveries/s, 500 rooms of 10", ...of("rooms", "deliveries_per_s")],
    ["acknowledged requests/s", ...of("ack", "acks_per_s")],
    ["20 messages/s to 1,000: p50 / p99, ms", ...servers.map(both)],
  ]);
}

function members() {
  const of = section("members");
  const metric = "us_cpu_per_delivery";
  return table(["members of the room", "floor, µs per delivery", "this module, µs", "ratio"],
    ["10", "100", "1000", "10000"].map((n) => {
      const [floor, ours] = [of(n, "floor", metric), of(n, "ours", metric)];
      return [Number(n).toLocaleString("en-US"), number(floor), number(ours), ratio(ours, floor)];
    }));
}

function connections() {
  const of = section("connections");
  return table(["idle connections, 10 in a room", "memory each", "memory of the process", "CPU to connect and join", "CPU while idle"],
    ["1000", "5000", "15000"].map((n) => [
      Number(n).toLocaleString("en-US"),
      kilobytes(of(n, "ours", "mem_bytes_per_conn")),
      `${number(of(n, "ours", "mem_total_mb"))} MB`,
      `${number(of(n, "ours", "connect_us_cpu_per_conn"))} µs`,
      `${number(of(n, "ours", "idle_cpu_percent"))} %`,
    ]));
}

function joined() {
  const of = section("joined");
  return table(["rooms that a socket is in", "joining and leaving one more, ns", "allocations", "leaving all when it disconnects, ns a room"],
    ["1", "10", "100"].map((n) => [
      n,
      number(of(`join/${n}`, "hub", "ns/op"), 3),
      number(of(`join/${n}`, "hub", "allocs/op")),
      number(of(`disconnect/${n}`, "hub", "ns/room"), 3),
    ]));
}

function options() {
  const of = section("options");
  const row = (label, kase, base) => {
    const get = (metric, of_ = kase) => of(of_, "ours", metric);
    const beside = (metric) => `${number(get(metric))} µs${kase === base ? "" : ` (${ratio(get(metric), get(metric, base))} ×)`}`;
    return [label, beside("us_cpu_per_delivery"), number(get("bytes_per_delivery"), 3), beside("us_cpu_per_connect"), kilobytes(get("mem_bytes_per_conn"))];
  };
  return table(["", "CPU per delivery", "bytes per delivery", "CPU to connect and join", "memory each"], [
    row("plain TCP, messages of 128 bytes", "plain", "plain"),
    row("TLS 1.3", "tls", "plain"),
    row("JWT, HS256", "jwt", "plain"),
    row("recovery", "recovery", "plain"),
    row("long polling", "polling", "plain"),
    row("plain TCP, messages of 2 KB", "plain-2k", "plain-2k"),
    row("compression", "compression-2k", "plain-2k"),
  ]);
}

function slow() {
  const of = section("slow");
  return table(["members that stopped reading, beside 1,000", "p50, ms", "p99, ms", "lost", "CPU per delivery"],
    ["0", "1"].map((n) => [
      n,
      number(of(n, "ours", "latency_ms_p50")),
      number(of(n, "ours", "latency_ms_p99")),
      number(of(n, "ours", "lost")),
      `${number(of(n, "ours", "us_cpu_per_delivery"))} µs`,
    ]));
}

const document = new URL("../docs/performance.md", import.meta.url);
let text = readFileSync(document, "utf8");
for (const [name, write] of Object.entries({ machine: machineTable, peers, speeds, members, connections, joined, options, slow })) {
  const between = new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- /${name} -->)`);
  if (!between.test(text)) throw new Error(`no <!-- ${name} --> … <!-- /${name} --> in ${document.pathname}`);
  text = text.replace(between, (_, before, after) => `${before}\n${write()}\n\n${after}`);
}
writeFileSync(document, text);
