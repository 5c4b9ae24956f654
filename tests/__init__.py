"""The test suite: it mirrors the package; run it with `make test`."""

from __future__ import annotations

from hypothesis import settings

# Nothing here asserts elapsed time, and the machine may be busy.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
