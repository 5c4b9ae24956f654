"""What the claims of a token mean, once its signature is known to be good (RFC 7519 4, Centrifugo client protocol).

    connection     sub exp expire_at nbf iat jti aud iss info b64info meta channels subs
    subscription   sub exp expire_at nbf iat jti aud iss info b64info data b64data override channel client
    subs           { channel: { info b64info data b64data override } }
    override       { presence join_leave force_push_join_leave force_positioning force_recovery }: { "value": bool }

`channel` is what tells the two kinds apart: who has it is no connection token, who has it not is no subscription token.
`b64info` and `b64data` are base64 (RFC 4648 4) of JSON text, and win over `info` and `data`. Whatever of info, data,
meta, channels, subs and override is null is as if it was not there; other claims are not looked at.

Every function raises `AuthenticationFailed` with a cause of `credentials.Cause`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from realtime_svc.auth import strict_json
from realtime_svc.auth.credentials import failed, is_user
from realtime_svc.channel import is_channel
from realtime_svc.config import Jwt
from realtime_svc.model import Grant, Identity, SubscriptionClaims

MAX_TEXT = 4 * 1024  # bytes of one info, data, meta
MAX_TEXTS = 16 * 1024  # bytes of all of them in one token: numbers such as 1e15 grow when they are written anew
MAX_SUBSCRIPTIONS = 128
LAST_DATE = 253402300799  # the end of the year 9999: what is above was given in milliseconds

Claims = Mapping[str, Any]
_NONE: Mapping[str, Grant] = MappingProxyType({})  # one for all who have none


class Life(NamedTuple):
    """From when until when. `over`: the token was good until `ends` or `exp`, and is no more."""

    issued_at: float | None
    ends: float | None
    over: bool


def life_of(claims: Claims, config: Jwt, now: float) -> Life:
    """The dates, with the leeway of the configuration. An end in the past is not refused here: see `Life.over`.

    `expire_at` says when the connection ends (0: never) in place of `exp`; it does not make an expired token good.
    """
    expires, expire_at = _date(claims, "exp"), _date(claims, "expire_at")
    not_before, issued = _date(claims, "nbf"), _date(claims, "iat")
    leeway = config.leeway
    if expires is None and config.require_expiry:
        raise failed("claims")
    if not_before is not None and now < not_before - leeway:
        raise failed("not_yet_valid")
    if issued is not None and now < issued - leeway:
        raise failed("issued_in_future")
    named = expires if expire_at is None else expire_at or None
    over = (expires is not None and now >= expires + leeway) or (named is not None and now >= named + leeway)
    return Life(issued, named + leeway if named is not None else None, over)


def check_addressee(claims: Claims, config: Jwt) -> None:
    """Is the token for this server, from its issuer (RFC 7519 4.1.1, 4.1.3)?"""
    if config.audience:
        audience = claims.get("aud")
        named = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            raise failed("audience")
        if not set(named) & set(config.audience):
            raise failed("audience")
    if config.issuer and claims.get("iss") != config.issuer:
        raise failed("issuer")


def identity_of(claims: Claims, life: Life) -> Identity:
    """Who a connection token speaks for, and what it is subscribed to."""
    if "channel" in claims:
        raise failed("purpose")
    texts = _Texts()
    return Identity(
        user=_user(claims),
        info=texts.read(claims, "info"),
        expires_at=life.ends,
        meta=texts.meta(claims),
        token_id=_name(claims, "jti"),
        issued_at=life.issued_at,
        subscriptions=_subscriptions(claims, texts),
    )


def subscription_of(claims: Claims, life: Life) -> SubscriptionClaims:
    """Who may subscribe to what, and how."""
    if "channel" not in claims:
        raise failed("purpose")
    _check_channel(claims["channel"])
    return SubscriptionClaims(
        user=_user(claims),
        channel=claims["channel"],
        grant=_grant(claims, _Texts(), life.ends),
        client=_name(claims, "client"),
        token_id=_name(claims, "jti"),
        issued_at=life.issued_at,
    )


class _Texts:
    """Reads the JSON values of one token as compact text. All of them together are bounded."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_TEXTS

    def read(self, table: Claims, name: str) -> bytes | None:
        encoded = table.get(f"b64{name}")
        # Empty is not there: so does who fills in a form with all the fields.
        return self._text(table.get(name) if encoded in (None, "") else _decoded(encoded))

    def meta(self, claims: Claims) -> bytes | None:
        meta = claims.get("meta")
        if meta is not None and not isinstance(meta, dict):
            raise failed("claims")
        return self._text(meta)

    def _text(self, value: Any) -> bytes | None:
        if value is None:
            return None
        text = strict_json.dumps(value)
        self._left -= len(text)
        if len(text) > MAX_TEXT or self._left < 0:
            raise failed("claims")
        return text


def _decoded(encoded: Any) -> Any:
    """The JSON value in base64 text of one spelling."""
    try:
        if not isinstance(encoded, str):
            raise ValueError("not text")
        raw = base64.b64decode(encoded, validate=True)
        if base64.b64encode(raw).decode("ascii") != encoded:
            raise ValueError("spare bits are not zero")
        return strict_json.loads(raw)
    except ValueError:
        raise failed("claims") from None


def _subscriptions(claims: Claims, texts: _Texts) -> Mapping[str, Grant]:
    """`channels` without options, then `subs` with theirs; who is in both has those of `subs`."""
    names, options = claims.get("channels"), _table(claims, "subs")
    if names is None:
        if not options:
            return _NONE
        names = []
    if not isinstance(names, list) or len(names) + len(options) > MAX_SUBSCRIPTIONS:
        raise failed("claims")
    for name in (*names, *options):
        _check_channel(name)
    grants = dict.fromkeys(names, Grant())
    for name in options:
        grants[name] = _grant(_table(options, name), texts, None)
    return grants


def _grant(table: Claims, texts: _Texts, expires_at: float | None) -> Grant:
    override = _table(table, "override")
    announced, pushed = _switch(override, "join_leave"), _switch(override, "force_push_join_leave")
    return Grant(
        info=texts.read(table, "info"),
        data=texts.read(table, "data"),
        expires_at=expires_at,
        presence=_switch(override, "presence"),
        # One option here: who is announced to others is told of them, too.
        join_leave=pushed if announced is None else announced,
        positioned=_switch(override, "force_positioning"),
        recoverable=_switch(override, "force_recovery"),
    )


def _switch(override: Claims, name: str) -> bool | None:
    if override.get(name) is None:
        return None
    value = _table(override, name).get("value")
    if not isinstance(value, bool):
        raise failed("claims")
    return value


def _table(claims: Claims, name: str) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    value = claims.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise failed("claims")
    return value


def _check_channel(name: Any) -> None:
    if not isinstance(name, str) or not is_channel(name):
        raise failed("claims")


def _date(claims: Claims, name: str) -> float | None:
    """A NumericDate (RFC 7519 2). None: the claim is not there."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_DATE:
        raise failed("claims")
    return float(value)


def _user(claims: Claims) -> str:
    """`sub`; "" is an anonymous client, which is also what a token without `sub` speaks for."""
    user = claims.get("sub", "")
    if not isinstance(user, str) or (user and not is_user(user)):
        raise failed("subject")
    return user


def _name(claims: Claims, name: str) -> str:
    """The id of a token or of a client, as long as a user's may be; "" where there is none."""
    value = claims.get(name, "")
    if not isinstance(value, str) or (value and not is_user(value)):
        raise failed("claims")
    return value
