"""Rules of the configuration that no schema can state: syntax of names and addresses, keys that depend on others."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from realtime_svc.auth.credentials import is_token68, is_user
from realtime_svc.auth.jwks import check_url
from realtime_svc.channel import NAMESPACE, is_channel
from realtime_svc.config import Api, Auth, Config, Http, Jwt, Limits, Listener, Namespace, Tls, Webhooks, Websocket
from realtime_svc.configschema import KeyPath, Problem
from realtime_svc.errors import ConfigError
from realtime_svc.http.api_keys import CHANNEL_METHODS, METHODS

_NAME = re.compile(r"[-A-Za-z0-9_]+", re.ASCII)
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+", re.ASCII)  # RFC 9110 5.6.2
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
_DEFAULT_PORT = re.compile(r"http://.*[^:]:80|https://.*[^:]:443", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)
_OBJECT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_KEY_HASH = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)

SCOPES = METHODS | {"batch", "read", "all"}  # a batch needs no right of its own: its commands have theirs
LEAST_WEBHOOK_SECRET = 16
_WHO = ("anonymous", "authenticated")
_RULES = {
    "subscribe": _WHO,
    "publish": (*_WHO, "subscriber"),
    "read_history": (*_WHO, "subscriber"),
    "read_presence": (*_WHO, "subscriber"),
}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def problems(config: Config) -> Iterator[Problem]:
    """Every rule that `config` breaks: the key, and why. In the order of the file."""
    yield from _listeners(config)
    yield from _http(config.http)
    yield from _websocket(config.websocket)
    yield from _limits(config.limits)
    yield from _auth(config.auth, config.http)
    yield from _jwt(config.auth.jwt, insecure=config.auth.insecure)
    for name, namespace in config.namespaces.items():
        yield from _namespace(("namespaces", name), name, namespace, config.schemas.folder)
        yield from _position(("namespaces", name), namespace, config.streams.position_check)
    yield from _tls(config)
    if config.handlers.object and not _OBJECT.fullmatch(config.handlers.object):
        yield ("handlers", "object"), "must be `package.module:name`"
    yield from _api(config.api)
    yield from _webhooks(config.webhooks)


def warnings(config: Config) -> list[str]:
    """What is allowed but open to everybody, or can't work as meant; one line each: the key, and why. No line repeats
    a secret."""
    return [*_open_doors(config), *_closed_doors(config), *_unkept(config)]


def notes(config: Config) -> list[str]:
    """What is as it should be, but may surprise; one line each."""
    api = config.api
    if api.enabled and not api.keys and not api.insecure:
        return ["api: nobody can call the server API: api.keys is empty"]
    return []


def _open_doors(config: Config) -> Iterator[str]:
    if config.auth.insecure:
        yield "auth.insecure: for development only: everybody may connect, and a JWT secret may be short"
    if config.api.enabled and config.api.insecure:
        yield "api.insecure: for development only: everybody who reaches the port may use the server API"
        if config.api.public:
            yield "api.public: for development only: with api.insecure everybody on the public ports may use it"
    for name, namespace in config.namespaces.items():
        if namespace.insecure:
            yield f"namespaces.{name}.insecure: for development only: everybody may do everything in its channels"
    url = config.webhooks.url
    if url.startswith("http:") and not _is_loopback(urlsplit(url).hostname or ""):
        yield "webhooks.url: is not https: everybody on the way can read what is sent"


def _closed_doors(config: Config) -> Iterator[str]:
    auth = config.auth
    if auth.anonymous or auth.insecure:
        return
    if not (auth.tokens or auth.passwords_file or auth.jwt.algorithms):
        ways = "auth.tokens, auth.passwords_file, auth.jwt or auth.anonymous"
        yield f"auth: nobody can authenticate: none of {ways} is set"
    for name, namespace in config.namespaces.items():
        for key in _RULES:
            if "anonymous" in getattr(namespace, key):
                reason = "lets only clients in that have credentials: auth.anonymous is false"
                yield f'namespaces.{name}.{key}: "anonymous" {reason}'


def _unkept(config: Config) -> Iterator[str]:
    for name, namespace in config.namespaces.items():
        given = [key for key in ("history_size", "history_ttl") if getattr(namespace, key)]
        if len(given) == 1:
            yield f"namespaces.{name}.{given[0]}: keeps nothing: it takes both history_size and history_ttl"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listeners(config: Config) -> Iterator[Problem]:
    taken: list[tuple[Address, int, str]] = []
    if not any(listener.enabled for listener in config.listeners.values()):
        yield ("listeners",), "none is enabled"
    for name, listener in config.listeners.items():
        path: KeyPath = ("listeners", name)
        if not _NAME.fullmatch(name):
            yield path, "a listener's name has letters, digits, `-` and `_` only"
        if listener.enabled:
            yield from _address(path, listener.host, listener.port, taken)
        yield from _networks((*path, "proxy_sources"), listener.proxy_sources)
        yield from _listener(path, listener, config.tls)
    if config.internal.enabled:
        yield from _address(("internal",), config.internal.host, config.internal.port, taken)


def _listener(path: KeyPath, listener: Listener, tls: Tls) -> Iterator[Problem]:
    if listener.proxy_protocol and not listener.proxy_sources:
        yield (*path, "proxy_sources"), "is needed with proxy_protocol: whose header is to be believed?"
    if listener.tls and listener.enabled:
        for key, value in (("certificate", tls.certificate), ("key", tls.key)):
            if not value:
                yield ("tls", key), f"is needed: listener `{path[1]}` speaks TLS"


def _address(path: KeyPath, host: str, port: int, taken: list[tuple[Address, int, str]]) -> Iterator[Problem]:
    """Is it an address, and one that is free beside those of the other listeners?"""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        yield (*path, "host"), "must be an IPv4 or IPv6 address"
        return
    for other, other_port, name in taken:
        same = address == other or (address.version == other.version and 0 in (int(address), int(other)))
        if same and port == other_port != 0:
            yield (*path, "port"), f"is taken by {name} at the same address"
    taken.append((address, port, f"listener `{path[1]}`" if len(path) > 1 else "the internal port"))


def _networks(path: KeyPath, networks: tuple[str, ...]) -> Iterator[Problem]:
    for index, network in enumerate(networks):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            yield (*path, index), 'must be a network such as "10.0.0.0/8" (no bits set behind its mask) or an address'


def _http(http: Http) -> Iterator[Problem]:
    for index, origin in enumerate(http.allowed_origins):
        if origin != "*" and not _is_origin(origin):
            reason = 'must be "*" or scheme://host[:port] as a browser sends it: lower case, no path, no default port'
            yield ("http", "allowed_origins", index), reason
    for index, host in enumerate(http.allowed_hosts):
        if not _is_host(host):
            yield ("http", "allowed_hosts", index), "must be a host name or an address, without port"
    yield from _networks(("http", "trusted_proxies"), http.trusted_proxies)
    if http.request_line_size > http.head_size:
        yield ("http", "request_line_size"), "must not be larger than http.head_size, which it is a part of"


def _is_origin(origin: str) -> bool:
    if not _ORIGIN.fullmatch(origin) or _DEFAULT_PORT.fullmatch(origin):
        return False
    try:
        parts = urlsplit(origin)
        return parts.port is None or parts.port > 0
    except ValueError:  # a port above 65535, an address in brackets that is none
        return False


def _is_host(host: str) -> bool:
    if ":" not in host:
        return len(host) <= 255 and ".." not in host and _HOST.fullmatch(host) is not None
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).version == 6
    except ValueError:
        return False


def _websocket(websocket: Websocket) -> Iterator[Problem]:
    if 0 < websocket.ping_interval <= websocket.ping_timeout:
        yield ("websocket", "ping_timeout"), "must be shorter than websocket.ping_interval"


def _limits(limits: Limits) -> Iterator[Problem]:
    if limits.queue_size < limits.message_size:
        yield ("limits", "queue_size"), "must hold at least one message (limits.message_size)"


def _auth(auth: Auth, http: Http) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for user, token in auth.tokens.items():
        path = ("auth", "tokens", user)
        if not is_user(user):
            yield path, "a user id has 1 to 255 bytes and no control characters"
        if not is_token68(token):
            yield path, "a token has letters, digits and - . _ ~ + / only"
        if owners.setdefault(token, user) != user:
            yield path, "is the token of another user too"
    if auth.cookie and not _TOKEN.fullmatch(auth.cookie):
        yield ("auth", "cookie"), "is not a cookie name (RFC 6265)"
    if auth.cookie and "*" in http.allowed_origins:  # browsers send cookies along, whatever page connects
        yield ("auth", "cookie"), 'needs origins that are named: http.allowed_origins has "*"'


def _jwt(jwt: Jwt, *, insecure: bool) -> Iterator[Problem]:
    path: KeyPath = ("auth", "jwt")
    sources = [key for key in ("secret", "key_file", "jwks_file", "jwks_url") if getattr(jwt, key)]
    if len(sources) > 1:
        yield (*path, sources[1]), f"is one key source too many: {sources[0]} is given"
    elif jwt.algorithms and not sources:
        yield (*path, "algorithms"), "needs a key: secret, key_file, jwks_file or jwks_url"
    elif sources and not jwt.algorithms:
        yield (*path, "algorithms"), f"is needed with {sources[0]}: which ones are accepted?"
    if sources and sources[0] in ("secret", "key_file"):
        families = {algorithm[:2] for algorithm in jwt.algorithms}
        if len(families) > 1:
            yield (*path, "algorithms"), "must be of one family (HS, RS, ES or EdDSA) with a single key"
        if jwt.secret and families - {"HS"}:
            yield (*path, "algorithms"), "must be HS256, HS384 or HS512 with a shared secret"
    if jwt.secret and len(jwt.secret.encode()) < 32 and not insecure:
        yield (*path, "secret"), "must have at least 32 bytes"
    if jwt.jwks_url:
        try:
            check_url(jwt.jwks_url)
        except ConfigError as error:
            yield (*path, "jwks_url"), error.reason


def _namespace(path: KeyPath, name: str, namespace: Namespace, folder: str) -> Iterator[Problem]:
    if not NAMESPACE.fullmatch(name):
        yield path, "a namespace's name has letters, digits, `-` and `_` only"
    for key, known in _RULES.items():
        for index, word in enumerate(getattr(namespace, key)):
            if word not in known and not (word.startswith("user:") and is_user(word.removeprefix("user:"))):
                yield (*path, key, index), _must_be(known)
    yield from _streams(path, namespace)
    if namespace.schema and namespace.payload == "bytes":
        yield (*path, "schema"), 'can\'t check payload = "bytes"'
    elif namespace.schema and not folder:
        yield (*path, "schema"), "needs schemas.folder"


def _must_be(words: tuple[str, ...]) -> str:
    return "must be " + ", ".join(f'"{word}"' for word in words) + ' or "user:<id>"'


def _streams(path: KeyPath, namespace: Namespace) -> Iterator[Problem]:
    """What needs the positions of a stream, in a namespace that keeps none."""
    if not namespace.keeps_history:
        for key in ("recovery", "positioning"):
            if getattr(namespace, key) == "always":
                yield (*path, key), "needs history: history_size and history_ttl"
        if namespace.recovery_mode == "cache":
            yield (*path, "recovery_mode"), "needs history: history_size and history_ttl"
        if namespace.delta:
            yield (*path, "delta"), "needs history: history_size and history_ttl"
    elif namespace.delta and namespace.recovery == namespace.positioning == "off":
        yield (*path, "delta"), "needs positions: recovery or positioning, allowed or always"


def _position(path: KeyPath, namespace: Namespace, check: float) -> Iterator[Problem]:
    """The check is what keeps the position of a quiet channel alive: else its subscribers would hear of a loss where
    nothing was lost."""
    watched = namespace.keeps_history and (namespace.recovery, namespace.positioning) != ("off", "off")
    if watched and max(namespace.history_ttl, namespace.history_meta_ttl) < 2 * check:
        reason = "this or history_ttl must be at least two streams.position_check: live subscribers rely on it"
        yield (*path, "history_meta_ttl"), reason


def _api(api: Api) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, key in api.keys.items():
        path: KeyPath = ("api", "keys", name)
        if not _NAME.fullmatch(name):
            yield path, "a key's name has letters, digits, `-` and `_` only"
        if not _KEY_HASH.fullmatch(key.hash):
            yield (*path, "hash"), "must be `sha256:` and 64 hexadecimal digits in lower case, not the key itself"
        elif owners.setdefault(key.hash, name) != name:
            yield (*path, "hash"), f"is that of `{owners[key.hash]}` too"
        for index, scope in enumerate(key.scopes):
            word, colon, prefix = scope.partition(":")
            # A prefix may end in the middle of a name, such as behind the namespace.
            held = bool(prefix) and is_channel(prefix + "x")
            if word not in SCOPES or (colon and (word not in CHANNEL_METHODS or not held)):
                yield (*path, "scopes", index), 'must be "all", "read", a method, or "<method>:<channel prefix>"'


def _webhooks(webhooks: Webhooks) -> Iterator[Problem]:
    if not webhooks.url:
        return
    reason = _why_no_address(webhooks.url)
    if reason:
        yield ("webhooks", "url"), reason
    if len(webhooks.secret.encode()) < LEAST_WEBHOOK_SECRET:
        yield ("webhooks", "secret"), f"must have at least {LEAST_WEBHOOK_SECRET} bytes where webhooks.url is given"


def _why_no_address(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port above 65535, an address in brackets that is none
        usable = False
    else:
        if usable and ("@" in parts.netloc or "#" in url):
            return "must not hold a user, a password or a fragment"
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        return "is not a http or https address"
    return None


def _tls(config: Config) -> Iterator[Problem]:
    tls = config.tls
    if tls.certificate and not tls.key:
        yield ("tls", "key"), "is needed with tls.certificate"
    if tls.client_certificates != "off" and not tls.client_ca:
        yield ("tls", "client_ca"), "is needed with tls.client_certificates"
