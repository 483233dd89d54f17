// A real browser, headless: the Chromium of the system, or CHROMIUM.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

function find() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const dir of process.env.PATH.split(delimiter))
    for (const name of names) {
      try {
        accessSync(join(dir, name), constants.X_OK);
        return join(dir, name);
      } catch {
        // not here
      }
    }
  throw new Error("Chromium is missing: install it, or name it in CHROMIUM");
}

// Browser opens pages that share nothing, and keeps what they complain about.
export class Browser {
  complaints = [];

  static async start() {
    const b = new Browser();
    b.program = await chromium.launch({
      executablePath: find(),
      args: process.getuid?.() === 0 ? ["--no-sandbox"] : [], // root has no other way
    });
    return b;
  }

  // open loads a page in a profile of its own. Errors in its console, and
  // exceptions, go to `complaints`, except those that `expected` matches.
  async open(url, { expected = /^$/, ...options } = {}) {
    const context = await this.program.newContext({ viewport: { width: 1200, height: 800 }, ...options });
    const page = await context.newPage();
    const complain = (text) => expected.test(text) || this.complaints.push(text);
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && complain(message.text()));
    page.on("pageerror", (error) => complain(error.stack ?? error.message));
    page.setDefaultTimeout(15_000);
    await page.goto(url);
    return page;
  }

  async closeAll() {
    for (const context of this.program.contexts()) await context.close();
  }

  stop() {
    return this.program.close();
  }
}
