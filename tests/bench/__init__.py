"""Tests of the bench: a measurement is worth as much as what measures."""
