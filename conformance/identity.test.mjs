// Who clients are, as the stock client and plain WebSockets experience it: keys
// of every kind, key sets that change and fail, tokens from every place, and
// users whom a handler in front knows.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { constants, createHmac, generateKeyPairSync, sign } from "node:crypto";
import { createServer } from "node:http";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";
import { Caddy, globals } from "./lib/caddy.mjs";
import { call, client, closeAll, connected, connects, heard, next } from "./lib/client.mjs";
import { request } from "./lib/engine.mjs";
import { inSeconds, secret } from "./lib/jwt.mjs";
import { until, within } from "./lib/wait.mjs";

const limit = { timeout: 60_000 };
const websocket = { transports: ["websocket"] };
const polling = { transports: ["polling"] };

// ann's password is wonderland.
const config = `${globals(`
	log {
		level DEBUG
	}`)}

(rules) {
	on me {
		ack user
	}
	on handshake {
		ack socket.handshake
	}
}

http://127.0.0.1:{$PORT} {
	log
	realtime {
		hub pem
		auth jwt {
			public_key {env.ISSUER_PEM}
			issuer     https://login.example.com
			audience   chat
		}
		import rules
		namespace /kept {
			auth jwt {
				public_key {env.ISSUER_PEM}
				on_expiry  keep
			}
			import rules
		}
	}
}

http://127.0.0.1:{$SET} {
	log
	realtime {
		hub set
		auth jwt {
			jwks http://127.0.0.1:{$ISSUER}/keys
		}
		import rules
	}
}

http://127.0.0.1:{$SOURCES} {
	log
	realtime {
		hub sources
		auth jwt {
			secret "${secret}"
			from   query.access cookie.session protocol
		}
		import rules
	}
}

http://127.0.0.1:{$FEW} {
	log
	realtime {
		hub few
		limits {
			connections_per_user 1
		}
		auth jwt {
			secret "${secret}"
		}
		import rules
		namespace /one {
			limits {
				connections_per_user 1
			}
			auth jwt {
				secret "${secret}"
			}
			import rules
		}
	}
}

http://127.0.0.1:{$FRONT} {
	log
	basic_auth {
		ann $2a$04$ElRo86DLbrBnJMga7P0dcesnco39iLf3l7//v65J6kGVJPw84V.YO
	}
	realtime {
		hub front
		auth caddy
		import rules
	}
}
`;

const kinds = {
  RS256: { make: () => generateKeyPairSync("rsa", { modulusLength: 2048 }), hash: "sha256" },
  PS256: { make: () => generateKeyPairSync("rsa", { modulusLength: 2048 }), hash: "sha256", padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
  ES256: { make: () => generateKeyPairSync("ec", { namedCurve: "P-256" }), hash: "sha256", dsaEncoding: "ieee-p1363" },
  ES384: { make: () => generateKeyPairSync("ec", { namedCurve: "P-384" }), hash: "sha384", dsaEncoding: "ieee-p1363" },
  EdDSA: { make: () => generateKeyPairSync("ed25519"), hash: null },
};

// A Key signs tokens of one algorithm.
class Key {
  constructor(alg, kid = alg) {
    Object.assign(this, { alg, kid, ...kinds[alg], ...kinds[alg].make() });
  }

  token(claims, header = {}) {
    const text = unsigned({ alg: this.alg, kid: this.kid, ...header }, claims);
    const { privateKey: key, padding, saltLength, dsaEncoding } = this;
    return `${text}.${sign(this.hash, text, { key, padding, saltLength, dsaEncoding }).toString("base64url")}`;
  }

  get jwk() {
    return { ...this.publicKey.export({ format: "jwk" }), kid: this.kid, use: "sig" };
  }

  get pem() {
    return this.publicKey.export({ format: "pem", type: "spki" });
  }
}

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const unsigned = (header, claims) => `${base64url({ typ: "JWT", ...header })}.${base64url({ exp: inSeconds(3600), ...claims })}`;

function hmac(claims, key = secret, header = {}) {
  const text = unsigned({ alg: "HS256", ...header }, claims);
  return `${text}.${createHmac("sha256", key).update(text).digest("base64url")}`;
}

// issuer publishes `keys`, or answers 503 while it is down.
const issuer = { keys: [], down: false, asked: 0 };
const server = createServer((request, response) => {
  issuer.asked++;
  response.writeHead(issuer.down ? 503 : 200, { "content-type": "application/json" });
  response.end(issuer.down ? "" : JSON.stringify({ keys: issuer.keys.map((key) => key.jwk) }));
});

const pemKey = new Key("RS256", "pem");
const firstKeys = Object.keys(kinds).map((alg) => new Key(alg));
const ours = { iss: "https://login.example.com", aud: ["web", "chat"] };

let caddy;
let urls;
let dir;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), "realtime-identity-"));
  await writeFile(join(dir, "issuer.pem"), pemKey.pem);
  issuer.keys = firstKeys;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  caddy = await Caddy.start({
    config,
    ports: ["SET", "SOURCES", "FEW", "FRONT"],
    env: { ISSUER_PEM: join(dir, "issuer.pem"), ISSUER: server.address().port },
  });
  urls = Object.fromEntries(Object.entries(caddy.ports).map(([name, port]) => [name, `http://127.0.0.1:${port}`]));
});

afterEach(closeAll);

after(async () => {
  await caddy?.stop();
  server.close();
  await rm(dir, { recursive: true, force: true });
});

const me = async (socket) => (await call(socket, "me"))?.id;
const enter = (url, token, more = websocket) => connected(url, { ...more, auth: { token } });

// refused checks that the stock client gives up for good.
async function refused(url, options, message) {
  const socket = client(url, { ...options, reconnection: true, reconnectionDelay: 10 });
  await assert.rejects(connects(socket), { message });
  assert.equal(socket.active, false, "the client tries again");
}

describe("a public key in a file", () => {
  for (const [name, transport] of Object.entries({ websocket, polling })) {
    test(`token authentication over ${name}: RS256`, limit, async () => {
      assert.equal(await me(await enter(urls.PORT, pemKey.token({ ...ours, sub: "ann" }), transport)), "ann");
    });

    test(`token authentication over ${name}: no token and bad tokens have their messages`, limit, async () => {
      await refused(urls.PORT, { ...transport }, "Authentication error");
      await refused(urls.PORT, { ...transport, auth: {} }, "Authentication error");
      await refused(urls.PORT, { ...transport, auth: { token: "x.y.z" } }, "Invalid token");
    });
  }

  test("a bearer token in the header", limit, async () => {
    const extraHeaders = { authorization: `Bearer ${pemKey.token({ ...ours, sub: "bob" })}` };
    assert.equal(await me(await connected(urls.PORT, { ...websocket, extraHeaders })), "bob");
  });

  test("on_expiry keep: who is in stays, and comes in no more", limit, async () => {
    const token = pemKey.token({ ...ours, sub: "ann", exp: inSeconds(4) });
    const kept = await enter(`${urls.PORT}/kept`, token);
    const told = heard(kept, "token-expired");
    const other = await enter(urls.PORT, token);
    await next(other, "token-expired");
    assert.equal(await me(kept), "ann");
    assert.deepEqual(told, []);
    await refused(`${urls.PORT}/kept`, { ...websocket, auth: { token } }, "Invalid token");
  });

  test("integers are ids, `id` serves for `sub`, and a date may be far away", limit, async () => {
    const ids = {
      7: { sub: 7 },
      8: { id: 8 },
      ann: { id: "ann" },
      far: { sub: "far", exp: 2 ** 63 },
    };
    for (const [id, claims] of Object.entries(ids)) {
      const socket = await enter(urls.PORT, pemKey.token({ ...ours, ...claims }));
      assert.deepEqual(await me(socket), id);
    }
  });

  test("forged tokens", limit, async () => {
    const good = { ...ours, sub: "ann" };
    const forgeries = {
      "none": `${unsigned({ alg: "none" }, good)}.`,
      "HS256 with the public key as secret": hmac(good, pemKey.pem),
      "HS256 with the trimmed public key": hmac(good, pemKey.pem.trim()),
      "HS256 called RS256": hmac(good, pemKey.pem, { alg: "RS256" }),
      "another key": new Key("RS256", "pem").token(good),
      "another kind of key": new Key("ES256", "pem").token(good),
      "its own key in jwk": new Key("RS256").token(good, { jwk: new Key("RS256").jwk }),
      "its own key at jku": pemKey.token(good, { jku: "https://evil.example/keys" }),
      "expired": pemKey.token({ ...good, exp: inSeconds(-1) }),
      "not yet valid": pemKey.token({ ...good, nbf: inSeconds(60) }),
      "another audience": pemKey.token({ ...good, aud: "billing" }),
      "another issuer": pemKey.token({ ...good, iss: "https://login.example.org" }),
      "a fraction as sub": pemKey.token({ ...good, sub: 7.5 }),
      "exp as a string": pemKey.token({ ...good, exp: String(inSeconds(3600)) }),
      "nbf as a string": pemKey.token({ ...good, nbf: "0" }),
      "a line break behind it": `${pemKey.token(good)}\n`,
      "no sub": pemKey.token(ours),
    };
    for (const [what, token] of Object.entries(forgeries)) {
      await assert.rejects(enter(urls.PORT, token), { message: "Invalid token" }, what);
    }
    assert.equal(await me(await enter(urls.PORT, pemKey.token(good))), "ann");
  });
});

describe("a key set", () => {
  test("a key of each kind", limit, async () => {
    for (const key of firstKeys) assert.equal(await me(await enter(urls.SET, key.token({ sub: key.alg }))), key.alg);
  });

  test("keys rotate while clients are connected; an unreachable issuer is no verdict", { timeout: 120_000 }, async () => {
    const old = firstKeys[0];
    const early = await enter(urls.SET, old.token({ sub: "early" }));
    const rotated = new Key("ES256", "next");
    const asked = issuer.asked;

    issuer.keys = [rotated];
    assert.equal(await me(await enter(urls.SET, rotated.token({ sub: "bob" }))), "bob");
    assert.equal(issuer.asked, asked + 1);
    await assert.rejects(enter(urls.SET, old.token({ sub: "late" })), { message: "Invalid token" });
    assert.equal(await me(early), "early");

    // A flood of unknown keys asks the issuer for nothing more.
    const unknown = Array.from({ length: 50 }, (_, i) => new Key("ES256", `unknown-${i}`).token({ sub: "eve" }));
    await Promise.all(unknown.map((token) => assert.rejects(enter(urls.SET, token), { message: "Invalid token" })));
    assert.equal(issuer.asked, asked + 1);

    issuer.down = true;
    assert.equal(await me(await enter(urls.SET, rotated.token({ sub: "ann" }))), "ann", "the known key stays good");

    // Caddy restarts while the issuer is down: nobody is refused, all get in
    // once it is back.
    await caddy.kill();
    await caddy.boot();
    const waiting = client(urls.SET, { ...websocket, auth: { token: rotated.token({ sub: "cid" }) }, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
    const errors = [];
    waiting.on("connect_error", (error) => errors.push(error.message));
    // The transport opens each time, which resets the client's backoff: the
    // server makes the pause.
    const lives = [];
    let opened;
    waiting.io.on("open", () => (opened = performance.now()));
    waiting.io.on("close", () => lives.push(performance.now() - opened));
    await until(() => lives.length > 2, "attempts while the issuer is down", 30_000);
    assert.deepEqual(errors, []);
    for (const ms of lives) assert.ok(ms > 1900, `closed after ${ms} ms`);
    issuer.down = false;
    await within(once(waiting, "connect"), "the connection once the issuer is back", 20_000);
    assert.equal(await me(waiting), "cid");
  });
});

describe("where tokens come from", () => {
  const token = () => hmac({ sub: "ann" });
  const anywhere = {
    "the query": () => ({ query: { access: token() } }),
    "a cookie": () => ({ extraHeaders: { cookie: `theme=dark; session=${token()}` } }),
    "the subprotocol": () => ({ protocols: ["realtime.v1", `bearer.${token()}`] }),
  };
  const used = [];

  for (const [place, make] of Object.entries(anywhere)) {
    test(place, limit, async () => {
      for (const transport of place === "the subprotocol" ? [websocket] : [websocket, polling, {}]) {
        const options = make();
        const socket = await connected(urls.SOURCES, { ...transport, ...options });
        assert.equal(await me(socket), "ann");
        const [text] = /eyJ[\w-]+\.[\w-]+\.[\w-]+/.exec(JSON.stringify(options));
        used.push(text);
        assert.ok(!JSON.stringify(await call(socket, "handshake")).includes(text), "the handshake shows the token");
      }
    });

    test(`${place}, plain`, limit, async () => {
      const { query = {}, extraHeaders: headers, protocols = [] } = make();
      const url = `${urls.SOURCES.replace("http", "ws")}/socket.io/?${new URLSearchParams(query)}`;
      const ws = new WebSocket(url, protocols, { headers });
      const [data] = await within(once(ws, "message"), "the open frame");
      assert.equal(JSON.parse(data).open.user.id, "ann");
      assert.equal(ws.protocol, protocols[0] ?? "");
      ws.close();
    });
  }

  test("a query key that contains sid names no session", limit, async () => {
    for (const transport of [websocket, polling, {}]) {
      const socket = await connected(urls.SOURCES, { ...transport, query: { access: token(), mysid: "1", "x[sid]": "2" } });
      assert.equal(await me(socket), "ann");
    }
  });

  test("an app's own subprotocol is selected, before or behind the token", limit, async () => {
    for (const protocols of [["my-app", `bearer.${token()}`], [`bearer.${token()}`, "my-app"]]) {
      const socket = await connected(urls.SOURCES, { ...websocket, protocols });
      assert.equal(await me(socket), "ann");
      assert.equal(socket.io.engine.transport.ws.protocol, "my-app");
      const ws = new WebSocket(`${urls.SOURCES.replace("http", "ws")}/socket.io/`, protocols);
      await within(once(ws, "open"), "the plain WebSocket");
      assert.equal(ws.protocol, "my-app");
      ws.close();
    }
    const anonymous = new WebSocket(`${urls.SOURCES.replace("http", "ws")}/socket.io/`, ["my-app"]);
    await within(once(anonymous, "open"), "the plain WebSocket");
    assert.equal(anonymous.protocol, "my-app");
    anonymous.close();
  });

  test("bad ones, and places that are none", limit, async () => {
    await refused(urls.SOURCES, { ...websocket, query: { access: "x.y.z" } }, "Invalid token");
    await refused(urls.SOURCES, { ...websocket, query: { token: token() } }, "Authentication error");
    await refused(urls.SOURCES, { ...websocket, auth: { token: token() } }, "Authentication error");
    await refused(urls.SOURCES, { ...websocket, extraHeaders: { cookie: `Session=${token()}` } }, "Authentication error");
  });

  test("no log has any", limit, async () => {
    assert.ok(used.length > 0);
    await request(`${urls.SOURCES}/somewhere-else`); // is logged: the log works
    await until(() => caddy.log.includes("/somewhere-else"), "the access log");
    for (const text of used) assert.ok(!caddy.log.includes(text), "the log has a token");
  });
});

describe("too many connections of a user", () => {
  const ann = () => ({ ...websocket, auth: { token: hmac({ sub: "ann" }) } });

  // rejected checks that the stock client is told, and gives up.
  async function rejected(url) {
    const second = client(url, { ...ann(), reconnection: true, reconnectionDelay: 10 });
    const opens = heard(second.io, "open");
    const [error] = await next(second, "connect_error");
    assert.equal(error.message, "Too many connections");
    assert.deepEqual(error.data, { code: "LIMIT" });
    assert.equal(second.active, false, "the client tries again");
    assert.equal(opens.length, 1);
  }

  for (const path of ["", "/one"]) {
    test(`in the namespace ${path || "/"}`, limit, async () => {
      const first = await connected(urls.FEW + path, ann());
      await rejected(urls.FEW + path);
      assert.equal(await me(first), "ann");
      first.disconnect();
      await until(async () => {
        const again = client(urls.FEW + path, ann());
        return connects(again).then(() => again.disconnect(), () => false);
      }, "room for another connection");
    });
  }
});

describe("a user whom a handler in front knows", () => {
  const basic = (user, password) => ({ extraHeaders: { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` } });

  for (const [name, transport] of Object.entries({ websocket, polling })) {
    test(`over ${name}`, limit, async () => {
      assert.equal(await me(await connected(urls.FRONT, { ...transport, ...basic("ann", "wonderland") })), "ann");
    });
  }

  test("a wrong password does not get as far", limit, async () => {
    for (const options of [basic("ann", "x"), {}]) {
      await assert.rejects(connected(urls.FRONT, { ...polling, ...options }), { message: "xhr poll error" });
    }
  });
});
