// `socket.io`: event `message` to all others, event `echo` to oneself.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { options } = require("./options.js");
const { Server } = require("socket.io");

const server = options.certificate
  ? https.createServer({ cert: fs.readFileSync(options.certificate), key: fs.readFileSync(options.key) })
  : http.createServer();
const io = new Server(server, { transports: ["websocket"], perMessageDeflate: options.deflate });

io.on("connection", (socket) => {
  socket.on("message", (data) => socket.broadcast.emit("message", data));
  socket.on("echo", (data) => socket.emit("echo", data));
});

server.listen(options.port, "127.0.0.1", 4096);
