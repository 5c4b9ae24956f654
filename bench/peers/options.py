"""What every Python peer is told on its command line."""

from __future__ import annotations

import argparse


def options() -> argparse.Namespace:
    """`port`; `deflate`: permessage-deflate; `certificate` and `key`: PEM files, for TLS ("": none)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--deflate", action="store_true")
    parser.add_argument("--certificate", default="")
    parser.add_argument("--key", default="")
    return parser.parse_args()
