// `ws`: /broadcast to all others, /echo to oneself.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { options } = require("./options.js");
const { WebSocketServer, WebSocket } = require("ws");

const server = options.certificate
  ? https.createServer({ cert: fs.readFileSync(options.certificate), key: fs.readFileSync(options.key) })
  : http.createServer();
const wss = new WebSocketServer({ server, perMessageDeflate: options.deflate });
const listeners = new Set();

wss.on("connection", (socket, request) => {
  socket.on("error", console.error);
  if (request.url === "/echo") {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
    return;
  }
  listeners.add(socket);
  socket.on("close", () => listeners.delete(socket));
  socket.on("message", (data, binary) => {
    for (const client of listeners) {
      if (client !== socket && client.readyState === WebSocket.OPEN) client.send(data, { binary });
    }
  });
});

server.listen(options.port, "127.0.0.1", 4096);
