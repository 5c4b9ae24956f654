"""The test suite: it mirrors the package; run it with `make test`."""
