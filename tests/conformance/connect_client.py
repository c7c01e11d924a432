"""Connect's own client of the Gateway service, over HTTP/1.1.

    python tests/conformance/connect_client.py ADDRESS SESSION [TOKEN]

Makes each call of the service with messages as JSON and as they are, compressed with gzip and
not, and prints a line of JSON for each: the call, and its answer or the code and the message of
its error. SESSION gets an event each time, and is closed at the end.
"""

import json
import sys
from pathlib import Path

import grpc
from connectrpc.client import ConnectClientSync
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.compression.gzip import GzipCompression
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from google.protobuf.json_format import MessageToDict

sys.path.append(str(Path(__file__).parents[2] / "proto"))
protos = grpc.protos("myxi/v1/gateway.proto")

PATIENCE_MS = 60_000

address, session, *token = sys.argv[1:]
headers = {"authorization": f"Bearer {token[0]}"} if token else {}


def method(name: str) -> MethodInfo:
    return MethodInfo(
        name=name,
        service_name="myxi.v1.Gateway",
        input=getattr(protos, name + "Request"),
        output=getattr(protos, name + "Response"),
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.UNARY,
    )


def call(client: ConnectClientSync, name: str, timeout_ms: int = PATIENCE_MS, **fields) -> None:
    info = method(name)
    try:
        reply = client.execute_unary(
            request=info.input(**fields), method=info, headers=headers, timeout_ms=timeout_ms
        )
        outcome = {"answer": MessageToDict(reply, preserving_proto_field_name=True)}
    except ConnectError as error:
        outcome = {"code": error.code.value, "message": error.message}
    print(json.dumps({"call": name} | outcome), flush=True)


def event(name: str, **more) -> dict:
    return {"exchange": "widgets", "routing_key": "k", "event": name, "payload": '{"n":1}'} | more


clients = {
    f"{codec.name()}{'+gzip' if compression else ''}": ConnectClientSync(
        f"http://{address}", codec=codec, send_compression=compression
    )
    for codec in (google_protobuf_json_codec(), google_protobuf_binary_codec())
    for compression in (None, GzipCompression())
}
for name, client in clients.items():
    call(client, "PushEvent", **event(name, event_id=name))
    pair = [protos.PushEventRequest(**event("", event_id=name + more)) for more in "ab"]
    call(client, "PushEvents", events=pair)
    call(client, "SendEvent", session_id=session, event=name + " sent", payload="[1]")
    call(client, "PushEvent", **event("lost", exchange="elsewhere"))
    call(client, "PushEvent", **event("lost", payload="x" * 300_000))
call(clients["json"], "DisconnectSession", session_id=session, code=4001)
