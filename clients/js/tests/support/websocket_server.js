// As much of a WebSocket server as the library's messages need: for Node's own WebSocket.

import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Calls `serve(message, say)` for each message of a client. */
export async function listen(t, serve) {
  const server = createServer();
  const sockets = new Set();
  server.on("upgrade", (request, socket) => {
    sockets.add(socket);
    const accept = createHash("sha1").update(request.headers["sec-websocket-key"] + GUID).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    const say = (message) => socket.write(frame(JSON.stringify(message)));
    say({ event: "Welcome", payload: { id: "5edab4db47677f46", ping_interval_ms: 25_000 } });
    let buffer = Buffer.alloc(0);
    socket.on("data", (data) => {
      buffer = Buffer.concat([buffer, data]);
      for (let read; (read = unframe(buffer)); buffer = buffer.subarray(read.length)) {
        if (read.opcode === 8) socket.end(Buffer.from([0x88, 0]));
        else serve(JSON.parse(read.text), say);
      }
    });
    socket.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  });
  const drop = () => sockets.forEach((socket) => socket.destroy());
  return { url: `ws://127.0.0.1:${server.address().port}/pushwss`, drop };
}

function frame(text) {
  const payload = Buffer.from(text);
  const length = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255];
  return Buffer.concat([Buffer.from([0x81, ...length]), payload]);
}

/** One masked frame, if all of it is there. */
function unframe(buffer) {
  if (buffer.length < 6) return undefined;
  const long = (buffer[1] & 127) === 126;
  const size = long ? buffer.readUInt16BE(2) : buffer[1] & 127;
  const start = (long ? 4 : 2) + 4;
  if (buffer.length < start + size) return undefined;
  const mask = buffer.subarray(start - 4, start);
  const text = buffer.subarray(start, start + size).map((byte, i) => byte ^ mask[i % 4]);
  return { opcode: buffer[0] & 15, text: Buffer.from(text).toString(), length: start + size };
}
