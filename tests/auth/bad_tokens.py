"""Tokens that must be refused, forged with real keys, and the server they are for.

`SETUP.config(folder)` is the server's section `auth.jwt`; `bad_tokens(now)` is the table for connecting and
`bad_subscription_tokens(now)` the one for subscribing. Every token is printable ASCII without spaces, so that it can
stand in a header. `good_claims(now)` and `SETUP.sign` make good ones.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from realtime_svc.config import Jwt
from tests.auth import bad_claims
from tests.auth.forging import SECRET, Claims, Signer, b64, compact, es, forge, hs, nothing, pem, rs

AUDIENCE = "realtime"
ISSUER = "https://issuer.test"
LEEWAY = 5.0


class BadToken(NamedTuple):
    """`cause` is what the keeper must say; a client must see the same 401 for all."""

    name: str
    token: str
    cause: str


class Setup:
    """The server's keys. Two RSA keys, so that a token without `kid` can't say which one it means."""

    @cached_property
    def first_rsa(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 2048)

    @cached_property
    def second_rsa(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 2048)

    @cached_property
    def p256(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def ed(self) -> ed25519.Ed25519PrivateKey:
        return ed25519.Ed25519PrivateKey.generate()

    @cached_property
    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public keys as a JSON Web Key Set."""
        return {
            "keys": [
                {**RSAAlgorithm.to_jwk(self.first_rsa.public_key(), as_dict=True), "kid": "rsa", "use": "sig"},
                {**RSAAlgorithm.to_jwk(self.second_rsa.public_key(), as_dict=True), "kid": "rsa-2"},
                {**ECAlgorithm.to_jwk(self.p256.public_key(), as_dict=True), "kid": "p256", "alg": "ES256"},
                {**OKPAlgorithm.to_jwk(self.ed.public_key(), as_dict=True), "kid": "ed"},
            ]
        }

    def config(self, folder: Path) -> Jwt:
        """Section `auth.jwt`; the key set is written to `folder`."""
        file = folder / "jwks.json"
        file.write_text(json.dumps(self.jwks), encoding="utf-8")
        return Jwt(
            algorithms=("HS256", "RS256", "ES256", "EdDSA"),
            secret=SECRET,
            jwks_file=str(file),
            audience=(AUDIENCE,),
            issuer=ISSUER,
            leeway=LEEWAY,
        )

    def sign(self, claims: Claims, header: dict[str, Any] | None = None) -> str:
        """A token with the right HS256 signature, whatever its parts say."""
        return forge({"alg": "HS256", "typ": "JWT", **(header or {})}, claims, hs())


SETUP = Setup()


def good_claims(now: float) -> dict[str, Any]:
    return {"sub": "42", "exp": int(now) + 600, "iat": int(now), "aud": AUDIENCE, "iss": ISSUER}


def bad_tokens(now: float) -> list[BadToken]:
    """The table. `now` is the server's wall clock."""
    claims = good_claims(now)
    return [*_of_any_kind(claims, now), *_changed(claims, bad_claims.connection(int(now)))]


def bad_subscription_tokens(now: float) -> list[BadToken]:
    """The table of subscription tokens."""
    claims = {**good_claims(now), "channel": "news"}
    return [*_of_any_kind(claims, now), *_changed(claims, bad_claims.subscription(int(now)))]


def _of_any_kind(claims: dict[str, Any], now: float) -> list[BadToken]:
    return [
        *_algorithms(claims),
        *_headers(claims),
        *_signatures(claims),
        *_forms(claims),
        *_claims(claims, int(now)),
        *_changed(claims, bad_claims.common(int(now))),
    ]


def _changed(claims: dict[str, Any], changes: list[bad_claims.Change]) -> list[BadToken]:
    return [
        BadToken(name, SETUP.sign(bad_claims.short(compact({**claims, **change}))), cause)
        for name, change, cause in changes
    ]


def _algorithms(claims: Claims) -> list[BadToken]:
    public = SETUP.first_rsa.public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    nones = [
        BadToken(f"alg {alg!r}, no signature", forge({"alg": alg}, claims, nothing), "algorithm")
        for alg in ("none", "None", "NONE", "nOnE", "", " none")
    ]
    others: list[tuple[str, dict[str, Any], Signer, str]] = [
        ("alg none with a signature", {"alg": "none"}, hs(), "algorithm"),
        ("alg none with kid", {"alg": "none", "kid": "rsa"}, nothing, "algorithm"),
        ("no alg", {"typ": "JWT"}, hs(), "algorithm"),
        ("alg null", {"alg": None}, hs(), "algorithm"),
        ("alg a list", {"alg": ["HS256"]}, hs(), "algorithm"),
        ("alg an object", {"alg": {"HS256": 1}}, hs(), "algorithm"),
        ("alg a number", {"alg": 256}, hs(), "algorithm"),
        ("alg in lower case", {"alg": "hs256"}, hs(), "algorithm"),
        ("alg not configured", {"alg": "HS512"}, hs(SECRET, "sha512"), "algorithm"),
        ("RS512 not configured", {"alg": "RS512", "kid": "rsa"}, rs(SETUP.first_rsa, hashes.SHA512()), "algorithm"),
        ("PS256", {"alg": "PS256", "kid": "rsa"}, rs(SETUP.first_rsa), "algorithm"),
        ("ES256K", {"alg": "ES256K"}, es(ec.generate_private_key(ec.SECP256K1())), "algorithm"),
        ("HS256 with the RSA public key's PEM", {"alg": "HS256"}, hs(pem(public)), "signature"),
        ("HS256 with the RSA public key's PEM, stripped", {"alg": "HS256"}, hs(pem(public).strip()), "signature"),
        ("HS256 with the RSA public key's DER", {"alg": "HS256"}, hs(der), "signature"),
        ("HS256 with the RSA key's PEM and kid", {"alg": "HS256", "kid": "rsa"}, hs(pem(public)), "signature"),
        ("HS256 with the EC public key", {"alg": "HS256"}, hs(pem(SETUP.p256.public_key())), "signature"),
        ("HS256 with an empty secret", {"alg": "HS256"}, hs(b""), "signature"),
        ("ES256 with kid of an RSA key", {"alg": "ES256", "kid": "rsa"}, es(SETUP.p256), "key"),
        ("RS256 with kid of an EC key", {"alg": "RS256", "kid": "p256"}, rs(SETUP.first_rsa), "key"),
        ("EdDSA with kid of an EC key", {"alg": "EdDSA", "kid": "p256"}, SETUP.ed.sign, "key"),
    ]
    return nones + [BadToken(name, forge(header, claims, sign), cause) for name, header, sign, cause in others]


def _headers(claims: Claims) -> list[BadToken]:
    attacker = rsa.generate_private_key(65537, 2048)
    jwk = {**RSAAlgorithm.to_jwk(attacker.public_key(), as_dict=True), "kid": "rsa"}
    rs256 = {"alg": "RS256", "kid": "rsa"}
    cases: list[tuple[str, dict[str, Any], Signer, str]] = [
        ("embedded jwk", {**rs256, "jwk": jwk}, rs(attacker), "header"),
        ("embedded jwk beside a good signature", {**rs256, "jwk": jwk}, rs(SETUP.first_rsa), "header"),
        ("jku", {**rs256, "jku": "https://attacker.test/jwks.json"}, rs(attacker), "header"),
        ("jku of this machine", {**rs256, "jku": "http://127.0.0.1:9000/"}, rs(SETUP.first_rsa), "header"),
        ("x5u", {**rs256, "x5u": "https://attacker.test/cert.pem"}, rs(attacker), "header"),
        ("x5c", {**rs256, "x5c": ["MIIB"]}, rs(attacker), "header"),
        ("unknown crit", {"alg": "HS256", "crit": ["exp"], "exp": 1}, hs(), "header"),
        ("empty crit", {"alg": "HS256", "crit": []}, hs(), "header"),
        ("crit null", {"alg": "HS256", "crit": None}, hs(), "header"),
        ("b64 false and critical", {"alg": "HS256", "b64": False, "crit": ["b64"]}, hs(), "header"),
        ("b64 false", {"alg": "HS256", "b64": False}, hs(), "header"),
        ("b64 zero", {"alg": "HS256", "b64": 0}, hs(), "header"),
        ("typ of another protocol", {"alg": "HS256", "typ": "secevent+jwt"}, hs(), "type"),
        ("typ JWE", {"alg": "HS256", "typ": "JWE"}, hs(), "type"),
        ("typ empty", {"alg": "HS256", "typ": ""}, hs(), "type"),
        ("typ a list", {"alg": "HS256", "typ": ["JWT"]}, hs(), "type"),
        ("kid a number", {"alg": "HS256", "kid": 1}, hs(), "header"),
        ("kid null", {"alg": "RS256", "kid": None}, rs(SETUP.first_rsa), "header"),
        ("kid a list", {"alg": "RS256", "kid": ["rsa"]}, rs(SETUP.first_rsa), "header"),
        ("kid an object", {"alg": "RS256", "kid": {"rsa": 1}}, rs(SETUP.first_rsa), "header"),
        ("kid a path, empty file as key", {"alg": "HS256", "kid": "../../../../dev/null"}, hs(b""), "signature"),
        ("kid a path", {"alg": "RS256", "kid": "/etc/ssl/certs/ca-certificates.crt"}, rs(attacker), "key"),
        ("kid SQL", {"alg": "RS256", "kid": "x' UNION SELECT 'key' --"}, rs(attacker), "key"),
        ("kid a URL", {"alg": "RS256", "kid": "https://attacker.test/key"}, rs(attacker), "key"),
        ("kid a command", {"alg": "RS256", "kid": "|/bin/true"}, rs(attacker), "key"),
        ("kid with NUL", {"alg": "RS256", "kid": "rsa\0"}, rs(SETUP.first_rsa), "key"),
        ("kid in another case", {"alg": "RS256", "kid": "RSA"}, rs(SETUP.first_rsa), "key"),
        ("kid empty", {"alg": "RS256", "kid": ""}, rs(SETUP.first_rsa), "key"),
        ("no kid, two keys fit", {"alg": "RS256"}, rs(SETUP.first_rsa), "key"),
    ]
    duplicate = b'{"alg":"none","alg":"HS256"}'
    deep = b'{"alg":"HS256","x":' + b"[" * 2000 + b"]" * 2000 + b"}"
    return [
        *(BadToken(name, forge(header, claims, sign), cause) for name, header, sign, cause in cases),
        BadToken("alg twice in the header", forge(duplicate, claims, hs()), "malformed"),
        BadToken("header a list", forge(b'["HS256"]', claims, hs()), "malformed"),
        BadToken("header deep", forge(deep, b"{}", hs()), "malformed"),
        BadToken("header with BOM", forge(b'\xef\xbb\xbf{"alg":"HS256"}', claims, hs()), "malformed"),
    ]


def _signatures(claims: Claims) -> list[BadToken]:
    hs256, es256, ed = {"alg": "HS256"}, {"alg": "ES256", "kid": "p256"}, {"alg": "EdDSA", "kid": "ed"}
    rs256 = {"alg": "RS256", "kid": "rsa"}
    wrong = rsa.generate_private_key(65537, 2048)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    cases: list[tuple[str, dict[str, Any], Signer]] = [
        ("HS256, empty signature", hs256, nothing),
        ("HS256, another secret", hs256, hs("another shared secret that is long enough too")),
        ("HS256, signature cut", hs256, lambda signed: hs()(signed)[:16]),
        ("HS256, signature longer", hs256, lambda signed: hs()(signed) + b"\0"),
        ("HS256, SHA-512", hs256, hs(SECRET, "sha512")),
        ("RS256, empty signature", rs256, nothing),
        ("RS256, another key", rs256, rs(wrong)),
        ("RS256, the other key's kid", {"alg": "RS256", "kid": "rsa-2"}, rs(SETUP.first_rsa)),
        ("RS256, zeros", rs256, lambda _signed: bytes(256)),
        ("RS256, short", rs256, lambda _signed: b"\1"),
        ("RS256, huge", rs256, lambda _signed: b"\xff" * 3000),
        ("RS256 over SHA-512", rs256, rs(SETUP.first_rsa, hashes.SHA512())),
        ("ES256, r = s = 0", es256, lambda _signed: bytes(64)),
        ("ES256, r = s = n", es256, lambda _signed: order.to_bytes(32, "big") * 2),
        ("ES256, r = 0", es256, lambda signed: bytes(32) + es(SETUP.p256)(signed)[32:]),
        ("ES256 as DER", es256, lambda signed: SETUP.p256.sign(signed, ec.ECDSA(hashes.SHA256()))),
        ("ES256, short", es256, lambda signed: es(SETUP.p256)(signed)[:63]),
        ("ES256, empty signature", es256, nothing),
        ("ES256, key on P-384", es256, es(ec.generate_private_key(ec.SECP384R1()))),
        ("EdDSA, another key", ed, ed25519.Ed25519PrivateKey.generate().sign),
        ("EdDSA, zeros", ed, lambda _signed: bytes(64)),
        ("EdDSA, empty signature", ed, nothing),
    ]
    return [BadToken(name, forge(header, claims, sign), "signature") for name, header, sign in cases]


def _forms(claims: dict[str, Any]) -> list[BadToken]:
    good = SETUP.sign(claims)
    header, body, signature = good.split(".")
    other, over = b64(compact({**claims, "sub": "1"})), b64(compact({**claims, "exp": 1}))
    # The last character of a 32-byte signature has spare bits: another spelling of the same bytes.
    spelled = signature[:-1] + chr(ord(signature[-1]) + 1)
    cases = [
        ("two parts", f"{header}.{body}", "malformed"),
        ("four parts", f"{good}.{signature}", "malformed"),
        ("five parts, as a JWE", f"{header}.{body}.{body}.{body}.{signature}", "malformed"),
        ("dots only", "..", "malformed"),
        ("padding", f"{good}=", "malformed"),
        ("standard base64 alphabet", f"{header}.{body}.{'+/' * 21}", "malformed"),
        ("rubbish inside", f"{header}.{body[:4]}!{body[4:]}.{signature}", "malformed"),
        ("signature spelled in another way", f"{header}.{body}.{spelled}", "malformed"),
        ("JSON in place of a token", '{"alg":"HS256"}', "malformed"),
        ("base64 of one character", f"A.{body}.{signature}", "malformed"),
        ("claims changed", f"{header}.{other}.{signature}", "signature"),
        ("claims gone", f"{header}..{signature}", "signature"),
        ("expired, and signed by another", f"{header}.{over}.{signature}", "signature"),
        ("too large", SETUP.sign({**claims, "pad": "x" * 6500}), "oversize"),
        ("much too large", "a" * 9000 + ".b.c", "oversize"),
    ]
    return [BadToken(name, token, cause) for name, token, cause in cases]


def _claims(claims: dict[str, Any], now: int) -> list[BadToken]:
    changed: list[tuple[str, dict[str, Any], str]] = [
        ("expired", {"exp": now - 3600}, "expired"),
        ("expired by one second more than is forgiven", {"exp": now - int(LEEWAY) - 1}, "expired"),
        ("expired in 1970", {"exp": 0}, "expired"),
        ("exp negative", {"exp": -1}, "claims"),
        ("exp text", {"exp": str(now + 600)}, "claims"),
        ("exp true", {"exp": True}, "claims"),
        ("exp null", {"exp": None}, "claims"),
        ("exp a list", {"exp": [now + 600]}, "claims"),
        ("exp in milliseconds", {"exp": (now + 600) * 1000}, "claims"),
        ("exp of 400 digits", {"exp": 10**400}, "claims"),
        ("nbf in the future", {"nbf": now + 60}, "not_yet_valid"),
        ("nbf text", {"nbf": "0"}, "claims"),
        ("iat in the future", {"iat": now + 60}, "issued_in_future"),
        ("iat false", {"iat": False}, "claims"),
        ("another audience", {"aud": "billing"}, "audience"),
        ("audience longer", {"aud": AUDIENCE + "x"}, "audience"),
        ("audience list without ours", {"aud": ["billing", "mail"]}, "audience"),
        ("audience list with a number", {"aud": [AUDIENCE, 1]}, "audience"),
        ("audience an object", {"aud": {AUDIENCE: 1}}, "audience"),
        ("audience null", {"aud": None}, "audience"),
        ("another issuer", {"iss": "https://attacker.test"}, "issuer"),
        ("issuer with a slash more", {"iss": ISSUER + "/"}, "issuer"),
        ("issuer a list", {"iss": [ISSUER]}, "issuer"),
        ("sub a number", {"sub": 42}, "subject"),
        ("sub null", {"sub": None}, "subject"),
        ("sub a list", {"sub": ["42"]}, "subject"),
        ("sub with a newline", {"sub": "42\nadmin"}, "subject"),
        ("sub with NUL", {"sub": "42\0"}, "subject"),
        ("sub with a C1 control", {"sub": "42\x9b31m"}, "subject"),
        ("sub of 256 bytes", {"sub": "é" * 128}, "subject"),
        ("info too large", {"info": bad_claims.LONG}, "claims"),
    ]
    raw = [
        ("claims a list", b"[]", "malformed"),
        ("claims no JSON", b"sub=42", "malformed"),
        ("claims empty", b"", "malformed"),
        ("claims not UTF-8", b'{"sub":"\xff"}', "malformed"),
        ("claims with trailing data", compact(claims) + b"{}", "malformed"),
        ("claims with a lone surrogate", compact(claims)[:-1] + b',"x":"\\ud800"}', "malformed"),
        ("claims deep", compact(claims)[:-1] + b',"x":' + b"[" * 2500 + b"]" * 2500 + b"}", "malformed"),
        ("claims of 33 levels", compact(claims)[:-1] + b',"x":' + b"[" * 32 + b"]" * 32 + b"}", "malformed"),
        ("exp NaN", compact({**claims, "exp": float("nan")}), "malformed"),
        ("exp Infinity", compact({**claims, "exp": float("inf")}), "malformed"),
        ("nbf 1e999", compact(claims)[:-1] + b',"nbf":1e999}', "malformed"),
        ("sub twice", compact(claims)[:-1] + b',"sub":"admin"}', "malformed"),
        ("sub twice, one escaped", compact(claims)[:-1] + b',"s\\u0075b":"admin"}', "malformed"),
        ("claims with a number of 5000 digits", compact(claims)[:-1] + b',"x":' + b"9" * 5000 + b"}", "malformed"),
    ]
    missing = [("exp", "claims"), ("aud", "audience"), ("iss", "issuer")]
    return [
        *_changed(claims, changed),
        *(BadToken(name, SETUP.sign(text), cause) for name, text, cause in raw),
        *(BadToken(f"no {name}", SETUP.sign(_without(claims, name)), cause) for name, cause in missing),
    ]


def _without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in claims.items() if key != name}
