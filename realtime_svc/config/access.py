"""Who may connect, and who may use the server API."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from realtime_svc.config.fields import Section, duration, secret, size


class Jwt(Section, frozen=True):
    """JSON Web Tokens (RFC 7519). On when `algorithms` is not empty."""

    algorithms: Annotated[
        tuple[Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"], ...],
        Meta(description="Algorithms that are accepted. A token can't choose another. A single key takes one family."),
    ] = ()
    secret: Annotated[str, secret("Shared secret for HS256 (at least 32 bytes), HS384 (48) and HS512 (64).")] = ""
    key_file: Annotated[
        str, Meta(description="File with the key: a PEM public key or certificate, or the shared secret.")
    ] = ""
    jwks_file: Annotated[str, Meta(description="File with a JSON Web Key Set (RFC 7517).")] = ""
    jwks_url: Annotated[
        str, Meta(description="https address of a JSON Web Key Set, fetched at start and refreshed in the background.")
    ] = ""
    jwks_ca: Annotated[
        str, Meta(description="PEM file with the authorities that may sign for jwks_url. Empty: the system's.")
    ] = ""
    jwks_refresh: Annotated[float, duration("Time between two refreshes of jwks_url.", least=1.0)] = 300.0
    audience: Annotated[
        tuple[str, ...], Meta(description="`aud` must hold one of these. Empty: `aud` is not looked at.")
    ] = ()
    issuer: Annotated[str, Meta(description="`iss` must be this. Empty: `iss` is not looked at.")] = ""
    require_expiry: Annotated[bool, Meta(description="A token without `exp` is refused.")] = True
    leeway: Annotated[
        float, duration("Clock difference that is forgiven for `exp`, `expire_at`, `nbf`, `iat`.", most=300)
    ] = 0.0


class Auth(Section, frozen=True):
    """Who may connect, and how they prove who they are."""

    anonymous: Annotated[
        bool, Meta(description="Clients without credentials may connect (namespaces still decide what they may do).")
    ] = False
    tokens: Annotated[
        dict[str, Annotated[str, secret("The token of this user.", least=16)]],
        Meta(description="Static tokens, user = token. For development and for machines you run yourself."),
    ] = {}
    passwords_file: Annotated[
        str, Meta(description="Password file for Basic authentication, made by `realtime-svc passwd`.")
    ] = ""
    cookie: Annotated[
        str, Meta(description="Name of a cookie that holds a token. Empty: cookies are not looked at.")
    ] = ""
    query_token: Annotated[
        bool, Meta(description="Accept `?token=` in the address. Proxies and browsers log addresses: leave it off.")
    ] = False
    refresh_grace: Annotated[
        float, duration("Time a client gets to renew a token that has run out, before it is closed.", most=3600)
    ] = 25.0
    personal_channel: Annotated[
        bool, Meta(description="Each authenticated client is subscribed to its own channel `#<user>` when it connects.")
    ] = False
    revocations: Annotated[
        int, Meta(description="Most tokens and users that can be revoked at once through the server API.", ge=1)
    ] = 100_000
    insecure: Annotated[
        bool,
        Meta(
            description="Clients without credentials may connect, and a JWT secret may be short. For development only: "
            "said at every start."
        ),
    ] = False
    jwt: Jwt = Jwt()


class ApiKey(Section, frozen=True):
    """A key of the server API."""

    hash: Annotated[
        str,
        Meta(description="`sha256:` and 64 hexadecimal digits, made by `realtime-svc api-key`. Not the key itself."),
    ]
    scopes: Annotated[
        tuple[str, ...],
        Meta(
            description='What it may: names of methods, "read" (all that change nothing), "all". A method may be held '
            'to channels with a prefix: "publish:chat:".'
        ),
    ] = ("all",)


class Api(Section, frozen=True):
    """The server HTTP API: `POST /api/<method>` on the internal port."""

    enabled: Annotated[bool, Meta(description="Answer it.")] = True
    public: Annotated[bool, Meta(description="Answer it on the public ports, too.")] = False
    keys: Annotated[dict[str, ApiKey], Meta(description="Keys by name; the name is what logs show.")] = {}
    query_key: Annotated[
        bool, Meta(description="Accept `?api_key=` in the address. Proxies log addresses: leave it off.")
    ] = False
    insecure: Annotated[bool, Meta(description="Answer without a key. For development only: said at every start.")] = (
        False
    )
    body_size: Annotated[int, size("Largest request body; more is 413.", least=1024, most=2**30)] = 1024 * 1024
    batch: Annotated[int, Meta(description="Most commands of a batch, and channels of a broadcast.", ge=1)] = 1000
