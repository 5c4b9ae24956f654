"""Brokers: where publications are numbered, kept and passed on."""
