// The network between a client and a server, which can fail.

import { connect, createServer } from "node:net";
import { once } from "node:events";

// A Link passes on what comes to its own port. `from` is the address that the
// server is told the clients have (PROXY protocol, version 1).
export class Link {
  #up = true;
  #sockets = new Set();
  #losing;
  #passing;
  #preface = "";

  static async to(port, from) {
    const link = new Link();
    if (from) link.#preface = `PROXY TCP${from.includes(":") ? 6 : 4} ${from} ${from.includes(":") ? "::1" : "127.0.0.1"} 1000 ${port}\r\n`;
    link.server = createServer((client) => link.#join(client, connect(port, "127.0.0.1")));
    link.server.listen(0, "127.0.0.1");
    await once(link.server, "listening");
    link.url = `http://127.0.0.1:${link.server.address().port}`;
    return link;
  }

  #join(client, server) {
    for (const [socket, other] of [[client, server], [server, client]]) {
      this.#sockets.add(socket);
      socket.on("error", () => {}); // "close" follows
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    if (!this.#up) {
      client.destroy();
      return;
    }
    if (this.#preface) server.write(this.#preface);
    client.pipe(server);
    server.on("data", (chunk) => {
      if (this.#losing && chunk.includes(this.#losing.text)) this.#lose();
      else if (this.#passing) this.#pass(client, chunk);
      else client.write(chunk);
    });
  }

  #lose() {
    const { resolve } = this.#losing;
    this.#losing = undefined;
    this.down();
    resolve();
  }

  #pass(client, chunk) {
    const { resolve, left } = this.#passing;
    client.write(chunk.subarray(0, left));
    this.#passing.left -= chunk.length;
    if (this.#passing.left > 0) return;
    this.#passing = undefined;
    this.#up = false;
    client.once("close", resolve);
    client.end(); // what was passed on arrives
    for (const socket of this.#sockets) if (socket !== client) socket.destroySoon();
  }

  // pass resolves when the server has sent that many bytes more: they have
  // arrived, and the link is down.
  pass(bytes) {
    return new Promise((resolve) => (this.#passing = { resolve, left: bytes }));
  }

  // lose resolves when the server has sent something with that text: it does
  // not arrive, the link is down.
  lose(text) {
    return new Promise((resolve) => (this.#losing = { text, resolve }));
  }

  // down cuts what is connected, and refuses what would like to.
  down() {
    this.#up = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  up() {
    this.#up = true;
  }

  close() {
    this.down();
    this.server.close();
  }
}
