"""What is not allowed on a connection, and what it is answered with; and how one is drained.

The ids name the sections of RFC 9113.
"""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest

from ext_proc.transport.h2 import (
    Code,
    Connection,
    HalfClosed,
    Limits,
    Message,
    Opened,
    Reset,
    Status,
)
from ext_proc.transport.h2.headers import HeaderBlocks
from tests.unit.ext_proc.transport.wire import (
    ACK,
    CONTINUATION,
    DATA,
    EMPTY,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    GOAWAY,
    GREETING,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW,
    METHOD,
    NO_TABLE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    TABLE_SIZE,
    WINDOW_UPDATE,
    Frame,
    Server,
    block,
    data,
    headers,
    literal,
    message,
    parsed,
    ping,
    rst_stream,
    settings,
    window_update,
)

FULL = 2**31 - 1
OPEN = headers(1)
HALF = headers(1, END_HEADERS | END_STREAM)
GONE = headers(1, END_HEADERS | END_STREAM) + rst_stream(1)


def raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return bytes(Frame(kind, flags, stream, payload))


def continuation(stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return raw(CONTINUATION, flags, stream, payload)


def gone(frames: list[Frame]) -> list[Code]:
    return [Code(frame.code) for frame in frames if frame.kind == GOAWAY]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n", Code.PROTOCOL_ERROR, id="3.4 another protocol"),
        pytest.param(b"PRI * HTTP/2.1", Code.PROTOCOL_ERROR, id="3.4 a bad preface, not all of it"),
        pytest.param(PREFACE + ping(bytes(8)), Code.PROTOCOL_ERROR, id="3.4 PING before SETTINGS"),
        pytest.param(PREFACE + headers(1), Code.PROTOCOL_ERROR, id="3.4 HEADERS before SETTINGS"),
        pytest.param(PREFACE + raw(99, 0, 0), Code.PROTOCOL_ERROR, id="3.4 unknown before SETTINGS"),
        pytest.param(PREFACE + raw(SETTINGS, ACK, 0), Code.PROTOCOL_ERROR, id="3.4 an ACK before SETTINGS"),
    ],
)  # fmt: skip
def test_a_bad_beginning(sent: bytes, code: Code) -> None:
    server = Server(b"")
    assert server.take(sent) == []
    assert gone(server.said()) == [code]
    assert server.connection.closing
    assert server.connection.drained


CONNECTION_FAULTS = [
    ("4.2 a frame above 16 KiB", b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", Code.FRAME_SIZE_ERROR),
    ("4.2 an unknown frame above 16 KiB", b"\x00\x40\x01\x63\x00\x00\x00\x00\x01", Code.FRAME_SIZE_ERROR),
    ("4.3 not HPACK", headers(1, payload=b"\xff\xff\xff\xff\xff\xff"), Code.COMPRESSION_ERROR),
    ("4.3 HPACK index 0", headers(1, payload=b"\x20\x80"), Code.COMPRESSION_ERROR),
    ("4.3 a table that is not there", headers(1, payload=b"\x20\xbe"), Code.COMPRESSION_ERROR),
    ("4.3 a table that was not shrunk", headers(1, payload=literal(b":path", b"/")), Code.COMPRESSION_ERROR),
    ("4.3 a table grown again", headers(1, payload=b"\x21" + block()), Code.COMPRESSION_ERROR),
    ("5.1 DATA idle", data(1), Code.PROTOCOL_ERROR),
    ("5.1 DATA beyond the last", OPEN + data(3), Code.PROTOCOL_ERROR),
    ("5.1 DATA on a server's number", headers(5) + data(2), Code.PROTOCOL_ERROR),
    ("5.1 RST_STREAM idle", rst_stream(1), Code.PROTOCOL_ERROR),
    ("5.1 RST_STREAM on a server's number", headers(5) + rst_stream(2), Code.PROTOCOL_ERROR),
    ("5.1 WINDOW_UPDATE idle", window_update(1, 1), Code.PROTOCOL_ERROR),
    ("5.1 WINDOW_UPDATE on a server's number", headers(5) + window_update(2, 1), Code.PROTOCOL_ERROR),
    ("5.1 HEADERS on a closed stream", GONE + headers(1), Code.STREAM_CLOSED),
    ("5.1.1 HEADERS on stream 0", headers(0), Code.PROTOCOL_ERROR),
    ("5.1.1 an even number", headers(2), Code.PROTOCOL_ERROR),
    ("5.1.1 an even number below the last", headers(5) + headers(2), Code.PROTOCOL_ERROR),
    ("5.1.1 decreasing numbers", headers(5) + headers(3), Code.STREAM_CLOSED),
    ("6.1 DATA on stream 0", data(0), Code.PROTOCOL_ERROR),
    ("6.1 padding of all", OPEN + data(1, b"\x01", PADDED), Code.PROTOCOL_ERROR),
    ("6.1 padding above all", OPEN + data(1, b"\xff\x00\x00", PADDED), Code.PROTOCOL_ERROR),
    ("6.1 padded, and empty", OPEN + data(1, b"", PADDED), Code.PROTOCOL_ERROR),
    ("6.2 padding of all", headers(1, END_HEADERS | PADDED, b"\x02\x00"), Code.PROTOCOL_ERROR),
    ("6.2 no room for a priority", headers(1, END_HEADERS | HAS_PRIORITY, bytes(4)), Code.FRAME_SIZE_ERROR),
    ("6.2 padding over a priority", headers(1, END_HEADERS | HAS_PRIORITY | PADDED, b"\x01" + bytes(5)), Code.FRAME_SIZE_ERROR),
    ("6.3 PRIORITY on stream 0", raw(PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
    ("6.3 PRIORITY of four bytes, idle", raw(PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    ("6.4 RST_STREAM on stream 0", rst_stream(0), Code.PROTOCOL_ERROR),
    ("6.4 RST_STREAM of three bytes", OPEN + raw(RST_STREAM, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
    ("6.5 SETTINGS of a stream", raw(SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    ("6.5 SETTINGS of five bytes", raw(SETTINGS, 0, 0, bytes(5)), Code.FRAME_SIZE_ERROR),
    ("6.5 an ACK with settings", raw(SETTINGS, ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    ("6.5.2 ENABLE_PUSH 2", settings((ENABLE_PUSH, 2)), Code.PROTOCOL_ERROR),
    ("6.5.2 INITIAL_WINDOW_SIZE 2^31", settings((INITIAL_WINDOW, 2**31)), Code.FLOW_CONTROL_ERROR),
    ("6.5.2 INITIAL_WINDOW_SIZE 2^31, corrected", settings((INITIAL_WINDOW, 2**31), (INITIAL_WINDOW, 1)), Code.FLOW_CONTROL_ERROR),
    ("6.5.2 MAX_FRAME_SIZE 2^14-1", settings((FRAME_SIZE, 2**14 - 1)), Code.PROTOCOL_ERROR),
    ("6.5.2 MAX_FRAME_SIZE 2^24", settings((FRAME_SIZE, 2**24)), Code.PROTOCOL_ERROR),
    ("6.6 PUSH_PROMISE", OPEN + raw(PUSH_PROMISE, END_HEADERS, 1, pack(">I", 2)), Code.PROTOCOL_ERROR),
    ("6.7 PING of a stream", raw(PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    ("6.7 PING of seven bytes", ping(bytes(7)), Code.FRAME_SIZE_ERROR),
    ("6.7 PING of nine bytes", ping(bytes(9), ACK), Code.FRAME_SIZE_ERROR),
    ("6.8 GOAWAY of a stream", raw(GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    ("6.8 GOAWAY of seven bytes", raw(GOAWAY, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    ("6.9 WINDOW_UPDATE of three bytes", raw(WINDOW_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    ("6.9 WINDOW_UPDATE of three bytes on a stream", OPEN + raw(WINDOW_UPDATE, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
    ("6.9 nothing more for the connection", window_update(0, 0), Code.PROTOCOL_ERROR),
    ("6.9 nothing more, but the reserved bit", window_update(0, 2**31), Code.PROTOCOL_ERROR),
    ("6.9.1 the connection's window above the most", window_update(0, FULL - 65_534), Code.FLOW_CONTROL_ERROR),
    ("6.9.2 a stream's window above the most", OPEN + window_update(1, 1) + settings((INITIAL_WINDOW, FULL)), Code.FLOW_CONTROL_ERROR),
    ("6.10 CONTINUATION of nothing", continuation(1, flags=END_HEADERS), Code.PROTOCOL_ERROR),
    ("6.10 CONTINUATION of a whole block", OPEN + continuation(1, flags=END_HEADERS), Code.PROTOCOL_ERROR),
    ("6.10 CONTINUATION of another stream", headers(1, 0) + continuation(3), Code.PROTOCOL_ERROR),
    ("6.10 a block and DATA", headers(1, 0) + data(1), Code.PROTOCOL_ERROR),
    ("6.10 a block and PING", headers(1, 0) + ping(bytes(8)), Code.PROTOCOL_ERROR),
    ("6.10 a block and an unknown frame", headers(1, 0) + raw(99, 0, 1), Code.PROTOCOL_ERROR),
    ("6.10 a block and a block", headers(1, 0) + headers(3), Code.PROTOCOL_ERROR),
    ("10.5 a block without an end", headers(1, 0) + continuation(1, bytes(16_384)) * 4, Code.ENHANCE_YOUR_CALM),
    ("10.5 a block of empty frames", headers(1, 0) + continuation(1) * 65, Code.ENHANCE_YOUR_CALM),
    ("10.5.1 too many fields", headers(1, payload=NO_TABLE + b"\x84" * 2000), Code.ENHANCE_YOUR_CALM),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "code"), [pytest.param(sent, code, id=name) for name, sent, code in CONNECTION_FAULTS]
)
def test_faults_that_end_the_connection(sent: bytes, code: Code) -> None:
    server = Server()
    server.take(sent)
    assert gone(server.said()) == [code]
    assert server.connection.closing
    assert server.connection.fault is not None
    assert server.connection.fault.code is code
    assert server.take(headers(101)) == []  # nothing is heard any more


def without_the_last_frame(sent: bytes) -> bytes:
    start, end = 0, 0
    while end < len(sent):
        start, end = end, end + 9 + int.from_bytes(sent[end : end + 3], "big")
    return sent[:start]


@pytest.mark.parametrize(
    "sent", [pytest.param(sent, id=name) for name, sent, _code in CONNECTION_FAULTS]
)
def test_what_comes_before_such_a_fault_is_none(sent: bytes) -> None:
    server = Server()
    server.take(without_the_last_frame(sent))
    assert not server.connection.closing


STREAM_FAULTS = [
    ("5.1 DATA after the end", HALF + data(1), Code.STREAM_CLOSED),
    ("5.1 trailers after the end", HALF + headers(1, END_HEADERS | END_STREAM), Code.STREAM_CLOSED),
    ("5.1 DATA on a closed stream", GONE + data(1), Code.STREAM_CLOSED),
    ("5.1 DATA on a stream that was skipped", headers(3) + data(1), Code.STREAM_CLOSED),
    ("6.3 PRIORITY of four bytes", OPEN + raw(PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    ("6.9 nothing more for a stream", OPEN + window_update(1, 0), Code.PROTOCOL_ERROR),
    ("6.9.1 a window above the most", OPEN + window_update(1, FULL - 65_534), Code.FLOW_CONTROL_ERROR),
    ("8.1 trailers that end nothing", OPEN + headers(1), Code.PROTOCOL_ERROR),
    ("8.1 trailers that end nothing, continued", OPEN + headers(1, 0) + continuation(1, b"", END_HEADERS), Code.PROTOCOL_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "code"), [pytest.param(sent, code, id=name) for name, sent, code in STREAM_FAULTS]
)
def test_faults_that_end_a_stream(sent: bytes, code: Code) -> None:
    server = Server()
    before = server.take(without_the_last_frame(sent))
    assert server.said() == []
    was_open = server.connection.open_streams and Opened(1, METHOD) in before
    events = server.take(sent[len(without_the_last_frame(sent)) :])
    assert events == ([Reset(1)] if was_open else [])
    assert [(f.kind, f.stream, f.code) for f in server.said()] == [(RST_STREAM, 1, code)]
    assert not server.connection.closing
    assert not server.connection.send(1, b"nothing")
    assert server.take(headers(5)) == [Opened(5, METHOD)]


IGNORED = [
    ("4.1 unknown types", raw(99, 0xFF, 77, b"anything")),
    ("4.1 the reserved bit", raw(PING, ACK, 2**31, bytes(8))),
    ("5.1 PRIORITY idle", raw(PRIORITY, 0, 77, bytes(5))),
    ("5.1 WINDOW_UPDATE on a closed stream", GONE + window_update(1, 5)),
    ("5.1 RST_STREAM on a closed stream", GONE + rst_stream(1)),
    ("6.7 an answer to no PING", ping(b"whatever", ACK)),
    ("6.7 an answer to a PING of draining that was not sent", ping(b"draining", ACK)),
    ("6.8 GOAWAY", raw(GOAWAY, 0, 0, bytes(8) + b"debug")),
    ("6.5.3 another ACK", raw(SETTINGS, ACK, 0)),
]


@pytest.mark.parametrize("sent", [pytest.param(sent, id=name) for name, sent in IGNORED])
def test_what_is_ignored(sent: bytes) -> None:
    server = Server()
    server.take(sent)
    assert server.said() == []
    assert server.take(headers(3)) == [Opened(3, METHOD)]
    assert server.said() == []


def test_the_peers_goaway_stops_nothing_that_is_open() -> None:
    server = Server()
    server.take(OPEN, raw(GOAWAY, 0, 0, bytes(8)))
    assert server.take(data(1, message(b"a"))) == [Message(1, b"a")]
    assert not server.connection.drained


def test_unknown_settings_are_ignored_and_all_are_acknowledged() -> None:
    server = Server()
    server.take(settings((0xABCD, 2**32 - 1), (TABLE_SIZE, 0), (ENABLE_PUSH, 1)), settings())
    assert server.said() == [Frame(SETTINGS, ACK, 0)] * 2


def test_what_a_connection_announces() -> None:
    connection = Connection(Limits(streams=7, stream_window=70_000, connection_window=80_000))
    first, second = parsed(connection.outgoing())
    pairs = [(1, 0), (3, 7), (4, 70_000), (6, 64 * 1024)]
    assert first == next(parsed(settings(*pairs)))
    assert bytes(second) == window_update(0, 80_000 - 65_535)


@pytest.mark.parametrize("field", ["stream_window", "connection_window"])
@pytest.mark.parametrize("size", [65_534, 2**31])
def test_windows_that_a_peer_could_not_know(field: str, size: int) -> None:
    values: dict[str, Any] = {field: size}
    with pytest.raises(ValueError, match="window"):
        Limits(**values)


def test_pings_are_answered() -> None:
    server = Server()
    server.take(ping(b"12345678"))
    assert server.said() == [Frame(PING, ACK, 0, b"12345678")]


# ---- header blocks


@pytest.mark.parametrize(
    ("flags", "before", "after"),
    [
        (PADDED, b"\x03", bytes(3)),
        (PADDED, b"\x00", b""),
        (HAS_PRIORITY, b"\x80\x00\x00\x03\xff", b""),
        (PADDED | HAS_PRIORITY, b"\x02" + bytes(5), bytes(2)),
    ],
)
def test_padding_and_priority_are_no_part_of_a_block(
    flags: int, before: bytes, after: bytes
) -> None:
    server = Server()
    sent = headers(1, flags | END_HEADERS | END_STREAM, before + block("/a/B") + after)
    assert server.take(sent) == [Opened(1, "/a/B"), HalfClosed(1)]


@pytest.mark.parametrize("end", [0, END_STREAM])
def test_a_block_in_many_frames(end: int) -> None:
    server = Server()
    pieces = [block("/a/B")[at : at + 1] for at in range(len(block("/a/B")))]
    middle = [continuation(1, piece) for piece in pieces[1:]]
    sent = headers(1, end, pieces[0]), *middle, continuation(1, b"", END_HEADERS)
    assert server.take(*sent) == [Opened(1, "/a/B")] + [HalfClosed(1)] * end


def test_trailers_end_a_request() -> None:
    server = Server()
    trailers = headers(1, END_HEADERS | END_STREAM, NO_TABLE + literal(b"a", b"b"))
    assert server.take(OPEN, trailers) == [Opened(1, METHOD), HalfClosed(1)]


def test_a_request_without_a_path() -> None:
    assert Server().take(headers(1, payload=NO_TABLE)) == [Opened(1, "")]


GROWING = b"\x3f\xe1\x1f"  # a table of 4096 bytes
ADDING = b"\x44\x02/%c"  # :path, literal, put into the table
ADDED = b"\xbe"


def test_before_the_acknowledgement_no_block_is_remembered() -> None:
    """A table of size 0 may still grow, so the same bytes change the table now, and not before."""
    server = Server(PREFACE + settings())
    add_a, add_b = NO_TABLE + ADDING % b"a", GROWING + ADDING % b"b"
    paths = []
    for number, sent in enumerate(
        (add_a, ADDING % b"a", add_b, ADDING % b"a", ADDED, add_a, add_b)
    ):
        paths += server.take(headers(2 * number + 1, payload=sent))
    assert [event.path for event in paths if isinstance(event, Opened)] == [
        "/a", "/a", "/b", "/a", "/a", "/a", "/b",
    ]  # fmt: skip
    server.take(headers(21, payload=add_a), headers(23, payload=ADDED))
    assert gone(server.said()) == [Code.COMPRESSION_ERROR]


def test_blocks_for_nobody_are_decoded_too() -> None:
    """4.3: they change the table."""
    server = Server(PREFACE + settings())
    server.take(headers(1, payload=b""))
    server.connection.reset(1, Code.CANCEL)
    server.take(headers(1, END_HEADERS | END_STREAM, ADDING % b"a"))
    assert server.take(headers(3, payload=ADDED)) == [Opened(3, "/a")]


def test_what_is_remembered_is_bounded() -> None:
    blocks = HeaderBlocks(64 * 1024)
    blocks.acknowledged()
    for number in range(2000):
        assert blocks.request(block(f"/{number}")).path == f"/{number}"
    long = NO_TABLE + literal(b":path", b"/long") + literal(b"x", bytes(100)) * 20
    assert blocks.request(long) == blocks.request(long) == ("/long", None)
    assert 0 < len(blocks._known) <= 512
    assert long not in blocks._known


def test_our_first_block_says_that_we_have_no_table() -> None:
    """Else a peer that announces a smaller table would wait for it (RFC 7541, section 4.2)."""
    server = Server()
    server.take(settings((TABLE_SIZE, 0)), HALF, headers(3))
    server.said()
    server.connection.end(1)
    server.connection.end(3)
    blocks = [frame.payload for frame in server.said()]
    assert [sent.startswith(NO_TABLE) for sent in blocks] == [True, False, False, False]


# ---- messages


def statuses(frames: list[Frame]) -> list[bytes]:
    """The grpc-status of each stream that ended."""
    ends = [f.payload for f in frames if f.kind == HEADERS and f.flags & END_STREAM]
    return [end.partition(b"grpc-status")[2].partition(b"\x00")[0][1:] for end in ends]


REFUSED = [
    ("compressed", message(b"a", compressed=1), Status.UNIMPLEMENTED),
    ("compressed, its prefix only", b"\x01\x00\x00\x00\x00", Status.UNIMPLEMENTED),
    ("over the limit", message(bytes(101)), Status.RESOURCE_EXHAUSTED),
    ("over the limit, its prefix only", message(length=101), Status.RESOURCE_EXHAUSTED),
    ("too much buffered", message(bytes(80), length=90), Status.RESOURCE_EXHAUSTED),
]


@pytest.mark.parametrize("end", [0, END_STREAM])
@pytest.mark.parametrize(
    ("sent", "status"), [pytest.param(sent, status, id=name) for name, sent, status in REFUSED]
)
def test_messages_that_are_refused_end_their_call_only(
    sent: bytes, status: Status, end: int
) -> None:
    server = Server(message=100, buffered=60)
    server.take(headers(3), data(3, message(b"ab")[:6]))
    events = server.take(headers(5), data(5, message(b"first") + sent, end))
    assert events == [Opened(5, METHOD), Message(5, b"first"), Reset(5)]
    said = server.said()
    assert statuses(said) == [b"%d" % status]
    kinds = [HEADERS, HEADERS] if end else [HEADERS, HEADERS, RST_STREAM]
    assert [frame.kind for frame in said] == kinds
    assert server.books()["left"] == 1 - end
    assert server.take(data(3, b"b")) == [Message(3, b"ab")]
    assert server.books()["buffered"] == 0


def test_a_refusal_drops_what_waits_for_the_window() -> None:
    server = Server(message=100)
    server.take(settings((INITIAL_WINDOW, 3)), headers(1))
    server.connection.send(1, b"waits")
    server.said()
    assert server.take(data(1, message(bytes(101)))) == [Reset(1)]
    assert [frame.kind for frame in server.said()] == [HEADERS, RST_STREAM]
    server.take(window_update(1, 100), window_update(0, 100), rst_stream(1))
    assert server.said() == []
    assert server.books() == EMPTY


def test_after_our_end_the_peers_messages_are_nobodys() -> None:
    server = Server(message=100)
    server.take(settings((INITIAL_WINDOW, 3)), headers(1), data(1, b"\x00"))
    server.connection.send(1, b"waits")
    server.connection.end(1)
    server.said()
    assert server.books()["buffered"] == 0
    assert server.take(data(1, message(bytes(101))), data(1, b"", END_STREAM)) == [HalfClosed(1)]
    assert server.said() == []
    server.take(window_update(1, 100))
    assert [frame.kind for frame in server.said()] == [DATA, HEADERS]
    assert server.books() == EMPTY


def test_what_waits_for_the_peers_windows_is_bounded() -> None:
    server = Server(queued=100)
    server.take(settings((INITIAL_WINDOW, 0)), headers(1), headers(3))
    assert server.connection.send(1, bytes(60))
    server.said()
    assert not server.connection.send(3, bytes(60))
    assert statuses(server.said()) == [b"8"]
    assert not server.connection.send(3, b"")
    assert server.connection.send(1, bytes(20))
    assert server.books()["queued"] == 90
    server.take(window_update(1, 1000), rst_stream(3))
    assert sum(len(frame.payload) for frame in server.said()) == 90
    server.take(rst_stream(1))
    assert server.books() == EMPTY


# ---- flow control of what we receive


def test_more_data_than_the_streams_window() -> None:
    """6.9.1. The window is opened when half of it is used."""
    server = Server(stream_window=65_535)
    server.take(OPEN, data(1, message(length=10**6)), data(1, bytes(16_384)))
    assert server.said() == []
    server.take(data(1, bytes(16_384)))
    assert [bytes(f) for f in server.said()] == [window_update(1, 16_384 * 2 + 5)]
    server.connection._streams.open[1].receive_window = 10
    server.take(data(1, bytes(7) + b"\x01\x00\x00", PADDED))  # padding counts too
    server.said()
    server.connection._streams.open[1].receive_window = 10
    assert server.take(data(1, bytes(11))) == [Reset(1)]
    assert [(f.kind, f.code) for f in server.said()] == [(RST_STREAM, Code.FLOW_CONTROL_ERROR)]


def test_more_data_than_the_connections_window() -> None:
    server = Server(connection_window=65_535)
    server.take(OPEN, data(1, message(length=10**6)), data(1, bytes(16_384)))
    assert server.said() == []
    server.take(data(1, bytes(16_384)))
    assert [bytes(f) for f in server.said()] == [window_update(0, 16_384 * 2 + 5)]
    server.connection._receiver.window = 10
    server.take(data(1, bytes(11)))
    assert gone(server.said()) == [Code.FLOW_CONTROL_ERROR]


def test_data_for_nobody_still_counts_for_the_connection() -> None:
    server = Server(connection_window=65_535)
    server.take(OPEN)
    server.connection.reset(1, Code.CANCEL)
    server.said()
    server.take(*[data(1, bytes(16_384))] * 3)
    assert [bytes(f) for f in server.said()] == [window_update(0, 16_384 * 3)]


def test_padding_counts_for_the_windows() -> None:
    server = Server(stream_window=65_535, connection_window=65_535)
    server.take(OPEN, data(1, message(length=10**6)))
    padded = bytes([255]) + bytes(10 + 255)
    server.take(*[data(1, padded, PADDED)] * 124)
    assert [bytes(f) for f in server.said()] == [
        window_update(0, 5 + 124 * 266), window_update(1, 5 + 124 * 266),
    ]  # fmt: skip


# ---- flow control of what we send


def test_a_negative_window_must_become_positive_again() -> None:
    """6.9.2."""
    server = Server()
    server.take(settings((INITIAL_WINDOW, 20)), OPEN)
    server.connection.send(1, bytes(15))
    server.said()
    server.take(settings((INITIAL_WINDOW, 5)))
    server.said()
    server.connection.send(1, b"ab")
    server.take(window_update(1, 15))
    assert server.said() == []
    server.take(window_update(1, 3))
    assert [len(frame.payload) for frame in server.said()] == [3]
    server.take(settings((INITIAL_WINDOW, 9)))
    acknowledgement, sent = server.said()  # in this order: the peer may count by the old size
    assert acknowledgement == Frame(SETTINGS, ACK, 0)
    assert len(sent.payload) == 4


def test_the_connections_window_goes_to_the_oldest_first() -> None:
    server = Server()
    server.take(settings((INITIAL_WINDOW, FULL)), *[headers(n) for n in (1, 3, 5)])
    server.connection.send(1, bytes(65_530))
    server.said()
    for stream in (3, 5, 1):
        server.connection.send(stream, b"12345")
        server.connection.end(stream)
    server.said()
    server.take(window_update(0, 15))
    assert [(f.kind, f.stream) for f in server.said()] == [
        (DATA, 3), (HEADERS, 3), (DATA, 5),
    ]  # fmt: skip
    server.take(window_update(0, 15))
    assert [(f.kind, f.stream) for f in server.said()] == [
        (DATA, 5), (HEADERS, 5), (DATA, 1), (HEADERS, 1),
    ]  # fmt: skip


def test_a_stream_that_is_blocked_by_itself_is_not_looked_at_again() -> None:
    """Else every byte for the connection would cost a look at all of them."""
    server = Server()
    server.take(settings((INITIAL_WINDOW, 0)), OPEN)
    server.connection.send(1, b"waits")
    assert server.books()["blocked"] == 0
    server.take(settings((INITIAL_WINDOW, FULL)), headers(3))
    server.connection.send(3, bytes(65_536))
    assert list(server.connection._sender._blocked) == [3]
    server.take(settings((INITIAL_WINDOW, 3)))
    assert server.books()["blocked"] == 0


def test_the_peers_frame_size_is_kept() -> None:
    server = Server()
    server.take(OPEN)
    server.connection.send(1, bytes(20_000))
    server.take(settings((FRAME_SIZE, 20_000)))
    server.connection.send(1, bytes(20_000))
    sizes = [len(frame.payload) for frame in server.said() if frame.kind == DATA]
    assert sizes == [16_384, 3_621, 20_000, 5]


# ---- limits, ends


def test_streams_above_the_limit_are_refused() -> None:
    server = Server(streams=1)
    server.take(OPEN)
    assert server.take(headers(3), data(3, b"x", END_STREAM), HALF) == [HalfClosed(1)]
    assert [(f.stream, f.code) for f in server.said()] == [(3, Code.REFUSED_STREAM)]
    server.take(headers(5, END_HEADERS | END_STREAM))
    assert [(f.stream, f.code) for f in server.said()] == [(5, Code.REFUSED_STREAM)]
    server.connection.end(1)
    assert server.books() == EMPTY
    assert server.take(headers(7)) == [Opened(7, METHOD)]


def test_nothing_can_be_said_on_a_stream_that_is_over() -> None:
    server = Server()
    server.take(OPEN, headers(3))
    server.connection.end(1)
    server.connection.reset(3, Code.CANCEL)
    assert [(f.kind, f.stream) for f in server.said()] == [
        (HEADERS, 1),
        (HEADERS, 1),
        (RST_STREAM, 3),
    ]
    for stream in (1, 3, 5):
        assert not server.connection.send(stream, b"a")
        server.connection.end(stream)
        server.connection.reset(stream, Code.CANCEL)
    assert server.said() == []


def test_frames_that_cross_our_end_are_ignored() -> None:
    server = Server()
    server.take(OPEN, headers(3))
    server.connection.end(1)
    server.connection.reset(3, Code.CANCEL)
    server.said()
    for stream in (1, 3):
        trailers = headers(stream, END_HEADERS | END_STREAM)
        assert server.take(data(stream, message(b"late")), window_update(stream, 1), trailers) == []
    assert server.said() == []
    assert server.books() == EMPTY


def test_what_is_remembered_of_ended_streams_is_bounded() -> None:
    server = Server()
    for number in range(1, 10_001, 2):
        server.take(headers(number))
        server.connection.end(number)
        assert server.books()["left"] <= 4096
    assert server.books() == EMPTY | {"left": len(server.connection._streams.left)}
    server.take(data(9_999, message(b"late")), data(9_999 - 2 * 3000, message(b"late")))
    assert server.said()[-1].kind != RST_STREAM


# ---- draining


def drained_once() -> Server:
    server = Server()
    server.take(OPEN)
    server.connection.drain()
    server.connection.drain()
    return server


def test_draining_takes_the_streams_that_cross_and_no_later_ones() -> None:
    """6.8."""
    server = drained_once()
    assert server.said() == [
        Frame(GOAWAY, 0, 0, pack(">II", FULL, 0)), Frame(PING, 0, 0, b"draining"),
    ]  # fmt: skip
    assert server.take(headers(3)) == [Opened(3, METHOD)]
    server.take(ping(b"another.", ACK))
    assert server.said() == []
    server.take(ping(b"draining", ACK))
    assert server.said() == [Frame(GOAWAY, 0, 0, pack(">II", 3, 0))]
    assert server.take(headers(5), data(5, b"x")) == []
    assert [(f.stream, f.code) for f in server.said()] == [(5, Code.REFUSED_STREAM)]
    server.take(ping(b"draining", ACK))
    assert server.said() == []
    assert not server.connection.drained
    server.connection.end(1)
    assert not server.connection.drained
    server.connection.end(3)
    assert server.connection.drained
    assert not server.connection.closing


def test_without_streams_draining_waits_for_the_ping_only() -> None:
    server = Server()
    server.connection.drain()
    assert not server.connection.drained
    server.take(ping(b"draining", ACK))
    assert server.connection.drained


def test_answers_that_wait_for_a_window_are_no_loss_of_draining() -> None:
    server = drained_once()
    server.take(settings((INITIAL_WINDOW, 0)), ping(b"draining", ACK))
    server.connection.send(1, b"answer")
    server.connection.end(1)
    assert not server.connection.drained
    server.take(window_update(1, 11))
    assert server.connection.drained


def test_the_last_stream_of_a_goaway_never_grows() -> None:
    """6.8: also when the peer goes on with streams that are refused, and then makes a mistake."""
    server = drained_once()
    server.take(ping(b"draining", ACK), headers(3), headers(2))
    goaways = [frame.payload for frame in server.said() if frame.kind == GOAWAY]
    assert goaways == [pack(">II", FULL, 0), pack(">II", 1, 0), pack(">II", 1, Code.PROTOCOL_ERROR)]


def test_a_connection_that_failed_is_not_drained_again() -> None:
    server = Server()
    server.take(headers(2))
    server.said()
    server.connection.drain()
    assert server.said() == []


def test_what_came_before_a_fault_in_the_same_bytes_is_served() -> None:
    server = Server()
    assert server.take(OPEN, data(1, message(b"a")), data(0)) == [
        Opened(1, METHOD),
        Message(1, b"a"),
    ]
    assert server.connection.send(1, b"b")
    server.connection.end(1)
    assert [frame.kind for frame in server.said()] == [GOAWAY, HEADERS, DATA, HEADERS]


def test_a_greeting_on_its_own_is_enough() -> None:
    assert Server(GREETING).take(OPEN) == [Opened(1, METHOD)]
