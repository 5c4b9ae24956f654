"""Tests of realtime_svc.auth."""
