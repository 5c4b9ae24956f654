"""`socketify` (uWebSockets from Python): /broadcast to all others, /echo to oneself."""

from __future__ import annotations

from options import options
from socketify import App, AppListenOptions, AppOptions, CompressOptions, OpCode, WebSocket

given = options()


def echo(ws: WebSocket, message: bytes | str, opcode: OpCode) -> None:
    ws.send(message, opcode, given.deflate)


def broadcast(ws: WebSocket, message: bytes | str, opcode: OpCode) -> None:
    ws.publish("all", message, opcode, given.deflate)


settings = {
    "compression": CompressOptions.SHARED_COMPRESSOR if given.deflate else CompressOptions.DISABLED,
    "idle_timeout": 60,
}
app = App(AppOptions(key_file_name=given.key, cert_file_name=given.certificate) if given.certificate else None)
app.ws("/echo", {**settings, "message": echo})
app.ws("/broadcast", {**settings, "open": lambda ws: ws.subscribe("all"), "message": broadcast})
app.listen(AppListenOptions(port=given.port, host="127.0.0.1"), lambda config: None)
app.run()
