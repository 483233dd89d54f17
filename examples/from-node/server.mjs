// A Socket.IO server on Node as many sites run it: users with tokens, rooms,
// acknowledgements, private messages, presence, and a namespace for admins.
// The Caddyfile in this directory does the same without it.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, {
  pingInterval: 20_000,
  maxHttpBufferSize: 100_000,
  cors: { origin: "https://app.example.com", credentials: true },
});

// Who is it?
function authenticate(socket, next) {
  try {
    const claims = jwt.verify(socket.handshake.auth.token, process.env.JWT_SECRET, { algorithms: ["HS256"] });
    socket.data.user = { ...claims, id: claims.sub };
    next();
  } catch {
    next(new Error(socket.handshake.auth.token ? "Invalid token" : "Authentication error"));
  }
}
io.use(authenticate);

// Which users are online, and with how many sockets?
const online = new Map();

function arrive(id) {
  online.set(id, (online.get(id) ?? 0) + 1);
  if (online.get(id) === 1) announce();
}

function depart(id) {
  online.set(id, online.get(id) - 1);
  if (online.get(id) > 0) return;
  online.delete(id);
  announce();
}

function announce() {
  io.emit("online-users", [...online.keys()].sort());
}

const validRoom = (room) => typeof room === "string" && /^[a-z0-9-]{1,40}$/.test(room);
const validText = (text) => typeof text === "string" && text.length > 0 && text.length <= 2000;

io.on("connection", (socket) => {
  const { user } = socket.data;
  socket.join(`user:${user.id}`);
  socket.emit("welcome", { id: user.id, name: user.name });
  socket.emit("online-users", [...online.keys()].sort());
  arrive(user.id);

  socket.on("join", (room, ack) => {
    if (!validRoom(room)) return ack({ error: "Room not allowed" });
    socket.join(room);
    socket.to(room).emit("joined", { room, user: user.id });
    ack({ ok: true });
  });

  socket.on("leave", (room, ack) => {
    socket.leave(room);
    socket.to(room).emit("left", { room, user: user.id });
    ack({ ok: true });
  });

  socket.on("message", ({ room, text }, ack) => {
    if (!socket.rooms.has(room)) return ack({ error: "Not in this room" });
    if (!validText(text)) return ack({ error: "Text required" });
    const message = { id: randomUUID(), room, text, from: user.id, at: Date.now() };
    io.to(room).emit("message", message);
    ack({ ok: true, id: message.id });
  });

  socket.on("private", ({ to, text }, ack) => {
    if (!validText(text)) return ack({ error: "Text required" });
    if (!online.has(to)) return ack({ error: "Not online" });
    io.to(`user:${to}`).to(`user:${user.id}`).emit("private", { from: user.id, to, text, at: Date.now() });
    ack({ ok: true });
  });

  socket.on("cursor", (position) => {
    socket.volatile.broadcast.emit("cursor", { user: user.id, ...position });
  });

  socket.on("disconnecting", () => {
    socket.to([...socket.rooms]).emit("left", { user: user.id });
  });

  socket.on("disconnect", () => depart(user.id));
});

// Admins have a namespace of their own.
const admin = io.of("/admin");
admin.use(authenticate);
admin.use((socket, next) => {
  next(socket.data.user.role === "admin" ? undefined : new Error("Admins only"));
});

admin.on("connection", (socket) => {
  socket.on("announce", (text, ack) => {
    if (!validText(text)) return ack({ error: "Text required" });
    io.emit("announcement", { text, by: socket.data.user.id });
    ack({ ok: true });
  });

  socket.on("note", (text) => admin.emit("note", { text, by: socket.data.user.id }));
});

http.listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
