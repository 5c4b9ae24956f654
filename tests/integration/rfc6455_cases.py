"""The tables behind the tests of RFC 6455: sizes, texts, close codes, and bytes that break the rules."""

from __future__ import annotations

from tests.integration.ws_peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

SIZES = (0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 2**20, 2**24)

# fmt: off
VALID_TEXT = {
    "nothing": "",
    "a Greek word": "κόσμε",
    "first of each length": "\0\x80\u0800\U00010000",
    "last of each length": "\x7f\u07ff\uffff\U0010ffff",
    "around the surrogates": "\ud7ff\ue000",
    "byte order mark": "\ufeffx",
    "non-characters": "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF)),
    "replacement character": "\ufffd",
    "mixed": "Hello-µ@ßöäüàá-UTF-8!! 日本 🎉",
}
INVALID_TEXT = {  # what comes before the first bad byte; the bad byte; what may follow
    "lone continuation byte": (b"x", b"\x80", b"y"),
    "last continuation byte": (b"x", b"\xbf", b"y"),
    "overlong slash in two bytes": (b"", b"\xc0", b"\xaf"),
    "overlong in two bytes, highest": (b"", b"\xc1", b"\xbf"),
    "overlong slash in three bytes": (b"\xe0", b"\x80", b"\xaf"),
    "overlong in three bytes, highest": (b"\xe0", b"\x9f", b"\xbf"),
    "overlong slash in four bytes": (b"\xf0", b"\x80", b"\x80\xaf"),
    "overlong in four bytes, highest": (b"\xf0", b"\x8f", b"\xbf\xbf"),
    "lowest surrogate": (b"ab\xed", b"\xa0", b"\x80"),
    "highest surrogate": (b"ab\xed", b"\xbf", b"\xbf"),
    "pair of surrogates": (b"\xed", b"\xa0", b"\x81\xed\xb0\x81"),
    "above U+10FFFF": (b"\xf4", b"\x90", b"\x80\x80"),
    "start of U+140000": (b"", b"\xf5", b"\x80\x80\x80"),
    "sequence of five bytes": (b"", b"\xf8", b"\x88\x80\x80\x80"),
    "sequence of six bytes": (b"", b"\xfc", b"\x84\x80\x80\x80\x80"),
    "FE": (b"\xce\xba", b"\xfe", b""),
    "FF": (b"\xce\xba", b"\xff", b""),
    "two bytes, cut": (b"\xce", b"x", b""),
    "three bytes, cut": (b"\xe2\x82", b"x", b""),
    "four bytes, cut": (b"\xf0\x9f\x8e", b"x", b""),
    "cut by another start": (b"\xf0\x9f", b"\xce", b"\xba"),
}
UNFINISHED_TEXT = (b"\xce", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f", b"\xf0\x9f\x8e", b"word \xc3")
VIOLATIONS = {
    **{f"opcode {code}": frame(code) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"opcode {code} with a payload": frame(code, b"x" * 200) for code in (3, 7)},
    **{f"RSV {rsv} on text": frame(TEXT, b"x", rsv=rsv) for rsv in range(1, 8)},
    **{f"RSV {rsv} on a {name}": frame(code, b"", rsv=rsv)
       for rsv in (1, 2, 4) for name, code in (("close", CLOSE), ("ping", PING), ("pong", PONG))},
    "RSV on a continuation": frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"y", rsv=2),
    **{f"{name} of 126 bytes": frame(code, b"x" * 126) for name, code in (("ping", PING), ("pong", PONG))},
    "close of 126 bytes": frame(CLOSE, b"\x03\xe8" + b"x" * 124),
    "ping that claims 65536 bytes": frame(PING, declared=65536),
    "ping that claims 2**62 bytes": frame(PING, declared=2**62),
    "fragmented ping": frame(PING, b"x", fin=False),
    "fragmented ping and its end": frame(PING, b"x", fin=False) + frame(CONTINUATION, b"y"),
    "fragmented pong": frame(PONG, b"x", fin=False),
    "fragmented close": frame(CLOSE, b"\x03\xe8", fin=False),
    "unmasked text": frame(TEXT, b"x", mask=None),
    "unmasked empty text": frame(TEXT, mask=None),
    "unmasked ping": frame(PING, b"x", mask=None),
    "unmasked close": frame(CLOSE, b"\x03\xe8", mask=None),
    "continuation of nothing": frame(CONTINUATION, b"x"),
    "continuation of nothing, not the last": frame(CONTINUATION, b"x", fin=False),
    "text inside a message": frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
    "binary inside a message": frame(TEXT, b"x", fin=False) + frame(BINARY, b"y"),
    "unfinished text inside a message": frame(BINARY, b"x", fin=False) + frame(TEXT, b"y", fin=False),
    **{f"{length} as a 16-bit length": frame(TEXT, b"x" * length, length_bytes=2) for length in (0, 1, 125)},
    **{f"{length} as a 64-bit length": frame(BINARY, b"x" * length, length_bytes=8)
       for length in (0, 125, 126, 65535)},
    "ping with a 16-bit length": frame(PING, b"x", length_bytes=2),
    "a length of 2**63": frame(BINARY, declared=2**63),
    "a length of 2**64 - 1": frame(TEXT, declared=2**64 - 1),
    "several at once": frame(12, b"x" * 200, fin=False, rsv=7, mask=None),
    "close with a body of one byte": frame(CLOSE, b"\x03"),
}
GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535)
# fmt: on
