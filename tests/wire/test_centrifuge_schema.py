"""centrifuge.proto, the code made from it, and the protocol have the same field numbers."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import realtime_svc.wire
from realtime_svc.wire import centrifuge_pb2 as pb

# The protocol's own numbers: message, then field and number. What is not listed is not spoken.
NUMBERS = """
Command: id 1, connect 4, subscribe 5, unsubscribe 6, publish 7, presence 8, presence_stats 9, history 10, send 12,
  rpc 13, refresh 14, sub_refresh 15
Reply: id 1, error 2, push 4, connect 5, subscribe 6, unsubscribe 7, publish 8, presence 9, presence_stats 10,
  history 11, rpc 13, refresh 14, sub_refresh 15
Error: code 1, message 2, temporary 3
Push: channel 2, pub 4, join 5, leave 6, unsubscribe 7, message 8, subscribe 9, disconnect 11
ClientInfo: user 1, client 2, conn_info 3, chan_info 4
Publication: data 4, info 5, offset 6, tags 7, delta 8, epoch 14, version 16
Join: info 1
Leave: info 1
Unsubscribe: code 2, reason 3
Message: data 1
Subscribe: recoverable 1, epoch 4, offset 5, positioned 6, data 7
Disconnect: code 1, reason 2
ConnectRequest: token 1, data 2, subs 3, name 4, version 5, headers 6
ConnectResult: client 1, version 2, expires 3, ttl 4, data 5, subs 6, ping 7, pong 8, session 9, node 10
SubscribeRequest: channel 1, token 2, recover 3, epoch 6, offset 7, data 8, positioned 9, recoverable 10, join_leave 11,
  delta 12, tf 13, flag 14, type 15
FilterNode: op 1, key 2, cmp 3, val 4, vals 5, nodes 6
SubscribeResult: expires 1, ttl 2, recoverable 3, epoch 6, publications 7, recovered 8, offset 9, positioned 10,
  data 11, was_recovering 12, delta 13
UnsubscribeRequest: channel 1
UnsubscribeResult:
PublishRequest: channel 1, data 2, type 3
PublishResult:
PresenceRequest: channel 1
PresenceResult: presence 1
PresenceStatsRequest: channel 1
PresenceStatsResult: num_clients 1, num_users 2
StreamPosition: offset 1, epoch 2
HistoryRequest: channel 1, limit 7, since 8, reverse 9
HistoryResult: publications 1, epoch 2, offset 3
SendRequest: data 1
RPCRequest: data 1, method 2
RPCResult: data 1
RefreshRequest: token 1
RefreshResult: expires 3, ttl 4
SubRefreshRequest: channel 1, token 2, type 3
SubRefreshResult: expires 1, ttl 2
EmulationRequest: node 1, session 2, data 3
"""


class SchemaTests(SynchronousTestCase):
    """Three tables that have to be one."""

    def numbers(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for line in NUMBERS.replace("\n  ", " ").strip().splitlines():
            name, _, fields = line.partition(":")
            found[name] = {field.split()[0]: int(field.split()[1]) for field in fields.split(",") if field.strip()}
        return found

    def test_generated_code_has_the_numbers_of_the_protocol(self) -> None:
        described = pb.DESCRIPTOR.message_types_by_name.items()
        self.assertEqual(self.numbers(), {name: {f.name: f.number for f in one.fields} for name, one in described})

    def test_source_is_shipped_and_is_what_was_compiled(self) -> None:
        source = Path(realtime_svc.wire.__path__[0], "centrifuge.proto").read_text()
        found = {}
        for name, body in re.findall(r"^message (\w+) \{(.*?)\}", source, re.DOTALL | re.MULTILINE):
            found[name] = {field: int(number) for field, number in re.findall(r"(\w+) = (\d+);", body)}
        self.assertEqual(self.numbers(), found)
