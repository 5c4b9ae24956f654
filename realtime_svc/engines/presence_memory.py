"""Who is in which channel, in a single process."""

from __future__ import annotations

from realtime_svc.model import ClientInfo, PresenceCounts


class _Room:
    """The members of one channel: by client id, and how many clients each user has."""

    __slots__ = ("clients", "users")

    def __init__(self) -> None:
        self.clients: dict[str, ClientInfo] = {}
        self.users: dict[str, int] = {}

    def leave(self, user: str) -> None:
        """A client of `user` is not counted any more."""
        left = self.users[user] - 1
        if left:
            self.users[user] = left
        else:
            del self.users[user]


class MemoryPresence:
    """Implements `core.ports.PresenceStore`. Never waits, never fails. Only channels with somebody in them take
    memory."""

    def __init__(self) -> None:
        self._rooms: dict[str, _Room] = {}

    @property
    def channels(self) -> int:
        """How many channels have somebody in them."""
        return len(self._rooms)

    async def add(self, channel: str, info: ClientInfo) -> None:
        room = self._rooms.get(channel)
        if room is None:
            room = self._rooms[channel] = _Room()
        before = room.clients.get(info.client)
        room.clients[info.client] = info
        room.users[info.user] = room.users.get(info.user, 0) + 1
        if before is not None:
            room.leave(before.user)

    async def remove(self, channel: str, client: str) -> None:
        room = self._rooms.get(channel)
        if room is None:
            return
        info = room.clients.pop(client, None)
        if info is None:
            return
        if room.clients:
            room.leave(info.user)
        else:
            del self._rooms[channel]

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        room = self._rooms.get(channel)
        return {} if room is None else room.clients.copy()

    async def counts(self, channel: str) -> PresenceCounts:
        room = self._rooms.get(channel)
        return PresenceCounts(0, 0) if room is None else PresenceCounts(len(room.clients), len(room.users))
