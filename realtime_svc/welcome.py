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
    """The lines. Tokens are those of `auth.tokens`."""
    lines = ["", "realtime_svc is up"]
    public = ""
    for name, (host, port) in addresses.items():
        shown = f"[{host}]" if ":" in host else "localhost" if host in ("0.0.0.0", "127.0.0.1") else host
        tls = name in config.listeners and config.listeners[name].tls
        if name == "internal":
            lines.append(f"  health and metrics   http://{shown}:{port}/health/ready  http://{shown}:{port}/metrics")
        else:
            base = f"ws{'s' if tls else ''}://{shown}:{port}"
            public = public or base
            lines.append(f"  WebSocket            {base}/ws  {base}/raw/<channel>")
    lines += [f"  token of {user:<12}{token}" for user, token in config.auth.tokens.items()]
    token = next(iter(config.auth.tokens.values()), None)
    if public and token:
        lines += _to_try(public, token)
    return "\n".join([*lines, ""])


def _to_try(public: str, token: str) -> list[str]:
    http = public.replace("ws", "http", 1)
    return [
        "",
        "try, in three terminals (what one sends, the others receive):",
        f"  REALTIME_SVC_TOKEN={token} .venv/bin/realtime-svc connect {public}/raw/chat:hello",
        f'  npx -y wscat -H "Authorization: Bearer {token}" -c "{public}/ws?channel=chat:hello"',
        f"""  curl -H "Authorization: Bearer {token}" -d '"hello"' {http}/publish/chat:hello""",
    ]
