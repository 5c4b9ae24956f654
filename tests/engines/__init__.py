"""Tests of `realtime_svc.engines` that are particular to one engine; what all must do is in `tests.contracts`."""
