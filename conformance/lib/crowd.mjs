// Many cheap clients: Socket.IO spoken by hand over `ws`, one object and one
// socket each, so that one process can hold ten thousand.

import { Agent, request as httpRequest } from "node:http";
import WebSocket from "ws";
import { RS } from "./engine.mjs";

const opened = new Set();

// disperse closes all members that are open, so that none keeps a failed test
// from ending.
export function disperse() {
  for (const m of opened) m.close();
}

// A Member counts what it gets; `onEvent(member, name, args)` may do more.
export class Member {
  heard = 0;
  disconnects = 0;
  acks = new Map();
  #nextAck = 0;

  constructor(onEvent) {
    this.onEvent = onEvent;
    opened.add(this);
  }

  // packet takes one Engine.IO packet; resolves this.joined at CONNECT.
  packet(data) {
    if (data === "2") this.write("3");
    else if (data[0] === "0") this.write("40");
    else if (data.startsWith("40")) this.greet?.();
    else if (data.startsWith("43")) {
      const start = data.indexOf("[");
      const id = Number(data.slice(2, start));
      this.acks.get(id)?.(JSON.parse(data.slice(start)));
      this.acks.delete(id);
    } else if (data.startsWith("42")) {
      this.heard++;
      if (this.onEvent) {
        const [name, ...args] = JSON.parse(data.slice(2));
        this.onEvent(this, name, args);
      }
    } else if (data.startsWith("41") || data.startsWith("44")) this.refused = data;
  }

  emit(...event) {
    this.write("42" + JSON.stringify(event));
  }

  call(...event) {
    const id = this.#nextAck++;
    this.write(`42${id}` + JSON.stringify(event));
    return new Promise((resolve) => this.acks.set(id, resolve));
  }
}

export class WebSocketMember extends Member {
  static open(url, onEvent) {
    const m = new WebSocketMember(onEvent);
    return new Promise((resolve, reject) => {
      m.greet = () => resolve(m);
      m.ws = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: false });
      m.ws.on("message", (data, binary) => binary || m.packet(data.toString()));
      m.ws.on("error", reject);
      m.ws.on("close", () => {
        m.disconnects++;
        reject(new Error("closed before CONNECT"));
      });
    });
  }

  write(packet) {
    this.ws.send(packet);
  }

  close() {
    opened.delete(this);
    this.ws.removeAllListeners("close");
    this.ws.terminate();
  }
}

const agent = new Agent({ keepAlive: true, maxSockets: Infinity });

// A PollingMember reconnects when a request fails, and counts that.
export class PollingMember extends Member {
  #outgoing = [];
  #posting = false;

  static open(url, onEvent, onConnect) {
    const m = new PollingMember(onEvent);
    m.base = `${url}/socket.io/?EIO=4&transport=polling`;
    return new Promise((resolve) => {
      m.greet = () => {
        onConnect?.(m);
        resolve(m);
      };
      m.#run();
    });
  }

  write(packet) {
    this.#outgoing.push(packet);
    this.#post();
  }

  async #post() {
    if (this.#posting || !this.sid) return;
    this.#posting = true;
    const sid = this.sid;
    try {
      while (this.#outgoing.length > 0 && this.sid === sid) await this.#request("POST", this.#outgoing.splice(0).join(RS));
    } catch {
      this.sid = undefined; // the poll fails too, and begins again
    } finally {
      this.#posting = false;
    }
  }

  async #run() {
    while (!this.closed) {
      try {
        if (!this.sid) {
          this.#outgoing = [];
          const [open] = await this.#request("GET");
          this.sid = JSON.parse(open.slice(1)).sid;
          this.write("40");
        }
        for (const packet of await this.#request("GET")) {
          if (packet === "1") throw new Error("closed");
          this.packet(packet);
        }
      } catch {
        if (this.closed) return;
        this.disconnects++;
        this.sid = undefined;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  // A kept connection that the server closes just then is what happens at a
  // reload; like a browser, ask once more on a new one.
  #request(method, body, again = true) {
    return new Promise((resolve, reject) => {
      const url = this.sid ? `${this.base}&sid=${this.sid}` : this.base;
      const req = httpRequest(url, { method, agent: again ? agent : false, headers: body ? { "content-length": Buffer.byteLength(body) } : {} }, (res) => {
        let text = "";
        res.setEncoding("utf8");
        res.on("data", (chunk) => (text += chunk));
        res.on("error", reject);
        res.on("end", () => (res.statusCode === 200 ? resolve(text.split(RS)) : reject(new Error(`${res.statusCode} ${text}`))));
      });
      this.polling = req;
      req.on("error", (error) => {
        if (again && req.reusedSocket && error.code === "ECONNRESET" && !this.closed) resolve(this.#request(method, body, false));
        else reject(error);
      });
      req.end(body);
    });
  }

  close() {
    opened.delete(this);
    this.closed = true;
    this.polling?.destroy();
  }
}

// inBatches opens n members, `atOnce` at a time.
export async function inBatches(n, atOnce, open) {
  const all = [];
  while (all.length < n) {
    all.push(...(await Promise.all(Array.from({ length: Math.min(atOnce, n - all.length) }, (_, i) => open(all.length + i)))));
  }
  return all;
}
