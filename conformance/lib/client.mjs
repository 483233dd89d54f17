// The real socket.io-client, with promises for tests.

import { io } from "socket.io-client";
import { within } from "./wait.mjs";

const opened = new Set();

// client makes a socket of its own connection. It connects at once.
export function client(url, options = {}) {
  const socket = io(url, { forceNew: true, reconnection: false, timeout: 10_000, ...options });
  opened.add(socket);
  return socket;
}

// connected is client, once it is.
export async function connected(url, options) {
  const socket = client(url, options);
  socket.greeting = heard(socket, "auth");
  await connects(socket);
  return socket;
}

export function connects(socket) {
  return within(
    new Promise((resolve, reject) => {
      if (socket.connected) return resolve();
      socket.once("connect", resolve);
      socket.once("connect_error", reject);
    }),
    "connect",
  );
}

// next resolves to the arguments of the socket's next event of that name.
export function next(emitter, event) {
  return within(new Promise((resolve) => emitter.once(event, (...args) => resolve(args))), `the event ${event}`);
}

// heard collects the arguments of all events of that name from now on.
export function heard(emitter, event) {
  const all = [];
  emitter.on(event, (...args) => all.push(args));
  return all;
}

export const call = (socket, ...args) => socket.timeout(15_000).emitWithAck(...args);

export function closeAll() {
  for (const socket of opened) {
    socket.removeAllListeners();
    socket.disconnect();
    socket.io.engine?.close();
  }
  opened.clear();
}
