"""realtime_svc beside its peers and beside the ceiling, in one run: `python -m bench.compare`."""
