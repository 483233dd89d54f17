// A raw Engine.IO v4 client for tests: one request or one frame at a time,
// with nothing done behind the test's back but answering heartbeats, and that
// only where `heartbeat` says so.

import { Agent, request as httpRequest } from "node:http";
import WebSocket from "ws";
import { Queue, within } from "./wait.mjs";

export const RS = "\x1e";

// request sends one HTTP request on a connection of its own and resolves to
// { status, headers, body }; `signal` cuts it.
export function request(url, { method = "GET", headers = {}, body, signal } = {}) {
  return within(
    new Promise((resolve, reject) => {
      const req = httpRequest(url, { method, headers, signal, agent: noKeepAlive }, (res) => {
        const chunks = [];
        res.on("data", (chunk) => chunks.push(chunk));
        res.on("end", () => resolve({ status: res.statusCode, headers: res.headers, body: Buffer.concat(chunks).toString() }));
        res.on("error", reject);
      });
      req.on("error", reject);
      req.end(body);
    }),
    `the answer to ${method} ${url}`,
  );
}

const noKeepAlive = new Agent({ keepAlive: false });

// halfPost begins a POST of `length` bytes and sends only `part` of it.
// `answer` resolves to the status, or to "cut" if there is none.
export function halfPost(url, part, length) {
  const req = httpRequest(url, {
    method: "POST",
    headers: { "content-type": "text/plain;charset=UTF-8", "content-length": length },
    agent: noKeepAlive,
  });
  const answer = new Promise((resolve) => {
    req.on("response", (res) => {
      res.resume();
      resolve(res.statusCode);
    });
    req.on("error", () => resolve("cut"));
    req.on("close", () => resolve("cut"));
  });
  const sent = new Promise((resolve) => req.write(part, resolve));
  return { answer, sent, destroy: () => req.destroy() };
}

// An Endpoint is an Engine.IO server's address, e.g.
// http://127.0.0.1:3000/engine.io/.
export class Endpoint {
  constructor(base) {
    this.base = base;
  }

  url(query) {
    const url = new URL(this.base);
    url.search = new URLSearchParams(query).toString();
    return url.toString();
  }

  get(query, options) {
    return request(this.url(query), options);
  }

  async poll(query = {}) {
    return Polling.open(this, query);
  }

  // upgrade tries to open a WebSocket: { ws } or { status, body }, or { error }
  // when the server cut the connection or wrote something that is no answer.
  upgrade(query, options = {}) {
    const url = this.url(query).replace(/^http/, "ws");
    const { protocols, ...rest } = options;
    const raw = new WebSocket(url, protocols ?? [], { perMessageDeflate: false, ...rest });
    const ws = new Wire(raw);
    return within(
      new Promise((resolve) => {
        raw.on("open", () => resolve({ ws }));
        raw.on("error", (error) => resolve({ error }));
        raw.on("unexpected-response", (_req, res) => {
          let body = "";
          res.on("data", (chunk) => (body += chunk));
          res.on("end", () => resolve({ status: res.statusCode, headers: res.headers, body }));
        });
      }),
      `the answer to an upgrade of ${url}`,
    );
  }

  // websocket opens a session on a WebSocket and takes its handshake.
  async websocket(query = {}, options = {}) {
    const { ws, ...refusal } = await this.upgrade({ EIO: "4", transport: "websocket", ...query }, options);
    if (!ws) throw new Error(`no WebSocket: ${JSON.stringify(refusal)}`);
    ws.handshake = openPacket(await ws.frame());
    return ws;
  }

  // gone tells whether the session no longer exists.
  async gone(sid) {
    const res = await this.get({ EIO: "4", transport: "polling", sid }, { method: "POST", body: "6" });
    return res.status === 400 && res.body === '{"code":1,"message":"Session ID unknown"}';
  }
}

export function openPacket(packet) {
  if (typeof packet !== "string" || packet[0] !== "0") throw new Error(`no open packet: ${packet}`);
  return JSON.parse(packet.slice(1));
}

// Polling is a session on the polling transport.
export class Polling {
  #waiting = []; // packets of a body that next() has not handed out

  static async open(endpoint, query) {
    const res = await endpoint.get({ EIO: "4", transport: "polling", ...query });
    if (res.status !== 200) throw new Error(`no handshake: ${res.status} ${res.body}`);
    const p = new Polling();
    p.endpoint = endpoint;
    p.handshake = openPacket(res.body);
    p.sid = p.handshake.sid;
    p.response = res;
    return p;
  }

  url(query = {}) {
    return this.endpoint.url({ EIO: "4", transport: "polling", sid: this.sid, ...query });
  }

  get(options) {
    return request(this.url(), options);
  }

  post(body, headers = {}) {
    return request(this.url(), {
      method: "POST",
      body,
      headers: { "content-type": "text/plain;charset=UTF-8", "content-length": Buffer.byteLength(body), ...headers },
    });
  }

  // next hands out the next packet, polling when none is left, and answers
  // pings on the way.
  async next() {
    for (;;) {
      while (this.#waiting.length === 0) {
        const res = await this.get();
        if (res.status !== 200) throw new Error(`poll answered ${res.status} ${res.body}`);
        this.#waiting = res.body.split(RS);
      }
      const packet = this.#waiting.shift();
      if (packet !== "2") return packet;
      await this.post("3");
    }
  }

  // pending counts the packets that came in and next has not handed out.
  get pending() {
    return this.#waiting.length;
  }

  send(packet) {
    return this.post(packet);
  }

  // upgraded takes the session to a WebSocket.
  async upgraded() {
    const { ws } = await this.endpoint.upgrade({ EIO: "4", transport: "websocket", sid: this.sid });
    ws.send("2probe");
    const packet = await ws.frame();
    if (packet !== "3probe") throw new Error(`the probe was answered ${packet}`);
    ws.send("5");
    return ws;
  }
}

// ends waits for the end of what upgrade resolves to: the connection may have
// been refused, cut, or opened and closed again.
export async function ends({ ws }) {
  if (ws) await ws.ended();
}

// Wire is a WebSocket whose frames one asks for. Text arrives as a string,
// binary as a Buffer.
export class Wire {
  #frames = new Queue();

  constructor(raw) {
    this.raw = raw;
    raw.on("message", (data, isBinary) => this.#frames.put(isBinary ? data : data.toString()));
    // closed resolves to the close code; 1005 is an empty close frame, 1006 none.
    this.closed = new Promise((resolve) => raw.on("close", resolve));
    this.closed.then((code) => this.#frames.end(new Error(`the WebSocket was closed with ${code}`)));
    raw.on("error", () => {}); // "close" follows
  }

  frame() {
    return this.#frames.next("a WebSocket frame");
  }

  // next is frame, answering pings on the way.
  async next() {
    for (;;) {
      const frame = await this.frame();
      if (frame !== "2") return frame;
      this.send("3");
    }
  }

  send(data, options) {
    this.raw.send(data, options ?? {});
  }

  // ended resolves to the close code.
  ended() {
    return within(this.closed, "the WebSocket's end");
  }

  destroy() {
    this.raw.terminate();
  }
}
