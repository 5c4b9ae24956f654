"""Ports, connections, and what one client may use."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from realtime_svc.config.fields import Section, duration, size


class Listener(Section, frozen=True):
    """One public port. WebSocket, SSE and HTTP publishing share it."""

    enabled: Annotated[bool, Meta(description="Listen here.")] = True
    host: Annotated[str, Meta(description="Address to bind: an IPv4 or IPv6 address.", min_length=1)] = "0.0.0.0"
    port: Annotated[int, Meta(description="TCP port; 0 takes a free one.", ge=0, le=65535)] = 8000
    tls: Annotated[bool, Meta(description="Speak TLS here (section `tls` holds the certificate).")] = False
    proxy_protocol: Annotated[
        bool,
        Meta(
            description="Each connection starts with a PROXY protocol header (v1 or v2), before TLS. No other is taken."
        ),
    ] = False
    proxy_sources: Annotated[
        tuple[str, ...],
        Meta(description="Networks (CIDR) whose PROXY header is believed; a connection from elsewhere is dropped."),
    ] = ()


class Internal(Section, frozen=True):
    """The internal port: health, metrics. Keep it off the public network."""

    enabled: Annotated[bool, Meta(description="Listen here.")] = True
    host: Annotated[str, Meta(description="Address to bind.", min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(description="TCP port; 0 takes a free one.", ge=0, le=65535)] = 9000


class Http(Section, frozen=True):
    """The request head, its bounds, and who may ask."""

    allowed_origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins a browser page may connect from, exactly as sent (`https://example.com`); `*` allows "
            "all. Empty: only pages whose origin is the address they connect to."
        ),
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(description="Host names (without port) this server answers to; others get 421. Empty: any."),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Networks (CIDR) whose X-Forwarded-For header is believed."),
    ] = ()
    head_size: Annotated[int, size("Largest request head; more is 431.", least=1024, most=2**20)] = 16 * 1024
    request_line_size: Annotated[int, size("Longest request line; more is 414.", least=256, most=2**20)] = 8 * 1024
    headers: Annotated[int, Meta(description="Most headers in a request; more is 431.", ge=8, le=1000)] = 64
    head_timeout: Annotated[float, duration("Time to finish TLS and the request head.", least=0.1, most=300)] = 5.0
    idle_timeout: Annotated[
        float, duration("A plain HTTP connection with no request under way is closed after this.", least=0.1, most=3600)
    ] = 10.0
    backlog: Annotated[int, Meta(description="Connections the kernel may hold before they are accepted.", ge=1)] = 4096


class Deflate(Section, frozen=True):
    """permessage-deflate (RFC 7692). Off by default: it costs memory and CPU for each connection."""

    enabled: Annotated[bool, Meta(description="Accept the extension when a client offers it.")] = False
    window_bits: Annotated[int, Meta(description="LZ77 window of what the server sends.", ge=9, le=15)] = 12
    memory_level: Annotated[int, Meta(description="zlib memory level.", ge=1, le=9)] = 5
    context_takeover: Annotated[
        bool, Meta(description="Keep the window between messages: smaller messages, more memory a connection.")
    ] = False


class Websocket(Section, frozen=True):
    """Liveness and closing of WebSocket connections."""

    ping_interval: Annotated[float, duration("A ping frame goes to each client this often; 0 is never.", most=3600)] = (
        25.0
    )
    ping_timeout: Annotated[float, duration("Time to answer a ping.", least=0.1, most=3600)] = 10.0
    close_timeout: Annotated[
        float, duration("Time a peer gets to finish a close before its connection is cut.", least=0.1, most=300)
    ] = 5.0
    fragment_timeout: Annotated[
        float, duration("Time to complete a fragmented message; then close 1008.", least=0.1, most=3600)
    ] = 10.0
    deflate: Deflate = Deflate()


class Limits(Section, frozen=True):
    """What one client, one address, one user may use."""

    connections: Annotated[
        int,
        Meta(description="Most connections in this process; more get 503. 0: as many as file descriptors allow.", ge=0),
    ] = 0
    connections_per_address: Annotated[
        int, Meta(description="Most connections from one address (IPv6: one /64); more get 429. 0: no limit.", ge=0)
    ] = 1000
    connections_per_user: Annotated[
        int, Meta(description="Most connections of one authenticated user; more get 429. 0: no limit.", ge=0)
    ] = 100
    message_size: Annotated[
        int, size("Largest message a client may send, decompressed; more closes with 1009.", least=128, most=2**30)
    ] = 64 * 1024
    queue_size: Annotated[
        int, size("What may wait for one client; more closes with 3008.", least=4096, most=2**31 - 1)
    ] = 1024 * 1024
    stall_timeout: Annotated[
        float, duration("A client that takes nothing for this long while data waits is closed with 3008.", least=0.1)
    ] = 15.0
    auth_timeout: Annotated[
        float, duration("Time for a first `auth` message on /ws; then close 3502.", least=0.1, most=3600)
    ] = 10.0
    channels_per_client: Annotated[int, Meta(description="Most subscriptions of one client.", ge=1)] = 128
    messages_per_second: Annotated[
        float,
        Meta(
            description="Messages a second a client may send, on average; reading pauses above it. 0: no limit.", ge=0
        ),
    ] = 500.0
    frames_per_second: Annotated[
        float, Meta(description="WebSocket frames a second, control frames included; as above. 0: no limit.", ge=0)
    ] = 2000.0
    flood_patience: Annotated[
        float,
        duration(
            "A client that keeps above a rate for this long is closed (3013 for messages, 1008 for frames).", least=0.1
        ),
    ] = 10.0
    errors_per_minute: Annotated[
        int,
        Meta(
            description="Refused messages a minute: above half of it each costs a pause, above it the client is closed "
            "with 3509. 0: no limit.",
            ge=0,
        ),
    ] = 120


class Tls(Section, frozen=True):
    """The certificate of listeners with `tls = true`. Read again at SIGHUP."""

    certificate: Annotated[str, Meta(description="PEM file with the certificate, and after it its chain if any.")] = ""
    key: Annotated[str, Meta(description="PEM file with the private key.")] = ""
    chain: Annotated[
        str, Meta(description="PEM file with intermediate certificates, if they are in a file of their own.")
    ] = ""
    minimum_version: Annotated[Literal["1.2", "1.3"], Meta(description="Oldest TLS version that is spoken.")] = "1.2"
    client_certificates: Annotated[
        Literal["off", "optional", "required"], Meta(description="Ask clients for a certificate signed by client_ca.")
    ] = "off"
    client_ca: Annotated[str, Meta(description="PEM file with the authorities of client certificates.")] = ""
