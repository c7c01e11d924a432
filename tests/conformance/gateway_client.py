"""A stock client of the Gateway service, to see what the runtimes do by themselves.

    python tests/conformance/gateway_client.py ADDRESS KIND

KIND is `gzip`: prints how a compressed event ends, then one that is small only as it is
compressed, then one more. Or `keepalive`: pings far more often than stock servers allow, also
without calls. Or `deadlines`: at `go on` it makes one patient call and many that it gives up at
their deadline, prints `given up`, and then how the patient one ends. Both print how a call ends
at the start and at each other line.
"""

import sys
from pathlib import Path

import grpc

sys.path.append(str(Path(__file__).parents[2] / "proto"))
protos, services = grpc.protos_and_services("myxi/v1/gateway.proto")

PATIENCE = 60
GIVEN_UP = 200
ROUNDS = 10
DEADLINE = 0.2
PING_INTERVAL_MS = 100
TOO_LARGE = 64 << 20

address, kind = sys.argv[1:]
options = [("grpc.max_send_message_length", -1)]
if kind == "keepalive":
    options += [
        ("grpc.keepalive_time_ms", PING_INTERVAL_MS),
        ("grpc.keepalive_timeout_ms", PATIENCE * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_time_between_pings_ms", PING_INTERVAL_MS),
        ("grpc.http2.min_sent_ping_interval_without_data_ms", PING_INTERVAL_MS),
    ]
compression = grpc.Compression.Gzip if kind == "gzip" else None
channel = grpc.insecure_channel(address, options=options, compression=compression)
gateway = services.GatewayStub(channel)


def event(payload: str = "1"):
    return protos.PushEventRequest(
        exchange="widgets", routing_key="k", event="Pushed", payload=payload
    )


def ends(payload: str = "1", timeout: float = PATIENCE) -> str:
    try:
        gateway.PushEvent(event(payload), timeout=timeout)
        return "OK"
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"


def say(what: str) -> None:
    print(what, flush=True)


if kind == "gzip":
    # Of three letters, so that it is compressed.
    say(ends('"' + "abc" * 10_000 + '"'))
    say(ends('"' + "x" * TOO_LARGE + '"'))
    say(ends())
else:
    say(ends())
    for line in sys.stdin:
        if line != "go on\n":
            say(ends())
            continue
        patient = gateway.PushEvent.future(event(), timeout=PATIENCE)
        # In rounds, so that who reads all of it later finds calls and their ends side by side.
        codes = set()
        for _ in range(ROUNDS):
            asked = range(GIVEN_UP // ROUNDS)
            calls = [gateway.PushEvent.future(event(), timeout=DEADLINE) for _ in asked]
            codes |= {call.code().name for call in calls}
        say(f"given up {' '.join(codes)}")
        say(f"{patient.code().name} {patient.details()}".strip())
channel.close()
