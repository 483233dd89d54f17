// The benchmark's three events on Node's socket.io, as its manual shows them.
import { Server } from "socket.io";
import { createServer } from "node:http";

const http = createServer();
const io = new Server(http);

io.on("connection", (socket) => {
  socket.on("sub", (room, ack) => {
    socket.join(room);
    ack();
  });
  socket.on("pub", (message) => {
    socket.to(message.roomId).emit("msg", message);
  });
  socket.on("echo", (value, ack) => ack(value));
});

const [host, port] = (process.argv[2] ?? "127.0.0.1:3012").split(":");
http.listen({ host, port: Number(port), backlog: 4096 });
