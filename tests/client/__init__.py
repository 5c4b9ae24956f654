"""Tests of the public client library."""
