"""Batches in, batches out: what is said while one message of a client is worked on leaves in one frame."""

from __future__ import annotations

from realtime_svc.core.ports import Dialect, Frame

MOST_JOINED = 64 * 1024  # bytes


class Cork:
    """Collects frames until they make a large one."""

    __slots__ = ("_dialect", "_frames", "size")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._frames: list[Frame] = []
        self.size = 0

    def add(self, frame: Frame) -> bool:
        """False: that is enough for one frame."""
        self._frames.append(frame)
        self.size += len(frame.wire)
        return self.size < MOST_JOINED

    def frames(self) -> list[Frame]:
        """What was collected, as few frames as the protocol can."""
        if len(self._frames) < 2:
            return self._frames
        joined = self._dialect.join(self._frames)
        return self._frames if joined is None else [joined]
