// The chat page of examples/Caddyfile in a real browser.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { createServer, request as ask } from "node:http";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Browser } from "./lib/browser.mjs";
import { Caddy, globals, program } from "./lib/caddy.mjs";
import { inSeconds, jwt } from "./lib/jwt.mjs";
import { root, run } from "./lib/process.mjs";
import { until } from "./lib/wait.mjs";

const limit = { timeout: 120_000 };
const env = { JWT_SECRET: "a-secret-for-this-test-only-0123456789" };
// What a browser itself says of requests while it is offline, and nothing else.
const offline = /^Failed to load resource: net::ERR_INTERNET_DISCONNECTED/;
// What it says when the client gives up a connection while that is upgraded.
const refused = /^WebSocket connection to \S+ failed: WebSocket is closed before|status of 400 \(Bad Request\)/;

// And when there is no server, or one that does not know the connection.
const gone = new RegExp(`${refused.source}|net::ERR_|WebSocket connection to \\S+ failed`);

describe("the chat page", () => {
  let caddy, browser, dir, file, url;

  // The page as it is, in a directory like the repository's, with tokens made as
  // ./xcaddy.sh run makes them. Not on localhost: there the client, rightly, does
  // not care whether the browser is offline.
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "realtime-site-"));
    file = join(dir, "examples/Caddyfile");
    await cp(join(root, "examples/site"), join(dir, "examples/site"), { recursive: true });
    await symlink(join(root, "examples/node_modules"), join(dir, "examples/node_modules"));
    await symlink(program, join(dir, "caddy"));
    await makeTokens({ ...process.env, ...env });
    const text = await readFile(join(root, "examples/Caddyfile"), "utf8");
    await writeFile(file, `${globals()}\n${text.replace("http://localhost:8080 {", "http://127.0.0.1:{$PORT} {")}`);
    caddy = await Caddy.start({ file, cwd: dir, env });
    url = `${caddy.url}/`;
    browser = await Browser.start();
  }, limit);

  async function makeTokens(env) {
    const { code, output } = await run(join(root, "examples/login.sh"), [join(dir, "examples/site/login.json")], { env: { ...env, CADDY: program } });
    assert.equal(code, 0, output);
  }

  after(async () => {
    await browser?.stop();
    await caddy?.stop();
    if (dir) await rm(dir, { recursive: true });
  });

  afterEach(async () => {
    await browser.closeAll();
    assert.deepEqual(browser.complaints.splice(0), [], "the browser has nothing to complain about");
  });

  async function logIn(name, options) {
    const page = await browser.open(url, options);
    await page.getByRole("button", { name, exact: true }).click();
    await live(page);
    return page;
  }

  const live = (page) => page.locator("#state[data-state=live]").waitFor();
  const say = async (page, text) => {
    await page.getByLabel("Message", { exact: true }).fill(text);
    await page.keyboard.press("Enter");
  };
  const bubble = (page, text) => page.locator(".bubble", { hasText: text });
  const texts = (page) => page.locator(".bubble").allTextContents();
  const states = (page) => page.locator(".message.mine").evaluateAll((items) => items.map((item) => item.dataset.state));
  const room = (page, name) => page.locator("#rooms button", { hasText: name });
  const person = (page, name) => page.locator("#people button", { hasText: name });

  test("two people see each other, type and talk; a third reads along", limit, async () => {
    const [ada, alan, grace] = [await logIn("Ada"), await logIn("Alan"), await logIn("Grace")];
    for (const [page, others] of [[ada, ["Alan", "Grace"]], [alan, ["Ada", "Grace"]]])
      for (const other of others) await person(page, other).locator(".there").waitFor();
    await ada.getByText("3 people here").waitFor();
    await ada.getByText("Live · WebSocket").waitFor();

    await alan.getByLabel("Message", { exact: true }).pressSequentially("Hel");
    await ada.getByText("Alan is typing…").waitFor();
    await alan.getByLabel("Message", { exact: true }).pressSequentially("lo <b>all</b>");
    await alan.getByRole("button", { name: "Send" }).click();
    await bubble(ada, "Hello <b>all</b>").waitFor(); // as text
    await ada.getByText("Alan is typing…").waitFor({ state: "detached" });
    await alan.locator(".message.mine[data-state=sent]").waitFor();
    assert.equal(await ada.locator(".by b").innerText(), "Alan");

    // In a room that one made oneself, others hear nothing before they join.
    const maker = alan.getByLabel("Name of a room to make or join");
    await maker.fill("Tea Time");
    await maker.press("Enter");
    await alan.getByText("Only you are here").waitFor(); // told, so that whoever joins is news
    await say(alan, "is anybody here?");
    await alan.locator(".message.mine[data-state=sent]").waitFor();
    await ada.getByLabel("Name of a room to make or join").fill("tea-time");
    await ada.keyboard.press("Enter");
    await alan.getByText("Ada joined").waitFor();
    await say(ada, "now I am");
    await bubble(alan, "now I am").waitFor();
    assert.deepEqual(await texts(ada), ["now I am"]);

    // What arrives elsewhere is counted.
    await say(grace, "lobby again");
    await room(alan, "lobby").locator(".badge", { hasText: "1" }).waitFor();
    await room(alan, "lobby").click();
    await bubble(alan, "lobby again").waitFor();
    assert.equal(await room(alan, "lobby").locator(".badge").count(), 0);

    await ada.getByRole("button", { name: "Leave", exact: true }).click();
    await room(alan, "tea-time").click();
    await alan.getByText("Ada left").waitFor();
  });

  test("on a small phone the page stands still, and its title is whole", limit, async () => {
    const ada = await logIn("Ada", { viewport: { width: 320, height: 568 }, isMobile: true, hasTouch: true, reducedMotion: "reduce" });
    for (let n = 1; n <= 20; n++) await say(ada, `message ${n}`);
    await until(async () => (await states(ada)).filter((state) => state === "sent").length === 20, "all to be sent");
    const beyond = await ada.evaluate(() => document.documentElement.scrollHeight - innerHeight);
    assert.equal(beyond, 0, "only the messages scroll");
    const cut = await ada.locator("#title").evaluate((title) => title.scrollWidth - title.clientWidth);
    assert.equal(cut, 0, "the room's name can be read");
  });

  test("on any small screen half of it and more is for messages, and nothing is cut off", limit, async () => {
    for (const [width, height] of [[320, 568], [568, 320], [667, 375], [844, 390]]) {
      const page = await logIn("Ada", { viewport: { width, height }, isMobile: true, hasTouch: true, reducedMotion: "reduce" });
      if (width < 736) await page.getByRole("button", { name: "Rooms and people" }).click();
      await page.getByLabel("Name of a room to make or join").fill("cafe-muller");
      await page.keyboard.press("Enter");
      await page.getByText("Only you are here").waitFor();
      const seen = await page.evaluate(() => ({
        messages: document.getElementById("scroll").clientHeight / innerHeight,
        beyond: [document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight],
        cut: document.getElementById("title").scrollWidth - document.getElementById("title").clientWidth,
      }));
      assert.ok(seen.messages >= 0.6, `${width} × ${height}: ${seen.messages} of the height is for messages`);
      assert.deepEqual({ beyond: seen.beyond, cut: seen.cut }, { beyond: [0, 0], cut: 0 }, `${width} × ${height}`);
      await page.context().close();
    }
  });

  test("an emoji alone can be read, whatever the font makes of it", limit, async () => {
    for (const colorScheme of ["light", "dark"]) {
      const ada = await logIn("Ada", { colorScheme, expected: offline, reducedMotion: "reduce" });
      await say(ada, "☺️");
      await ada.locator(".message.mine[data-state=sent]").waitFor();
      await ada.context().setOffline(true);
      await say(ada, "👩🏽‍🚀🇩🇪");
      await ada.locator(".message.mine[data-state=pending]").waitFor();
      const looks = await ada.locator(".bubble.emoji").evaluateAll((all) => all.map((bubble) => [getComputedStyle(bubble).backgroundColor, getComputedStyle(bubble).color === getComputedStyle(document.body).color]));
      assert.deepEqual(looks, Array(2).fill(["rgba(0, 0, 0, 0)", true]));
      await ada.context().close();
    }
  });

  test("a name that cannot be a room's is refused or changed, and the page says so", limit, async () => {
    const ada = await logIn("Ada");
    const make = async (name) => {
      await ada.getByLabel("Name of a room to make or join").fill(name);
      await ada.keyboard.press("Enter");
    };
    await make("日本");
    await ada.getByText("“日本” cannot be a room here").waitFor();
    assert.equal(await ada.locator("#rooms li").count(), 3);
    await make("Café Müller");
    await ada.getByText("“Café Müller” became “cafe-muller”").waitFor();
    await ada.getByText("Only you are here").waitFor();
    assert.equal(await ada.getByText("cannot be a room").isVisible(), false);
    await say(ada, "the server has it too");
    await ada.locator(".message.mine[data-state=sent]").waitFor();
  });

  test("while there was never a connection the page says so, why, and that what is written waits", limit, async () => {
    const ada = await browser.open(url, { expected: /net::ERR_|Failed to load resource/ });
    const requests = /socket\.io\/\?/;
    let answer = (route) => route.abort();
    await ada.route(requests, (route) => answer(route));
    await ada.getByRole("button", { name: "Ada", exact: true }).click();
    await ada.getByText("Not connected", { exact: true }).waitFor();
    await ada.getByText("The server does not answer. What you write is sent when you are connected.").waitFor();
    await ada.getByText("Who is online is shown once you are connected.").waitFor();
    assert.equal(await ada.getByText("Nobody else is online").isVisible(), false);
    await say(ada, "does anybody hear me?");
    await ada.getByText("1 message waits").waitFor();
    assert.deepEqual(await states(ada), ["pending"]);
    answer = (route) => route.fulfill({ status: 403, body: "{}" });
    await ada.getByText("does not allow pages of this address").waitFor();
    await ada.unroute(requests);
    await live(ada);
    await ada.locator(".message.mine[data-state=sent]").waitFor();
    assert.equal(await ada.locator("#notice").isVisible(), false);
  });

  test("behind a development server that changes the Host, the page and the log say so", limit, async () => {
    const { hostname, port } = new URL(url);
    const proxy = createServer((req, res) => {
      const headers = { ...req.headers, host: `${hostname}:${port}` }; // changeOrigin of Vite's server.proxy
      const onward = ask({ hostname, port, path: req.url, method: req.method, headers }, (answer) => {
        res.writeHead(answer.statusCode, answer.headers);
        answer.pipe(res);
      });
      onward.on("error", () => res.destroy());
      req.pipe(onward);
    });
    await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));
    try {
      const own = `http://127.0.0.1:${proxy.address().port}`;
      const ada = await browser.open(`${own}/`, { expected: /403|WebSocket is closed before/ });
      await ada.getByRole("button", { name: "Ada", exact: true }).click();
      await ada.getByText("does not allow pages of this address").waitFor();
      const warnings = caddy.log.split("\n").filter((line) => line.includes(`"origin":"${own}"`));
      assert.equal(warnings.length, 1);
      assert.match(warnings[0], new RegExp(`"level":"warn".*changes the header Host.*remove changeOrigin.*add ${own} to the option origins`));
      await ada.context().close();
    } finally {
      proxy.closeAllConnections();
      proxy.close();
    }
  });

  test("after a reload of the page it does not claim that nothing was said", limit, async () => {
    const ada = await logIn("Ada");
    await say(ada, "before");
    await ada.locator(".message.mine[data-state=sent]").waitFor();
    await ada.reload();
    await live(ada);
    const empty = await ada.locator(".messages").evaluate((list) => getComputedStyle(list, "::before").content);
    assert.equal(empty, '"What is said from now on is shown here. Earlier messages are not kept."');
  });

  test("the command that the page shows reloads its Caddyfile, which it links to", limit, async () => {
    const ada = await logIn("Ada");
    const link = await ada.getByRole("link", { name: "the Caddyfile" }).evaluate((a) => a.href);
    const text = await readFile(file, "utf8");
    const shown = await ada.evaluate((href) => fetch(href).then((response) => response.text()), link);
    assert.equal(shown, text.trimEnd());

    await writeFile(file, text.replace('"maxLength": 2000', '"maxLength": 5'));
    const command = await ada.locator("#reload").innerText();
    const { code, output } = await run("sh", ["-c", `${command} --address 127.0.0.1:${caddy.ports.ADMIN}`], { env: caddy.env, cwd: dir });
    assert.equal(code, 0, output);
    await say(ada, "too long by now");
    await ada.getByText("Not sent: text: must have at most 5 characters").waitFor();
    assert.equal(await ada.getByText("You are back").count(), 0, "nobody was disconnected");
    await writeFile(file, text);
    assert.equal((await run("sh", ["-c", `${command} --address 127.0.0.1:${caddy.ports.ADMIN}`], { env: caddy.env, cwd: dir })).code, 0);
  });

  test("a private message reaches that person only", limit, async () => {
    const [ada, alan, grace] = [await logIn("Ada"), await logIn("Alan"), await logIn("Grace")];
    await person(ada, "Alan").click();
    await say(ada, "just between us");
    await ada.locator(".message.mine[data-state=sent]").waitFor();
    await person(alan, "Ada").locator(".badge", { hasText: "1" }).waitFor();
    await person(alan, "Ada").click();
    await bubble(alan, "just between us").waitFor();
    await say(alan, "I tell nobody");
    await bubble(ada, "I tell nobody").waitFor();
    await alan.getByLabel("Message", { exact: true }).pressSequentially("And");
    await ada.getByText("Alan is typing…").waitFor();
    await ada.getByText("Alan is typing…").waitFor({ state: "detached" }); // he has stopped

    // What Grace would have got has come before this.
    await room(ada, "lobby").click();
    await say(ada, "hello again");
    await bubble(grace, "hello again").waitFor();
    assert.deepEqual(await texts(grace), ["hello again"]);
    assert.equal(await grace.locator(".badge:visible").count(), 0);

    await grace.context().close();
    await person(ada, "Grace").click(); // still listed: the grace has not ended
    await ada.getByText("Offline", { exact: true }).waitFor();
    await say(ada, "are you there?");
    await ada.getByText("Not sent: Not online").waitFor();
  });

  test("what is said and written offline arrives once, in order, when one is back", limit, async () => {
    const ada = await logIn("Ada", { expected: offline });
    const alan = await logIn("Alan");
    await say(ada, "before");
    await bubble(alan, "before").waitFor();

    await ada.context().setOffline(true);
    await ada.locator("#state[data-state=offline]").waitFor();
    const written = ["one", "two", "three"];
    for (const text of written) await say(ada, text);
    await ada.getByText("3 messages wait").waitFor();
    assert.deepEqual(await states(ada), ["sent", "pending", "pending", "pending"]);
    await say(alan, "hear it later");
    await alan.locator(".message.mine[data-state=sent]").waitFor();

    await ada.context().setOffline(false);
    await live(ada);
    await until(async () => (await states(ada)).every((state) => state === "sent"), "all to be sent");
    await bubble(alan, "three").waitFor();
    await ada.getByText("You are back, and have missed nothing.").waitFor();
    await say(alan, "welcome back");
    await bubble(ada, "welcome back").waitFor();
    assert.deepEqual(await texts(alan), ["before", "hear it later", ...written, "welcome back"]);
    assert.deepEqual(await texts(ada), ["before", ...written, "hear it later", "welcome back"]);
    assert.equal(await ada.locator("#notice").isVisible(), false);
  });

  test("going offline by the button loses neither what is written nor what is said", limit, async () => {
    const [ada, alan] = [await logIn("Ada"), await logIn("Alan")];
    await ada.getByRole("button", { name: "Go offline" }).click();
    await ada.locator("#state[data-state=offline]").waitFor();
    for (const text of ["one", "two"]) await say(ada, text);
    await ada.getByText("2 messages wait").waitFor();
    assert.deepEqual(await states(ada), ["pending", "pending"]);
    await say(alan, "meanwhile");
    await alan.locator(".message.mine[data-state=sent]").waitFor();
    await ada.getByRole("button", { name: "Go online" }).click();
    await live(ada);
    await bubble(alan, "two").waitFor();
    await ada.getByText("You are back, and have missed nothing.").waitFor();
    await until(async () => (await states(ada)).filter((state) => state === "sent").length === 2, "both to be sent");
    assert.deepEqual(await texts(alan), ["meanwhile", "one", "two"]);
    assert.deepEqual(await texts(ada), ["one", "two", "meanwhile"]);
  });

  test("an answer that was lost: the client sends again, nobody sees it twice", limit, async () => {
    const alan = await logIn("Alan");
    const ada = await browser.open(url);
    // Between Ada and the server, the answer to the first send-message is lost
    // together with the connection.
    let lost = 0;
    await ada.routeWebSocket(/socket\.io/, (client) => {
      const server = client.connectToServer();
      let asked;
      client.onMessage((message) => {
        asked ??= /^42(\d+)\["send-message"/.exec(message)?.[1];
        server.send(message);
      });
      server.onMessage((message) => {
        if (lost === 0 && asked && String(message).startsWith(`43${asked}[`)) {
          lost++;
          client.close();
          server.close();
        } else client.send(message);
      });
    });
    await ada.getByRole("button", { name: "Ada", exact: true }).click();
    await ada.getByText("Live · WebSocket").waitFor();
    await say(ada, "only once");
    await ada.locator(".message.mine[data-state=sent]").waitFor();
    await say(ada, "after it");
    await bubble(alan, "after it").waitFor();
    assert.equal(lost, 1);
    assert.deepEqual(await texts(alan), ["only once", "after it"]);
  });

  test("the server stops and starts with another secret: what was written waits for it", limit, async () => {
    const ada = await logIn("Ada", { expected: gone });
    const alan = await logIn("Alan", { expected: gone });
    await ada.context().setOffline(true); // so that Alan is back before her, and hears her
    await ada.locator("#state[data-state=offline]").waitFor();
    await caddy.kill();
    await alan.locator("#state[data-state=connecting]").waitFor();
    await say(ada, "first");
    await say(ada, "second");
    await ada.getByText("2 messages wait").waitFor();
    caddy.env.JWT_SECRET = "another-secret-for-this-test-only-0123456789";
    await makeTokens(caddy.env);
    await caddy.boot();
    await live(alan);
    await ada.context().setOffline(false);
    await bubble(alan, "second").waitFor();
    await until(async () => (await states(ada)).every((state) => state === "sent"), "both to be sent");
    assert.deepEqual(await texts(alan), ["first", "second"]);
    await alan.getByText("You are back. What others said meanwhile is not shown.").waitFor(); // another process knows nothing of it
  });

  test("a bad token is refused, and the page says so", limit, async () => {
    const page = await browser.open(url, { expected: refused });
    const paste = async (token) => {
      await page.getByText("Use a token of your own").click();
      await page.getByLabel("JSON Web Token").fill(token);
      await page.getByRole("button", { name: "Log in" }).click();
    };
    await paste("nonsense");
    await page.getByText("This is not a JSON Web Token").waitFor();
    await page.reload();
    const body = Buffer.from(JSON.stringify({ sub: "ada", exp: 4e9 })).toString("base64url");
    await paste(`eyJhbGciOiJIUzI1NiJ9.${body}.${"A".repeat(43)}`);
    await page.getByRole("alert").getByText("The server says: Invalid token").waitFor();
    await page.getByRole("button", { name: "Ada", exact: true }).click();
    await live(page);
  });

  test("a pasted token that expires leads back to the login", limit, async () => {
    const page = await browser.open(url, { expected: refused });
    await page.getByText("Use a token of your own").click();
    await page.getByLabel("JSON Web Token").fill(jwt({ sub: "eve", exp: inSeconds(4) }, { key: caddy.env.JWT_SECRET }));
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("alert").getByText("Your token has expired").waitFor();
    await page.getByRole("button", { name: "Ada", exact: true }).click();
    await live(page);
  });

  test("a token that has expired is replaced without a login", limit, async () => {
    const page = await browser.open(url, { expected: refused });
    await page.evaluate(() => {
      sessionStorage.setItem("token", `eyJhbGciOiJIUzI1NiJ9.${btoa('{"sub":"ada","exp":1}')}.${"A".repeat(43)}`);
      sessionStorage.setItem("source", "demo");
    });
    await page.reload();
    await live(page);
    assert.equal(await page.locator("#me").innerText(), "A\nAda");
  });
});
