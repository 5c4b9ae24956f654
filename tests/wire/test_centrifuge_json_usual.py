"""What is said most often is read and written in a shorter way, which says and means the same."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.messages import Command, Failed, Message, Publish
from realtime_svc.errors import ConnectionClosing
from realtime_svc.model import ClientInfo, Publication
from realtime_svc.wire.centrifuge_json import WEBSOCKET

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
INFO = st.sampled_from([None, b'{"a":1}', b"[ 1\n]"])
PIECES = (
    '"id":7,',
    '"id":null,',
    '"id":0,',
    '"id":4294967296,',
    '"id":"7",',
    '"publish":{"channel":"c","data":{"a":[1,"é"]}},',
    '"publish":{"data":1e999,"channel":"\\u0063"},',
    '"publish":{"channel":"","data":1},',
    '"publish":{"channel":"c"},',
    '"publish":{"data":1},',
    '"publish":{"channel":null,"data":null},',
    '"publish":{"channel":"c","data":null},',
    '"publish":{"channel":"c","data":1,"type":0},',
    '"publish":{"channel":"c","data":1,"type":1},',
    '"publish":{"channel":"c","data":1,"new":[{}]},',
    '"publish":{"channel":"c","data":1,"data":2},',
    '"publish":{"channel":"\\ud800","data":1},',
    '"publish":{"channel":"c","data":"\\ud800"},',
    '"publish":{"channel":"c","data":' + "[" * 40 + "]" * 40 + "},",
    '"publish":{"channel":"c","data":' + "[" * 130 + "]" * 130 + "},",
    '"publish":{"channel":"c","data":[},',
    '"publish":null,',
    '"publish":[],',
    '"presence":{"channel":"c"},',
    '"presence":null,',
    '"send":{"data":1},',
)


def meaning(line: str) -> list[Command | tuple[int, str | None, object]] | str:
    """The commands of a frame; of those that are refused, what the client is told. "3501" where it ends there."""
    try:
        commands = list(WEBSOCKET.decode(line.encode(), False, ""))
    except ConnectionClosing as closing:
        return str(closing.disconnect.code)
    return [(one.error.number, one.verb, one.id) if isinstance(one, Failed) else one for one in commands]


def written_at_length(publication: Publication) -> bytes:
    """A push as the protocol has it, field by field."""
    info = publication.publisher
    members = [f'"data":{publication.data.decode()}']
    if info is not None:
        infos = (("conn_info", info.info), ("chan_info", info.channel_info))
        more = "".join(f',"{key}":{text.decode()}' for key, text in infos if text)
        members.append(f'"info":{{"user":{quoted(info.user)},"client":{quoted(info.client)}{more}}}')
    if publication.offset:
        members.append(f'"offset":{publication.offset}')
    return f'{{"push":{{"channel":{quoted(publication.channel)},"pub":{{{",".join(members)}}}}}}}'.encode()


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class UsualTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=3))
    def test_command_means_the_same_as_with_a_key_that_nobody_knows(self, pieces: list[str]) -> None:
        """Such a key means nothing, and has it read in the long way."""
        inside = "".join(pieces)
        self.assertEqual(meaning('{"novelty":1,' + inside[:-1] + "}"), meaning("{" + inside[:-1] + "}"))

    def test_payload_is_of_its_own(self) -> None:
        """It does not keep the frame in memory."""
        (command,) = WEBSOCKET.decode(b'{"id":1,"publish":{"channel":"c","data":[1]}}', False, "")
        self.assertEqual(Publish("c", b"[1]", False, None, 1), command)
        assert isinstance(command, Publish)
        self.assertIs(bytes, type(command.data))

    @given(
        TEXT.filter(bool),
        st.none() | st.builds(ClientInfo, TEXT, TEXT, INFO, INFO),
        st.just(0) | st.integers(2, 2**63 - 1),
    )
    def test_push(self, channel: str, publisher: ClientInfo | None, offset: int) -> None:
        publication = Publication(channel, '{"é": [1]}'.encode(), publisher=publisher, offset=offset, epoch="e")
        frame = WEBSOCKET.encode(Message(publication))
        assert frame is not None
        self.assertEqual(json.loads(written_at_length(publication)), json.loads(frame.payload))
        self.assertIn(publication.data, frame.payload)
        self.assertNotIn(b"\n", frame.payload)
