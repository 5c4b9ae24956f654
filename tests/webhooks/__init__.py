"""Tests of the calls to a backend."""
