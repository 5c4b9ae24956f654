"""What `make run` prints: where the server listens, the tokens of its development users, and lines to try."""

from __future__ import annotations

import sys

from realtime_svc.config import Config
from realtime_svc.service import RealtimeService


def welcome(service: RealtimeService) -> None:
    """Print to the terminal, not to a log: there are tokens in it."""
    terminal = sys.__stdout__  # twistd sends sys.stdout to the log
    if terminal is not None:
        terminal.write(text(service.config, service.addresses) + "\n")
        terminal.flush()


def text(config: Config, addresses: dict[str, tuple[str, int]]) -> str:
    """The lines. Tokens are those of `auth.tokens`; what there is to try goes to a listener without TLS, if any."""
    lines = ["", "realtime_svc is up"]
    bases: dict[bool, str] = {}
    for name, (host, port) in addresses.items():
        shown = f"[{host}]" if ":" in host else "localhost" if host in ("0.0.0.0", "127.0.0.1") else host
        if name == "internal":
            lines.append(f"  health and metrics   http://{shown}:{port}/health/ready  http://{shown}:{port}/metrics")
            if config.api.enabled:
                lines.append(f"  server API           http://{shown}:{port}/api/<method>")
            continue
        tls = config.listeners[name].tls
        base = f"ws{'s' if tls else ''}://{shown}:{port}"
        lines.append(f"  WebSocket            {base}/ws  {base}/raw/<channel>")
        lines.append(f"  for Centrifugo SDKs  {base}/connection/websocket")
        if not config.listeners[name].proxy_protocol:
            bases.setdefault(tls, base)
    lines += [f"  token of {user:<12}{token}" for user, token in config.auth.tokens.items()]
    token = next(iter(config.auth.tokens.values()), None)
    public = bases.get(False) or bases.get(True)
    if public and token:
        lines += _to_try(public, token)
    return "\n".join([*lines, ""])


def _to_try(public: str, token: str) -> list[str]:
    http = public.replace("ws", "http", 1)
    return [
        "",
        "try, in this order, in three windows (what one sends, the others receive):",
        f"  REALTIME_SVC_TOKEN={token} .venv/bin/realtime-svc connect {public}/raw/chat:hello",
        f"  in the developer tools of {http}/ :",
        f'    s = new WebSocket("{public}/raw/chat:hello", ["raw.v1", "bearer.{token}"])',
        "    s.onmessage = e => console.log(e.data)",
        f"""  curl -H "Authorization: Bearer {token}" -d '"hello"' {http}/publish/chat:hello""",
    ]
