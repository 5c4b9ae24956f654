// npm `centrifuge` in Node, driven by a test: commands on standard input, answers and events on standard output, each a
// JSON object a line. The end of standard input ends it.

'use strict';

const readline = require('readline');
const WebSocket = require('ws');
const { EventSource } = require('eventsource');
const { Centrifuge } = require('centrifuge');
const { Centrifuge: CentrifugeProtobuf } = require('centrifuge/build/protobuf');
const centrifugeDriver = require('./centrifuge_driver.js');

const websocket = (Sdk) => (base, options) =>
  new Sdk(`ws${base.slice(4)}/connection/websocket`, { websocket: WebSocket, ...options });

const emulated = (Sdk, transport) => (base, options) =>
  new Sdk([{ transport, endpoint: `${base}/connection/${transport}` }], {
    emulationEndpoint: `${base}/emulation`,
    fetch,
    readableStream: ReadableStream,
    eventsource: EventSource,
    ...options,
  });

const makers = {
  'websocket-json': websocket(Centrifuge),
  'websocket-protobuf': websocket(CentrifugeProtobuf),
  http_stream: emulated(Centrifuge, 'http_stream'),
  'http_stream-protobuf': emulated(CentrifugeProtobuf, 'http_stream'),
  sse: emulated(Centrifuge, 'sse'),
};

const carryOut = centrifugeDriver(makers, (event) => process.stdout.write(JSON.stringify(event) + '\n'));
const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => carryOut(JSON.parse(line)));
lines.on('close', () => process.exit(0));
