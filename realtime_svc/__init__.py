"""A realtime messaging server for Python: channels, broadcast and authentication over WebSocket, SSE and HTTP."""

__version__ = "0.1.0"
