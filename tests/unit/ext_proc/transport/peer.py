"""The `h2` library as the client of a connection: both in memory, joined by two buffers."""

from __future__ import annotations

from collections import defaultdict

import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes

from ext_proc.transport.h2 import Connection, Event, HalfClosed, Limits, Message, Opened, Reset
from tests.unit.ext_proc.transport.wire import GOAWAY, METHOD, Frame, message, parsed

DEFAULT = Limits()


class Peer:
    """A client and a server.

    Attributes:
        eager: the client gives back its windows as soon as it has read.
        got: messages that the server received, by stream.
        data, status, resets: what the client received, by stream.
        unacknowledged: settings that the server has not confirmed; `h2` takes a confirmation for
            one of each kind, so those who mix kinds wait for it.
        goaways: what the client was told; hidden from `h2`, which knows no graceful end.
    """

    def __init__(self, limits: Limits = DEFAULT, *, eager: bool = True) -> None:
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.client = h2.connection.H2Connection(config)
        self.server = Connection(limits)
        self.eager = eager
        self.to_server = self.to_client = b""
        self.queues: dict[int, tuple[bytearray, bool]] = {}
        self.events: list[Event] = []
        self.paths: dict[int, str] = {}
        self.got: defaultdict[int, list[bytes]] = defaultdict(list)
        self.ended: set[int] = set()
        self.gone: set[int] = set()  # for the server
        self.data: defaultdict[int, bytearray] = defaultdict(bytearray)
        self.unread: defaultdict[int, int] = defaultdict(int)
        self.status: dict[int, bytes] = {}
        self.resets: dict[int, int] = {}
        self.goaways: list[Frame] = []
        self.unacknowledged = 0

    # ---- the client's calls

    def greet(self, **settings: int) -> None:
        """With the names of `SettingCodes`."""
        if settings:
            values = {SettingCodes[name.upper()]: value for name, value in settings.items()}
            self.client.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.client.initiate_connection()
        self.unacknowledged += 1

    def settings(self, **settings: int) -> None:
        values: dict[SettingCodes | int, int] = {
            SettingCodes[name.upper()]: value for name, value in settings.items()
        }
        self.client.update_settings(values)
        self.unacknowledged += 1
        # `h2` looks at its limit once for a piece, which may hold the ACK and what that allows
        self.client.max_inbound_frame_size = max(
            self.client.max_inbound_frame_size, settings.get("max_frame_size", 0)
        )

    def open(self, path: str = METHOD, *fields: tuple[str, str], end: bool = False) -> int:
        stream: int = self.client.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")]
        self.client.send_headers(stream, [*pseudo, *fields], end_stream=end)
        return stream

    def send(self, stream: int, *payloads: bytes, end: bool = False) -> None:
        """Messages, as the windows allow."""
        queue, _ = self.queues.get(stream, (bytearray(), False))
        queue += b"".join(message(payload) for payload in payloads)
        self.queues[stream] = queue, end
        self.push()

    def push(self) -> None:
        for stream, (queue, end) in list(self.queues.items()):
            if self.closed(stream):
                del self.queues[stream]
                continue
            while queue and (size := self.room(stream, len(queue))):
                self.client.send_data(stream, bytes(queue[:size]))
                del queue[:size]
            if not queue:
                del self.queues[stream]
                if end:
                    self.client.end_stream(stream)

    def room(self, stream: int, wanted: int) -> int:
        window = self.client.local_flow_control_window(stream)
        return max(0, min(wanted, window, self.client.max_outbound_frame_size))

    def reset(self, stream: int) -> None:
        self.queues.pop(stream, None)
        if not self.closed(stream):
            self.client.reset_stream(stream, error_code=8)

    def closed(self, stream: int) -> bool:
        """For the client, on both sides."""
        return stream not in self.client.streams or self.client.streams[stream].closed

    def read(self, stream: int, size: int) -> None:
        """Give back a part of the windows."""
        self.unread[stream] -= size
        self.client.acknowledge_received_data(size, stream)

    # ---- bytes

    def collect(self) -> None:
        self.to_server += self.client.data_to_send()
        frames = list(parsed(self.server.outgoing()))
        self.goaways += [frame for frame in frames if frame.kind == GOAWAY]
        self.to_client += b"".join(bytes(frame) for frame in frames if frame.kind != GOAWAY)

    def deliver_to_server(self, size: int | None = None) -> list[Event]:
        size = len(self.to_server) if size is None else size
        piece, self.to_server = self.to_server[:size], self.to_server[size:]
        events = self.server.receive(piece)
        for event in events:
            self._note(event)
        return events

    def deliver_to_client(self, size: int | None = None) -> None:
        size = len(self.to_client) if size is None else size
        piece, self.to_client = self.to_client[:size], self.to_client[size:]
        for event in self.client.receive_data(piece):
            self._react(event)
        self.push()

    def turn(self) -> list[Event]:
        """Everything that is on its way arrives once."""
        self.collect()
        events = self.deliver_to_server()
        self.collect()
        self.deliver_to_client()
        return events

    def quiet(self) -> list[Event]:
        """Everything arrives, and what it causes."""
        events: list[Event] = []
        self.collect()
        while self.to_server or self.to_client:
            events += self.turn()
            self.collect()
        return events

    # ---- what happens

    def _note(self, event: Event) -> None:
        assert event.stream not in self.gone, "something after the end"
        if isinstance(event, Opened):
            assert event.stream not in self.paths
            self.paths[event.stream] = event.path
            return
        assert event.stream in self.paths
        if isinstance(event, Message):
            assert event.stream not in self.ended
            self.got[event.stream].append(event.data)
        elif isinstance(event, HalfClosed):
            assert event.stream not in self.ended
            self.ended.add(event.stream)
        elif isinstance(event, Reset):
            self.gone.add(event.stream)

    def _react(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.data[event.stream_id] += event.data
            self.unread[event.stream_id] += event.flow_controlled_length
            if self.eager and event.flow_controlled_length:
                self.read(event.stream_id, event.flow_controlled_length)
        elif isinstance(event, h2.events.TrailersReceived):
            self.status[event.stream_id] = dict(event.headers)[b"grpc-status"]
        elif isinstance(event, h2.events.StreamReset):
            self.queues.pop(event.stream_id, None)
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, h2.events.SettingsAcknowledged):
            self.unacknowledged -= 1
        elif isinstance(event, h2.events.ResponseReceived):
            assert dict(event.headers)[b":status"] == b"200"
