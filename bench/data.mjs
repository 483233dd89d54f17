// Reads what measure.sh wrote.
import { existsSync, readFileSync } from "node:fs";

const dir = new URL("data/", import.meta.url);

function rows(name) {
  const file = new URL(`${name}.csv`, dir);
  if (!existsSync(file)) return [];
  const [, ...lines] = readFileSync(file, "utf8").trim().split("\n");
  return lines;
}

function median(values) {
  const v = values.toSorted((a, b) => a - b);
  const half = v.length >> 1;
  return v.length % 2 ? v[half] : (v[half - 1] + v[half]) / 2;
}

/** section returns a function (case, server, metric) → median over the rounds, undefined if not measured. */
export function section(name) {
  const values = new Map();
  for (const line of rows(name)) {
    const [kase, server, , metric, value] = line.split(",");
    const key = `${kase},${server},${metric}`;
    values.set(key, [...(values.get(key) ?? []), Number(value)]);
  }
  return (kase, server, metric) => {
    const found = values.get(`${kase},${server},${metric}`);
    return found && median(found);
  };
}

/** machine is what was measured on. */
export function machine() {
  return Object.fromEntries(rows("machine").map((line) => [line.slice(0, line.indexOf(",")), line.slice(line.indexOf(",") + 1)]));
}

/** against are the sections that compare servers by CPU: name, what one operation is, metric. */
export const against = [
  { name: "room8", label: "delivery, 1,000 in a room, 8 messages in flight", metric: "us_cpu_per_delivery" },
  { name: "room1", label: "delivery, one message at a time", metric: "us_cpu_per_delivery" },
  { name: "rooms", label: "delivery, 500 rooms of 10, all publishing", metric: "us_cpu_per_delivery" },
  { name: "latency", label: "delivery, 20 messages/s to 1,000", metric: "us_cpu_per_delivery" },
  { name: "ack", label: "acknowledged request", metric: "us_cpu_per_ack" },
  { name: "ack", label: "the same, two comparisons first", metric: "us_cpu_per_ack", ours: "require" },
  { name: "ack", label: "the same, plain WebSockets", metric: "us_cpu_per_ack", ours: "plain" },
  { name: "connect", label: "connect, join and leave", metric: "us_cpu_per_connect" },
];
