// The pages that a new user follows, as they stand: what they show is taken out
// of them and run.

import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { access, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Browser } from "./lib/browser.mjs";
import { Caddy, globals, program } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, connects, next } from "./lib/client.mjs";
import { inSeconds, jwt, secret } from "./lib/jwt.mjs";
import { here, root, run } from "./lib/process.mjs";

const limit = { timeout: 60_000 };
const env = { JWT_SECRET: secret };
const as = (sub, claims = {}) => ({ auth: { token: jwt({ sub, ...claims }) } });

// blocks are the page's fenced blocks of one language.
async function blocks(page, language) {
  const text = await readFile(join(root, "docs", page), "utf8");
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map(([, block]) => block);
}

// serve runs one Caddyfile of a page, on a free port.
async function serve(text, body, { ports = {}, ...options } = {}) {
  for (const [port, actual] of Object.entries(ports)) text = text.replaceAll(`localhost:${port}`, `127.0.0.1:${actual}`);
  const caddy = await Caddy.start({ config: `${globals()}\n${text.replaceAll("localhost:8080", "localhost:{$PORT}")}`, env, ...options });
  try {
    await body(`http://localhost:${caddy.ports.PORT}`, caddy);
  } finally {
    closeAll();
    await caddy.stop();
  }
}

// app answers in the place of the site's own app, or of a login service.
async function app(answer, body) {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    await body(server.address().port);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

describe("docs/guide.md", () => {
  let pages;
  before(async () => (pages = await blocks("guide.md", "caddyfile")));
  const section = (word) => pages.find((text) => text.includes(word));

  test("an event and its answer", limit, () =>
    serve(section("on add"), async (site) => {
      const [a, b] = [await connected(site), await connected(site)];
      assert.deepEqual(await call(a, "add", 1, 2), { sum: 3 });
      const shouted = [next(a, "shouted"), next(b, "shouted")];
      a.emit("shout", "hi");
      assert.deepEqual(await Promise.all(shouted), [["hi"], ["hi"]]);
      assert.equal((await call(a, "no such event")).code, "UNKNOWN_EVENT");
    }),
  );

  test("rooms", limit, () =>
    serve(section("on say"), async (site) => {
      const [a, b] = [await connected(site), await connected(site)];
      assert.equal((await call(a, "join", "No Room")).error, "Room not allowed");
      await call(a, "join", "lobby");
      assert.equal((await call(b, "say", { room: "lobby", text: "hi" })).error, "Not in this room");
      const joined = next(a, "joined");
      await call(b, "join", "lobby");
      assert.deepEqual(await joined, [b.id]);
      const said = [next(a, "said"), next(b, "said")];
      assert.deepEqual(await call(b, "say", { room: "lobby", text: "hi" }), { ok: true });
      for (const [message] of await Promise.all(said)) assert.deepEqual(message, { from: b.id, text: "hi" });
      const { id } = b;
      const left = next(a, "left");
      b.disconnect();
      assert.deepEqual(await left, [id]);
    }),
  );

  test("users and private messages", limit, () =>
    serve(section("on whisper"), async (site) => {
      const [ann, bob] = [await connected(site, as("ann")), await connected(site, as("bob"))];
      const whispered = next(bob, "whispered");
      ann.emit("whisper", { to: "bob", text: "psst" });
      assert.deepEqual(await whispered, [{ from: "ann", text: "psst" }]);
      await assert.rejects(connects(client(site)), { message: "Authentication error" });
    }),
  );

  test("connecting", limit, () =>
    serve(section("nickname"), async (site) => {
      await assert.rejects(connects(client(site)), { message: "Nickname required" });
      assert.deepEqual(await next(client(site, { auth: { nickname: "Ann" } }), "welcome"), ["Ann"]);
    }),
  );

  test("checking what clients send", limit, () =>
    serve(section("on order"), async (site) => {
      const [waiter, guest] = [await connected(site, as("w", { role: "waiter" })), await connected(site, as("g"))];
      assert.deepEqual(await call(waiter, "order", { item: "tea", count: 2 }), { ok: true });
      assert.equal((await call(waiter, "order", { item: "tea", count: 11 })).code, "INVALID");
      assert.notEqual((await call(guest, "order", { item: "tea", count: 2 })).error, undefined);
    }),
  );

  test("asking a client", limit, () =>
    serve(section("on start"), async (site) => {
      const a = await connected(site);
      a.on("ready?", (answer) => answer("yes"));
      assert.deepEqual(await call(a, "start"), { ready: "yes" });
    }),
  );

  test("a namespace", limit, () =>
    serve(section("namespace /admin"), async (site) => {
      const ann = await connected(site, as("ann"));
      await assert.rejects(connects(client(`${site}/admin`, as("ann", { role: "guest" }))), { message: "Admins only" });
      const boss = await connected(`${site}/admin`, as("boss", { role: "admin" }));
      const announcement = next(ann, "announcement");
      boss.emit("announce", "Lunch");
      assert.deepEqual(await announcement, ["Lunch"]);
    }),
  );
});

describe("docs/identity.md", () => {
  let pages;
  before(async () => (pages = await blocks("identity.md", "caddyfile")));
  const section = (word) => pages.find((text) => text.includes(word));
  const nothing = (request, response) => response.end();

  test("a login in the app", limit, () =>
    app(nothing, (port) =>
      serve(
        section("on announce"),
        async (site) => {
          const ann = await connected(site, as("ann", { rooms: ["lobby"], role: "reader" }));
          assert.deepEqual(await call(ann, "join-room", "lobby"), undefined);
          assert.equal((await call(ann, "join-room", "staff")).code, "FORBIDDEN");
          assert.equal((await call(ann, "announce", "x")).error, "Editors only");
        },
        { ports: { 3000: port } },
      ),
    ),
  );

  test("a token in a cookie", limit, () =>
    app(nothing, (port) =>
      serve(
        section("from cookie.realtime"),
        async (site) => {
          await connected(site, { extraHeaders: { Cookie: `realtime=${jwt({ sub: "ann" })}` } });
          await assert.rejects(connects(client(site)), { message: "Authentication error" });
        },
        { ports: { 3000: port } },
      ),
    ),
  );

  test("forward_auth", limit, () => {
    const login = (request, response) => {
      const [, user] = /session=(\w+)/.exec(request.headers.cookie ?? "") ?? [];
      if (user) response.setHeader("Remote-User", user);
      response.writeHead(user ? 200 : 401).end();
    };
    return app(login, (port) =>
      serve(
        section("forward_auth"),
        async (site) => {
          const ann = await connected(site, { extraHeaders: { Cookie: "session=ann", "Remote-User": "eve" } });
          const heardByAnn = next(ann, "private-message");
          const bob = await connected(site, { extraHeaders: { Cookie: "session=bob" }, transports: ["websocket"] });
          await call(bob, "private-message", { toUserId: "ann", message: "hi" });
          assert.equal((await heardByAnn)[0].fromUserId, "bob");
          await assert.rejects(connects(client(site, { extraHeaders: { "Remote-User": "eve" } })), { message: "xhr poll error" });
        },
        { ports: { 9091: port } },
      ),
    );
  });
});

test("docs/coming-from-node.md: each step of the cheat sheet is a valid one", limit, async () => {
  const text = await readFile(join(root, "docs/coming-from-node.md"), "utf8");
  const rows = text.slice(text.indexOf("## Emit cheat sheet"), text.indexOf("## Options")).split("\n").filter((line) => line.startsWith("| "));
  const spans = (cell) => [...cell.matchAll(/`` (.*?) ``|`(.*?)`/g)].map(([, double, single]) => double ?? single);
  const steps = rows.flatMap((row) => spans(row.split(" | ").at(-1))).filter((span) => /^(emit|broadcast|ask|join|leave|disconnect)\b/.test(span));
  assert.ok(steps.length > 15, steps.join("\n"));
  const config = `http://:{$PORT} {
	realtime {
		auth jwt {
			secret {env.JWT_SECRET}
		}
${steps.map((step, i) => `\t\ton event-${i} {\n\t\t\t${step}\n\t\t}`).join("\n")}
		namespace /chat {
			on nothing {
				ignore
			}
		}
	}
}
`;
  await serve(config, (site) => connects(client(site, as("ann"))));
});

test("links between pages lead to a file and a heading", limit, async () => {
  const pages = ["README.md", "CHANGELOG.md", ...(await readdir(join(root, "docs"))).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)];
  const prose = async (path) => (await readFile(join(root, path), "utf8")).replace(/^\s*```.*?^\s*```/gms, "");
  const anchor = (heading) => heading.toLowerCase().replace(/[^\p{L}\p{N}_\- ]/gu, "").replaceAll(" ", "-");
  for (const page of pages)
    for (const [, link] of (await prose(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link)) continue;
      const [file, heading] = link.split("#");
      const path = file ? join(dirname(page), file) : page;
      await access(join(root, path)).catch(() => assert.fail(`${page}: ${link}`));
      if (heading) assert.ok([...(await prose(path)).matchAll(/^#+ (.*)$/gm)].some(([, text]) => anchor(text) === heading), `${page}: ${link}`);
    }
});

// known are the names that Caddy lists when it does not know one in that place.
async function known(dir, before, after = "") {
  const file = join(dir, "Caddyfile");
  await writeFile(file, `http://localhost {\nrealtime {\n${before} unheard-of\n${after}\n}\n}\n`);
  const { output } = await run(program, ["adapt", "--config", file, "--adapter", "caddyfile"]);
  const list = /(?:options|steps|presets) are ([a-z_, ]+)/.exec(output)?.[1];
  assert.ok(list, output);
  return list.split(", ");
}

describe("references are complete", () => {
  let dir;
  before(async () => (dir = await mkdtemp(join(tmpdir(), "realtime-docs-"))));
  after(() => rm(dir, { recursive: true }));
  const page = (name) => readFile(join(root, "docs", name), "utf8");
  const sorted = (names) => [...new Set(names)].sort();

  test("docs/caddyfile.md: options", limit, async () => {
    const options = await known(dir, "");
    for (const block of ["limits", "auth jwt", "auth caddy", "presence", "namespace /chat"]) options.push(...(await known(dir, `${block} {\n`, "}")));
    const synopsis = /^```\nrealtime(.*?)^```/ms.exec(await page("caddyfile.md"))[1];
    const documented = [...synopsis.matchAll(/^\t+([a-z_]+)/gm)].map(([, name]) => name);
    assert.deepEqual(sorted(documented), sorted(options));
  });

  test("docs/rules.md: steps", limit, async () => {
    const steps = await known(dir, "on message {\n", "}");
    const table = /^\| step .*?\n\n/ms.exec(await page("rules.md"))[0];
    assert.deepEqual(sorted([...table.matchAll(/^\| `([a-z]+)/gm)].map(([, name]) => name)), sorted(steps));
  });

  test("docs/presets.md: presets", limit, async () => {
    const presets = await known(dir, "use");
    assert.deepEqual(sorted([...(await page("presets.md")).matchAll(/^\| `([a-z]+)` /gm)].map(([, name]) => name)), sorted(presets));
  });
});

describe("pages in a browser", () => {
  let browser, dir;
  before(async () => {
    browser = await Browser.start();
    dir = await mkdtemp(join(tmpdir(), "realtime-docs-"));
    await symlink(join(here, "node_modules"), join(dir, "node_modules"));
    await mkdir(join(dir, "site"));
  }, limit);
  after(async () => {
    await browser?.stop();
    if (dir) await rm(dir, { recursive: true });
  });

  const expected = /404 \(Not Found\)/; // there is no favicon
  const open = (url) => browser.open(url, { expected });
  const shows = (page, text) => page.waitForFunction((text) => document.body.innerText.includes(text), text);
  const say = async (page, text) => {
    await page.fill("#text", text);
    await page.press("#text", "Enter");
  };

  test("docs/getting-started.md", limit, async () => {
    const page = "getting-started.md";
    const [talk, users, presence] = await blocks(page, "caddyfile");
    const [html] = await blocks(page, "html");
    const [script, , , withToken, online] = await blocks(page, "js");
    const file = (name, text) => writeFile(join(dir, "site", name), text);
    await file("index.html", html);

    await file("chat.js", script);
    await serve(
      talk,
      async (site) => {
        const [a, b] = [await open(site), await open(site)];
        for (const p of [a, b]) await shows(p, "connected");
        await say(a, "hello");
        await shows(a, "me: hello");
        await shows(b, "hello");
      },
      { cwd: dir },
    );
    await browser.closeAll();
    browser.complaints.length = 0; // the server has gone before the pages

    // Step 4 replaces two lines of the script.
    const [socket, said] = withToken.trimEnd().split("\n");
    const lines = script.split("\n");
    const replace = (start, line) => lines.splice(lines.findIndex((l) => l.startsWith(start)), 1, line);
    replace("const socket =", socket);
    replace('socket.on("said"', said);
    await file("chat.js", lines.join("\n") + online);
    for (const text of [users, presence])
      await serve(
        text,
        async (site) => {
          await shows(await open(site), "not connected: Authentication error");
          const [ann, bob] = [await open(`${site}/#${jwt({ sub: "ann", name: "Ann" })}`), await open(`${site}/#${jwt({ sub: "bob", name: "Bob" })}`)];
          for (const p of [ann, bob]) await shows(p, "connected");
          await say(ann, "hello");
          await shows(bob, "Ann: hello");
          if (text === presence) await shows(bob, "online: ann, bob");
        },
        { cwd: dir },
      );
    await browser.closeAll();
  });

  test("docs/django.md, with a small app in Django's place", limit, async () => {
    const [caddyfile] = await blocks("django.md", "caddyfile");
    const [template] = await blocks("django.md", "html");
    const [script] = await blocks("django.md", "js");
    const html = template
      .replace("{% load static %}\n", "")
      .replaceAll("{{ room }}", "general")
      .replace("{% url 'realtime-token' %}", "/realtime-token/")
      .replace("{% static 'chat.js' %}", "/chat.js");
    assert.doesNotMatch(html, /\{[{%]/);
    let rooms = ["general", "staff"];
    let exp = inSeconds(3600);
    const django = ({ url, headers }, response) => {
      const [, user] = /user=(\w+)/.exec(headers.cookie ?? "") ?? [];
      response.setHeader("Content-Type", url === "/chat.js" ? "text/javascript" : url === "/realtime-token/" ? "application/json" : "text/html");
      if (url === "/chat.js") response.end(script);
      else if (url === "/realtime-token/") response.end(JSON.stringify({ token: jwt({ sub: user, rooms, exp: exp++ }) }));
      else if (url === "/chat/general/") response.end(html);
      else response.writeHead(404).end();
    };
    await app(django, (port) =>
      serve(
        caddyfile,
        async (site) => {
          const as = (user) => browser.open(`${site}/chat/general/`, { expected, extraHTTPHeaders: { Cookie: `user=${user}` } });
          const [ann, bob] = [await as("ann"), await as("bob")];
          for (const p of [ann, bob]) await shows(p, "here: ann, bob");
          await say(ann, "hello");
          for (const p of [ann, bob]) await shows(p, "ann: hello");

          // She may enter another room, and then she may not.
          const answer = (event, data) => ann.evaluate(([event, data]) => socket.emitWithAck(event, data), [event, data]);
          assert.equal(await answer("join-room", "staff"), undefined);
          assert.deepEqual(await answer("send-message", { room: "staff", text: "hi" }), { ok: true });
          rooms = ["general"];
          assert.equal(await ann.evaluate(async () => socket.emitWithAck("auth-refresh", { token: await token() })), undefined);
          assert.equal((await answer("send-message", { room: "staff", text: "hi" })).code, "FORBIDDEN");
          assert.equal((await answer("join-room", "staff")).code, "FORBIDDEN");
          assert.deepEqual(await answer("send-message", { room: "general", text: "hi" }), { ok: true });
          await browser.closeAll();
        },
        { cwd: dir, ports: { 8000: port } },
      ),
    );
  });
});
