// What every Node peer is told on its command line: --port N [--deflate] [--certificate FILE --key FILE]
"use strict";
const { parseArgs } = require("node:util");

const { values } = parseArgs({
  options: {
    port: { type: "string" },
    deflate: { type: "boolean", default: false },
    certificate: { type: "string", default: "" },
    key: { type: "string", default: "" },
  },
});
exports.options = { ...values, port: Number(values.port) };
