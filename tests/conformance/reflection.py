"""Calls the Gateway service as grpcurl does: with what reflection says, and no stubs.

    python tests/conformance/reflection.py ADDRESS VERSION TOKEN SESSION_ID

VERSION is that of the reflection protocol, v1 or v1alpha; an empty TOKEN is not sent.
Prints a line of JSON for each call: its answer, or the status it was refused with.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

DEADLINE = 60
address, version, token, session_id = sys.argv[1:]
bearer = [("authorization", f"Bearer {token}")] if token else []


class Reflection:
    """Stands in for the library's stub, which knows v1alpha only and sends no token. The
    messages of both versions are the same."""

    def __init__(self, channel: grpc.Channel):
        self.call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )

    def ServerReflectionInfo(self, requests):
        return self.call(requests, metadata=bearer, timeout=DEADLINE)


class Caller:
    def __init__(self, channel: grpc.Channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.database._stub = Reflection(channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def services(self):
        return {"services": sorted(self.database.get_services())}

    def call(self, service: str, method: str, request: dict):
        described = self.pool.FindServiceByName(service).methods_by_name[method]
        Request = message_factory.GetMessageClass(described.input_type)
        Response = message_factory.GetMessageClass(described.output_type)
        call = self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=Request.SerializeToString,
            response_deserializer=Response.FromString,
        )
        request = json_format.ParseDict(request, Request())
        response = call(request, metadata=bearer, timeout=DEADLINE)
        return json_format.MessageToDict(response, preserving_proto_field_name=True)


def event(**fields):
    return {"exchange": "widgets", "routing_key": "1", "payload": "{}", **fields}


GATEWAY, HEALTH = "myxi.v1.Gateway", "grpc.health.v1.Health"
CALLS = [
    (HEALTH, "Check", {"service": GATEWAY}),
    (GATEWAY, "PushEvent", event(event="One", event_id="a")),
    (GATEWAY, "PushEvents", {"events": [event(event="Two", event_id="b"), event(event_id="c")]}),
    (GATEWAY, "PushEvent", event(event="One", exchange="nowhere")),
    (GATEWAY, "SendEvent", {"session_id": session_id, "event": "Three"}),
    (GATEWAY, "DisconnectSession", {"session_id": session_id, "code": 4001, "reason": "bye"}),
    (GATEWAY, "DisconnectSession", {"session_id": "0123456789abcdef"}),
]


def say(what: str, attempt):
    try:
        answer = {"answer": attempt()}
    except grpc.RpcError as error:
        answer = {"status": error.code().name}
    print(json.dumps({"call": what} | answer), flush=True)
    return "answer" in answer


with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
    caller = Caller(channel)
    if say("services", caller.services):
        for service, method, request in CALLS:
            say(method, lambda: caller.call(service, method, request))
