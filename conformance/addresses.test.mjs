// Whom limits per address are for: clients with public addresses, which the
// PROXY protocol gives them here, with and without a proxy that is trusted.

import { after, afterEach, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { Caddy, globals } from "./lib/caddy.mjs";
import { client, closeAll, connected, connects } from "./lib/client.mjs";
import { Link } from "./lib/link.mjs";

const limit = { timeout: 60_000 };

const config = `${globals(`
	servers 127.0.0.1:{$PORT} {
		listener_wrappers {
			proxy_protocol {
				allow 127.0.0.1/32
			}
		}
	}
	servers 127.0.0.1:{$PROXIED} {
		listener_wrappers {
			proxy_protocol {
				allow 127.0.0.1/32
			}
		}
		trusted_proxies static 203.0.113.0/24
		trusted_proxies_strict
	}`)}
(site) {
	realtime {
		hub {args[0]}
		limits {
			connections_per_ip 5
		}
	}
}
http://127.0.0.1:{$PORT} {
	import site direct
}
http://127.0.0.1:{$PROXIED} {
	import site proxied
}
`;

let caddy;
const links = [];

before(async () => {
  caddy = await Caddy.start({ config, ports: ["PROXIED"] });
});

afterEach(() => {
  closeAll();
  for (const link of links.splice(0)) link.close();
});

after(() => caddy?.stop());

async function from(address, port = "PORT") {
  const link = await Link.to(caddy.ports[port], address);
  links.push(link);
  return link.url;
}

const transports = ["websocket", "polling"];
const options = (i, forwardedFor) => ({ transports: [transports[i % 2]], extraHeaders: forwardedFor && { "x-forwarded-for": forwardedFor } });

// refused checks that a client does not get in, and that this is passing.
async function refused(url, options) {
  const socket = client(url, options);
  await assert.rejects(connects(socket), /^Error: (websocket|xhr poll) error$/);
}

describe("limits per address", () => {
  test("a forged X-Forwarded-For makes nobody another address", limit, async () => {
    const url = await from("198.51.100.7");
    for (let i = 0; i < 5; i++) await connected(url, options(i, `192.0.2.${i}`));
    for (let i = 5; i < 15; i++) await refused(url, options(i, `192.0.2.${i}`));
    await refused(url, options(0, "127.0.0.1")); // nor exempt
    await connected(await from("198.51.100.8"), options(0, "198.51.100.7"));
  });

  test("of a trusted proxy, X-Forwarded-For says who it is: strictly, the last of its addresses", limit, async () => {
    const url = await from("203.0.113.1", "PROXIED");
    for (let i = 0; i < 5; i++) await connected(url, options(i, `192.0.2.${i}, 198.51.100.7`));
    for (let i = 5; i < 10; i++) await refused(url, options(i, `192.0.2.${i}, 198.51.100.7`));
    await connected(url, options(0, "198.51.100.8"));
    // Who is no proxy is not believed here, either.
    const stranger = await from("198.51.100.9", "PROXIED");
    for (let i = 0; i < 5; i++) await connected(stranger, options(i, `192.0.2.${i}`));
    await refused(stranger, options(0, "192.0.2.99"));
  });

  test("300 addresses of one IPv6 network of 64 bits are one", limit, async () => {
    const url = await from("203.0.113.1", "PROXIED");
    for (let i = 0; i < 5; i++) await connected(url, options(i, `2001:db8:0:1::${i}`));
    for (let i = 5; i < 300; i++) await refused(url, options(i, `2001:db8:0:1:${i.toString(16)}::1`));
    await connected(url, options(0, "2001:db8:0:2::1"));
    const direct = await from("2001:db8:0:1::1");
    await connected(direct, options(0));
  });
});
