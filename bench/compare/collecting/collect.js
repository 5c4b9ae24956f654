// Required by every Node server that is measured: SIGWINCH, which nothing else uses, collects garbage, so that memory is
// compared without it. Needs --expose-gc.
"use strict";
process.on("SIGWINCH", () => global.gc());
