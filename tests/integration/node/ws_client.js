// npm `ws`, driven by a test: options in the first argument, texts to send on standard input (a JSON string a line),
// what happens on standard output (a JSON object a line). The end of standard input closes the connection.

'use strict';

const fs = require('fs');
const readline = require('readline');
const WebSocket = require('ws');

const { url, headers, ca, deflate } = JSON.parse(process.argv[2]);
const options = { headers, perMessageDeflate: deflate ? { threshold: 0 } : false };
if (ca) options.ca = fs.readFileSync(ca);

const tell = (event) => process.stdout.write(JSON.stringify(event) + '\n');

const socket = new WebSocket(url, [], options);
let connection;
socket.on('upgrade', (response) => {
  connection = response.socket;
});
socket.on('open', () => {
  tell({ open: { protocol: socket.protocol, extensions: socket.extensions } });
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (line) => socket.send(JSON.parse(line)));
  lines.on('close', () => socket.close(1000));
});
socket.on('message', (data, binary) => tell({ message: data.toString(), binary, read: connection.bytesRead }));
socket.on('error', (error) => tell({ failed: `${error.code}: ${error.message}` }));
socket.on('close', (code, reason) => {
  tell({ closed: [code, reason.toString()] });
  process.exit(code === 1000 ? 0 : 1);
});
