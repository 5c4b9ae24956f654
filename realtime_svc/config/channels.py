"""What channels are like."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from realtime_svc.config.fields import Section, duration, size


class Streams(Section, frozen=True):
    """Bounds of history and recovery, for all namespaces."""

    page: Annotated[
        int,
        Meta(
            description="Most publications in one answer: history pages, and what one recovery may bring. Together "
            "their payloads have limits.queue_size bytes at most.",
            ge=1,
        ),
    ] = 300
    members: Annotated[
        int, Meta(description="Most members in one answer to a client that asks for presence; more get 106.", ge=1)
    ] = 5000
    position_check: Annotated[
        float, duration("How often quiet channels are compared with the broker's position; 0 is never.", most=3600)
    ] = 25.0
    idempotency_window: Annotated[float, duration("Time for which an idempotency key is remembered.", least=1.0)] = (
        300.0
    )
    idempotency_keys: Annotated[
        int, Meta(description="Most keys that are remembered at once; the oldest goes first.", ge=1)
    ] = 100_000


class Namespace(Section, frozen=True):
    """What holds for the channels of one namespace: the text before the first `:` of a channel's name."""

    subscribe: Annotated[
        tuple[str, ...],
        Meta(
            description='Who may subscribe: "anonymous" (everybody), "authenticated", "user:<id>". Empty: only who has '
            "a subscription token. A channel with `#` in its name (`#42`, `room#42,43`) is besides open to the users "
            "named there only; one whose name begins with `$` always takes a subscription token."
        ),
    ] = ("authenticated",)
    publish: Annotated[
        tuple[str, ...],
        Meta(description='Who may publish, in the same words, and "subscriber": who is subscribed to the channel.'),
    ] = ("authenticated",)
    read_history: Annotated[tuple[str, ...], Meta(description="Who may read the history, in the same words.")] = (
        "subscriber",
    )
    read_presence: Annotated[tuple[str, ...], Meta(description="Who may see who is there, in the same words.")] = (
        "subscriber",
    )
    insecure: Annotated[
        bool, Meta(description="Everybody may do everything here. For development only: said at every start.")
    ] = False
    payload: Annotated[
        Literal["json", "bytes"],
        Meta(description='"json": one JSON value of depth 32 at most. "bytes": anything, unchanged.'),
    ] = "json"
    echo: Annotated[bool, Meta(description="A raw client may ask for its own messages with `?echo=1`.")] = False
    schema: Annotated[
        bool,
        Meta(description="Payloads are checked against the schemas of folder `<schemas.folder>/<namespace>/`."),
    ] = False
    unknown_events: Annotated[
        Literal["refuse", "allow"],
        Meta(description="What happens, where `schema` is on, to an event that has no schema file."),
    ] = "refuse"
    history_size: Annotated[
        int,
        Meta(description="Publications that are kept of a channel; 0: none, as with history_ttl 0.", ge=0, le=100000),
    ] = 0
    history_ttl: Annotated[float, duration("Time they are kept after the newest of them.", most=366 * 86400.0)] = 0.0
    history_meta_ttl: Annotated[
        float,
        duration(
            "Time for which the position of a stream outlives its last publication: who comes back later starts anew.",
            least=1.0,
            most=10 * 366 * 86400.0,
        ),
    ] = 30 * 86400.0
    recovery: Annotated[
        Literal["off", "allowed", "always"],
        Meta(description="May clients get what they missed while away: no, those who ask, all. Needs history."),
    ] = "allowed"
    recovery_mode: Annotated[
        Literal["stream", "cache"],
        Meta(description='"stream": all that was missed, or none. "cache": the newest publication only.'),
    ] = "stream"
    positioning: Annotated[
        Literal["off", "allowed", "always"],
        Meta(description="Are live subscriptions watched for losses: no, those who ask, all. Needs history."),
    ] = "allowed"
    presence: Annotated[bool, Meta(description="Know who is subscribed.")] = False
    join_leave: Annotated[
        Literal["off", "allowed", "always"],
        Meta(description="Tell subscribers who comes and goes: no, those who ask, all."),
    ] = "off"
    delta: Annotated[
        bool, Meta(description="Clients that can may get the differences between publications instead of the whole.")
    ] = False
    tags_filter: Annotated[bool, Meta(description="Clients may filter publications by their tags.")] = False
    message_size: Annotated[int, size("Largest payload here; 0: that of limits.message_size.", most=2**30)] = 0
    subscribers: Annotated[
        int, Meta(description="Most subscribers of one channel in this process; more get 106. 0: no limit.", ge=0)
    ] = 0

    @property
    def keeps_history(self) -> bool:
        return self.history_size > 0 and self.history_ttl > 0


class Schemas(Section, frozen=True):
    """JSON Schema (draft 2020-12) files for payloads."""

    folder: Annotated[
        str,
        Meta(
            description="Folder of schema files: `<namespace>/<event>.json`, and what they refer to. References never "
            "leave it."
        ),
    ] = ""
