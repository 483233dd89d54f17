// Reads `go test -json` from stdin: shows a line for each package and what
// failing tests said, and writes "<passed> <failed>" to the file that is its
// argument.

import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

let passed = 0;
let failed = 0;
let skipped = 0;
const said = new Map(); // "package test" → its output so far
const counts = new Map(); // package → tests passed
const broken = new Set(); // packages with a failed test

// reason is what a skipped test said, without the runner's own lines.
const reason = (output = "") => output.split("\n").filter((l) => l && !/^\s*(===|---)/.test(l)).join(" ").trim();

for await (const line of createInterface({ input: process.stdin })) {
  let event;
  try {
    event = JSON.parse(line);
  } catch {
    console.log(line); // not of the test runner: say it
    continue;
  }
  const { Action, Package, Test, Output, Elapsed } = event;
  const key = `${Package} ${Test ?? ""}`;
  switch (Action) {
    case "build-output":
      process.stdout.write(Output);
      break;
    case "output":
      said.set(key, (said.get(key) ?? "") + Output);
      break;
    case "pass":
      if (Test) {
        passed++;
        counts.set(Package, (counts.get(Package) ?? 0) + 1);
      } else console.log(`  ok   ${Package}, ${counts.get(Package) ?? 0} tests, ${Elapsed.toFixed(1)} s`);
      said.delete(key);
      break;
    case "skip":
      if (Test) {
        skipped++;
        console.log(`  skipped ${Package} ${Test}: ${reason(said.get(key))}`);
      }
      said.delete(key);
      break;
    case "fail":
      // A package fails with its tests; by itself only if it did not build,
      // panicked or ran out of time.
      if (Test || !broken.has(Package)) failed++;
      broken.add(Package);
      console.log(`  FAIL ${Package} ${Test ?? ""}`);
      console.log((said.get(key) ?? "").slice(-20_000));
      said.delete(key);
      break;
  }
}
if (skipped > 0) console.log(`  ${skipped} skipped`);
writeFileSync(process.argv[2], `${passed} ${failed}\n`);
