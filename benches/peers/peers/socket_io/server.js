// Socket.IO as its documentation sets it up, WebSocket only: clients join a room, and a
// line on the second port, "room payload", is emitted to it.
//
//     node server.js PORT PUBLISHING_PORT

const http = require("node:http");
const net = require("node:net");
const readline = require("node:readline");
const { Server } = require("socket.io");

const [port, publishingPort] = process.argv.slice(2).map(Number);

const server = http.createServer();
const io = new Server(server, {
  transports: ["websocket"],
  serveClient: false,
  // Later than a measurement: its pings are messages and would be counted.
  pingInterval: 600_000,
});
io.use((socket, next) => next(socket.handshake.auth.token === "secret" ? undefined : new Error("unauthorized")));
io.on("connection", (socket) => {
  socket.on("subscribe", (room, done) => {
    socket.join(room);
    done();
  });
});

net
  .createServer((publisher) => {
    publisher.setNoDelay();
    readline.createInterface({ input: publisher }).on("line", (line) => {
      const [room, payload] = line.split(" ", 2);
      io.to(room).emit("E", JSON.parse(payload));
    });
  })
  .listen(publishingPort, "127.0.0.1");
server.listen(port, "127.0.0.1", 4096);
