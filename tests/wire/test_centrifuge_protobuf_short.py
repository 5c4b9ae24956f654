"""What is read and written byte by byte is what the generated code reads and writes."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.messages import Message, Publish, Published
from realtime_svc.model import ClientInfo, Publication
from realtime_svc.wire import centrifuge_pb2 as pb
from realtime_svc.wire import centrifuge_protobuf_short as short
from realtime_svc.wire.centrifuge import is_utf8

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INFO = st.none() | st.builds(ClientInfo, TEXT, TEXT, st.none() | st.binary(), st.none() | st.binary(max_size=300))
PUBLICATION = st.builds(
    Publication,
    TEXT,
    st.binary(max_size=300),
    publisher=INFO,
    offset=st.just(0) | st.integers(0, 2**63 - 1),
    epoch=TEXT,
    tags=st.none() | st.dictionaries(TEXT, TEXT, max_size=1),
    version=st.just(0) | st.integers(0, 2),
)


def generated_push(publication: Publication) -> bytes:
    """The fields of a publication that has nothing special."""
    reply = pb.Reply()
    reply.push.channel = publication.channel
    reply.push.pub.SetInParent()
    reply.push.pub.data = publication.data
    reply.push.pub.offset = publication.offset
    info = publication.publisher
    if info is not None:
        client, user, conn_info, chan_info = info
        said = pb.ClientInfo(client=client, user=user, conn_info=conn_info or b"", chan_info=chan_info or b"")
        reply.push.pub.info.CopyFrom(said)
    return reply.SerializeToString(deterministic=True)


def generated_publish(message: bytes) -> Publish | None:
    """What the generated code reads: a publication, or something else."""
    try:
        command = pb.Command.FromString(message)
    except DecodeError:
        return None
    request = command.publish
    if [field.name for field, _ in command.ListFields()] != ["id", "publish"] or request.type or not request.channel:
        return None
    return Publish(request.channel, request.data, not is_utf8(request.data), None, command.id)


class VarintTests(SynchronousTestCase):
    @given(st.integers(0, 2**35 - 1), st.binary(max_size=3), st.binary(max_size=3))
    def test_there_and_back(self, number: int, before: bytes, after: bytes) -> None:
        text = short.varint(number)
        self.assertEqual((number, len(before + text)), short.read_varint(before + text + after, len(before)))

    def test_bytes(self) -> None:
        for number, text in (
            (0, "00"),
            (127, "7f"),
            (128, "8001"),
            (300, "ac02"),
            (16384, "808001"),
            (2**63, "80" * 9 + "01"),
        ):
            self.assertEqual(bytes.fromhex(text), short.varint(number))

    def test_what_is_not_one(self) -> None:
        for text in (b"", b"\x80", b"\xff\xff\xff\xff"):
            self.assertRaises(IndexError, short.read_varint, text, 0)
        self.assertRaises(ValueError, short.read_varint, b"\xff\xff\xff\xff\xff\x01", 0)


class WritingTests(SynchronousTestCase):
    @given(PUBLICATION)
    def test_push(self, publication: Publication) -> None:
        written = short.push(Message(publication))
        if publication.tags or publication.version or publication.offset == 1 or not publication.channel:
            self.assertIsNone(written)
        else:
            self.assertEqual(generated_push(publication), written)

    def test_delta_is_not_written_here(self) -> None:
        self.assertIsNone(short.push(Message(Publication("c", b"1"), True, b"")))
        self.assertIsNotNone(short.push(Message(Publication("c", b"1"), True)))

    @given(st.integers(1, 2**32 - 1))
    def test_answer(self, key: int) -> None:
        reply = pb.Reply(id=key)
        reply.publish.SetInParent()
        self.assertEqual(reply.SerializeToString(), short.published(Published("c", None, key)))

    def test_what_nobody_asked_is_not_answered(self) -> None:
        for key in (None, 0, "1"):
            self.assertIsNone(short.published(Published("c", None, key)))


class ReadingTests(SynchronousTestCase):
    @given(st.integers(0, 2**32 - 1), TEXT | st.text("x", min_size=126, max_size=130), st.binary(max_size=300))
    def test_usual_one(self, key: int, channel: str, data: bytes) -> None:
        command = pb.Command(id=key)
        command.publish.channel, command.publish.data = channel, data
        found = short.read_publish(command.SerializeToString())
        if key and 0 < len(channel.encode()) < 128 and data:
            self.assertEqual(Publish(channel, data, not is_utf8(data), None, key), found)
        else:
            self.assertIn(found, (None, Publish(channel, data, not is_utf8(data), None, key)))

    @given(st.integers(1, 300), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=3), st.data())
    def test_nothing_is_read_otherwise_than_by_the_generated_code(
        self, key: int, changes: list[tuple[int, int]], data: Any
    ) -> None:
        """Whatever the bytes are: here it is None, or the same."""
        command = pb.Command(id=key)
        command.publish.channel, command.publish.data = "chat:\u00e9", b"{}"
        message = bytearray(command.SerializeToString())
        for place, byte in changes:
            message[place % len(message)] = byte
        extra = data.draw(st.sampled_from([b"", b"\x08\x01", b"\x42\x00", b"\x3a\x00", b"\xf8\x07\x00", b"\x18\x01"]))
        text = bytes(message) + extra
        found = short.read_publish(text)
        if found is not None:
            self.assertEqual(generated_publish(text), found)
