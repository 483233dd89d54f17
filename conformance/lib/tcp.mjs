// Bytes to a port, as only an attacker sends them.

import { connect } from "node:net";
import { randomBytes } from "node:crypto";

// throwAt sends chunks over one connection and resolves to what came back
// when the server ended the connection, or after `patience` ms. With `wait` it
// sends the second chunk only when the first was answered.
export function throwAt(port, chunks, { patience = 2000, wait = false } = {}) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let answer = Buffer.alloc(0);
    let done = false;
    const finish = () => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      socket.destroy();
      resolve(answer.toString("latin1"));
    };
    const timer = setTimeout(finish, patience);
    socket.on("data", (data) => {
      if (answer.length < 100_000) answer = Buffer.concat([answer, data]);
    });
    socket.on("error", finish);
    socket.on("close", finish);
    socket.on("end", finish);
    socket.on("connect", async () => {
      for (const [i, chunk] of chunks.entries()) {
        if (wait && i === 1 && answer.length === 0) await new Promise((on) => socket.once("data", on).once("close", on));
        if (done) return;
        if (!socket.write(chunk)) await new Promise((on) => socket.once("drain", on).once("close", on));
      }
    });
  });
}

// upgradeRequest opens a WebSocket session by hand, for frames that no
// library would send.
export function upgradeRequest(port, path = "/socket.io/?EIO=4&transport=websocket", more = "") {
  return (
    `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n${more}\r\n`
  );
}

// frame is one masked WebSocket frame; `announced` may lie about the length.
export function frame(opcode, payload, { fin = true, reserved = 0, masked = true, announced = payload.length } = {}) {
  const data = Buffer.from(payload);
  const head = [(fin ? 0x80 : 0) | (reserved << 4) | opcode];
  const bit = masked ? 0x80 : 0;
  const length = BigInt(announced);
  if (length < 126n) head.push(bit | Number(length));
  else if (length < 65_536n) head.push(bit | 126, Number(length) >> 8, Number(length) & 255);
  else {
    const eight = Buffer.alloc(8);
    eight.writeBigUInt64BE(length);
    head.push(bit | 127, ...eight);
  }
  const mask = masked ? randomBytes(4) : Buffer.alloc(0);
  if (masked) for (let i = 0; i < data.length; i++) data[i] ^= mask[i & 3];
  return Buffer.concat([Buffer.from(head), mask, data]);
}

// A random number generator whose seed can be told, so that a finding can be
// found again.
export function random(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
