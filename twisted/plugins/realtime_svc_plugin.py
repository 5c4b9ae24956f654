"""Makes `twistd realtime_svc` known. Any start of twistd imports this file, so it imports nothing of ours."""

from twisted.application.service import ServiceMaker

realtime_svc = ServiceMaker(
    "realtime_svc",
    "realtime_svc.tap",
    "A realtime messaging server: channels and broadcast over WebSocket, SSE and HTTP.",
    "realtime_svc",
)
