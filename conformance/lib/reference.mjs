// Node's own servers, so that the suites themselves can be checked:
//
//   node lib/reference.mjs engine   <port> <ping interval> <ping timeout>
//   node lib/reference.mjs socketio <port> <port with fast pings>
//
// The second does by hand what socketio.Caddyfile says in rules.

import { createServer } from "node:http";
import { Server as Engine } from "engine.io";
import { Server as SocketIO } from "socket.io";

const [kind, ...numbers] = process.argv.slice(2);
const [first, second, third] = numbers.map(Number);

function engine(port, pingInterval, pingTimeout) {
  const server = createServer();
  const eio = new Engine({ pingInterval, pingTimeout, maxHttpBufferSize: 1e6 });
  eio.attach(server);
  eio.on("connection", (session) => session.on("message", (data) => session.send(data)));
  server.listen(port, "127.0.0.1");
}

const reserved = new Set(["error", "token-expired"]);

// rules binds handlers to a namespace as our rules are bound: unknown events
// are refused and every ack is answered.
function rules(namespace, { connect, disconnect, ...events }) {
  namespace.on("connection", (socket) => {
    connect?.(socket);
    socket.on("disconnect", (reason) => disconnect?.(socket, reason));
    socket.onAny((name, ...args) => {
      const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
      const refuse = (code, message) =>
        ack ? ack({ error: message, code }) : socket.emit("error", { code, message, event: name });
      const handler = reserved.has(name) ? undefined : events[name];
      if (!handler) return refuse("UNKNOWN_EVENT", "Unknown event");
      const call = { socket, args, data: args[0], ack: (...answer) => ack?.(...answer), refuse };
      Promise.resolve(handler(call)).then((ends) => ends ?? ack?.());
    });
  });
}

const suite = {
  connect: (socket) => socket.emit("auth", socket.handshake.auth),
  message: ({ socket, args }) => void socket.emit("message-back", ...args),
  "message-with-ack": ({ args, ack }) => void ack(...args),
};

const silent = true; // what a handler returns whose rule ends with `ignore`

async function ask({ socket, data, ack, refuse }, timeout) {
  try {
    ack(await socket.timeout(timeout).emitWithAck("question", data));
  } catch {
    refuse("TIMEOUT", "Timeout");
  }
  return silent;
}

function socketio(port, options) {
  const server = createServer();
  const io = new SocketIO(server, options);

  rules(io.of("/"), {
    ...suite,
    disconnect: (socket, reason) => io.to("watchers").emit("left", { id: socket.id, reason }),
    join: ({ socket, data }) => void socket.join(data),
    leave: ({ socket, data }) => void socket.leave(data),
    rooms: ({ socket, ack }) => void ack([...socket.rooms]),
    say: ({ socket, args: [to, what] }) => void socket.to(to).emit("said", what),
    tell: ({ args: [to, what] }) => void io.to(to).emit("said", what),
    "say-except": ({ socket, args: [to, except, what] }) => void socket.to(to).except(except).emit("said", what),
    "say-all": ({ socket, data }) => void socket.broadcast.emit("said", data),
    "tell-all": ({ data }) => void io.emit("said", data),
    whisper: ({ socket, args: [id, what] }) => void socket.to(id).emit("said", what),
    tick: ({ socket, args }) => void socket.volatile.emit("tick", ...args),
    relay: ({ socket, args }) => void socket.broadcast.emit("relay", ...args),
    question: (call) => ask(call, 10_000),
    "short-question": (call) => ask(call, 100),
    remember: ({ socket, data }) => void (socket.data.note = data),
    recall: ({ socket, ack }) => void ack(socket.data.note),
    stubborn: ({ socket, ack }) => {
      socket.data.tries = (socket.data.tries ?? 0) + 1;
      if (socket.data.tries < 3) return silent;
      ack(socket.data.tries);
    },
    checked: ({ data, ack, refuse }) => {
      if (typeof data?.text !== "string" || data.text === "") return refuse("INVALID", "Text required"), silent;
      ack("fine");
    },
    guarded: ({ refuse }) => (refuse("FORBIDDEN", "Not yours"), silent),
    nothing: () => {},
    kick: ({ socket }) => (socket.disconnect(), silent),
    "kick-all": ({ socket }) => (socket.disconnect(true), silent),
    "say hello": ({ ack }) => void ack("hello"),
  });

  rules(io.of("/custom"), suite);

  const members = io.of("/members").use((socket, next) =>
    socket.handshake.auth.key === "let me in" ? next() : next(new Error("Not authorized")),
  );
  rules(members, { connect: (socket) => socket.emit("welcome", socket.handshake.auth.name) });

  rules(io.of(/^\/room-\d+$/), {
    whoami: ({ socket, ack }) => void ack(socket.nsp.name),
    "tell-all": ({ socket, data }) => void socket.nsp.emit("said", data),
  });

  server.listen(port, "127.0.0.1");
}

if (kind === "engine") engine(first, second, third);
else {
  socketio(first, {});
  socketio(second, { pingInterval: 300, pingTimeout: 200, connectTimeout: 1000 });
}
