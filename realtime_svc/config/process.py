"""User code, backends, logging, shutdown."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from realtime_svc.config.fields import Section, duration, secret


class Webhooks(Section, frozen=True):
    """HTTP calls to a backend when clients come and go. On when `url` is not empty."""

    url: Annotated[str, Meta(description="http or https address that gets the events.")] = ""
    ca: Annotated[str, Meta(description="PEM file with the authorities that may sign for it. Empty: the system's.")] = (
        ""
    )
    secret: Annotated[str, secret("Signs each call (HMAC-SHA256). At least 16 bytes when webhooks are on.")] = ""
    events: Annotated[
        tuple[Literal["connect", "disconnect", "subscribe", "unsubscribe", "occupied", "vacated"], ...],
        Meta(description="Which events are sent."),
    ] = ("connect", "disconnect", "subscribe", "unsubscribe", "occupied", "vacated")
    batch: Annotated[int, Meta(description="Most events in one call.", ge=1, le=10000)] = 100
    timeout: Annotated[float, duration("Time the backend gets to answer.", least=0.1, most=300)] = 5.0
    retry: Annotated[float, duration("Time for which an event is tried again before it is dropped.", least=1.0)] = 300.0
    queue: Annotated[
        int, Meta(description="Most events that wait; above it new ones are dropped and counted.", ge=1)
    ] = 10_000
    vacated_delay: Annotated[
        float, duration("A channel is told vacated when it has been empty for this long.", most=3600)
    ] = 3.0


class Handlers(Section, frozen=True):
    """Python code that runs in the server's process."""

    object: Annotated[
        str,
        Meta(description="`package.module:name` of a class or an object with handlers. Empty: none."),
    ] = ""
    timeout: Annotated[
        float, duration("Time an asynchronous handler gets; then it is cancelled, an internal error.", least=0.1)
    ] = 30.0
    path: Annotated[
        str, Meta(description="Folder in which Python looks for that module first. Empty: only where it looks anyway.")
    ] = ""


class Log(Section, frozen=True):
    """What is logged, and how."""

    format: Annotated[Literal["text", "json"], Meta(description="`text` for people, `json` for machines.")] = "text"
    level: Annotated[Literal["debug", "info", "warn", "error"], Meta(description="Lowest level that is written.")] = (
        "info"
    )
    burst: Annotated[
        int,
        Meta(description="Lines of one kind in 10 s that strangers can cause; the rest is counted in one line.", ge=1),
    ] = 20


class Shutdown(Section, frozen=True):
    """What happens at SIGTERM."""

    drain_timeout: Annotated[
        float,
        duration(
            "Time to deliver what is queued and to close all clients; then the rest is cut.", least=0.1, most=3600
        ),
    ] = 10.0


class Sockets(Section, frozen=True):
    """How plain connections are read and written."""

    path: Annotated[
        Literal["auto", "compiled", "python", "stock"],
        Meta(
            description='"compiled": sends and reads in compiled loops; refused at start where the compiled part is '
            'not installed. "python": the same in Python. "auto": compiled where it is installed, else Python. '
            '"stock": Twisted\'s own connections, and Autobahn reads every frame; the slowest, to compare with.'
        ),
    ] = "auto"
