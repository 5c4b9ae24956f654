"""Bytes to values and back, pure; one file a protocol."""
