"""The chat of ../README.md on grpc.aio: what myxi asks about every client, answered."""

import asyncio
import hmac
import json
import os
import random
import signal
import unicodedata

import grpc
from grpc import StatusCode
from myxi.v1 import action_handler_pb2 as pb, action_handler_pb2_grpc as rpc
from myxi.v1 import gateway_pb2, gateway_pb2_grpc

USERS = {"adam-secret": "adam", "eve-secret": "eve"}
MOST_DICE = 1_000_000
PUSH_TIMEOUT = 10  # seconds; the gateway answers within 5
GRACE = 10  # seconds, for what is under way at a stop


class Refused(Exception):
    """A status and its message, which tell the client why not."""


def field(payload, name: str, kind: type):
    value = payload.get(name) if isinstance(payload, dict) else None
    if type(value) is not kind:
        raise Refused(StatusCode.INVALID_ARGUMENT, f'"{name}" must be of type {kind.__name__}')
    return value


def user_of(session: pb.Session) -> str | None:
    return json.loads(session.auth)["user"] if session.HasField("auth") else None


def room_of(payload) -> str:
    room = field(payload, "room", str)
    # What is no routing key is no room.
    if len(room.encode()) > 255 or any(unicodedata.category(c) == "Cc" for c in room):
        raise Refused(StatusCode.INVALID_ARGUMENT, '"room" must have at most 255 bytes, and no control characters')
    return room


def may_enter(user: str, room: str) -> bool:
    return room != "staff" or user == "adam"


def answer(name: str, payload: dict, **rest) -> pb.HandleActionResponse:
    return pb.HandleActionResponse(events=[pb.Event(event=name, payload=json.dumps(payload))], **rest)


class Chat(rpc.ActionHandlerServicer):
    def __init__(self, gateway: gateway_pb2_grpc.GatewayStub, gateway_token: str = ""):
        self.gateway = gateway
        self.metadata = [("authorization", f"Bearer {gateway_token}")] if gateway_token else []

    async def HandleAction(self, request, context):
        try:
            return await self.handle(request.action, json.loads(request.payload), request.session)
        except Refused as refused:
            await context.abort(*refused.args)

    async def handle(self, action: str, payload, session: pb.Session) -> pb.HandleActionResponse:
        if action == "Authenticate":
            return self.authenticate(field(payload, "token", str))
        user = user_of(session)
        if not user:
            raise Refused(StatusCode.UNAUTHENTICATED, "who are you?")
        match action:
            case "Join":
                return self.join(user, room_of(payload))
            case "Say":
                said = json.loads(session.data.get("said", "0"))
                room, text = room_of(payload), field(payload, "text", str)
                return await self.say(user, room, text, said + 1)
            case "Roll":
                return self.roll(field(payload, "dice", int))
        raise Refused(StatusCode.UNIMPLEMENTED, "no such action")

    def authenticate(self, token: str):
        if token not in USERS:
            details = json.dumps({"message": "nobody has this token"})
            return pb.HandleActionResponse(error=pb.ActionError(code="InvalidToken", details=details))
        user = {"user": USERS[token]}
        return answer("Authenticated", user, session_update=pb.SessionUpdate(set_auth=json.dumps(user)))

    def join(self, user: str, room: str):
        if not may_enter(user, room):
            raise Refused(StatusCode.PERMISSION_DENIED, "not your room")
        update = pb.SessionUpdate(set_data={"room": json.dumps(room)})
        topic = pb.Topic(exchange="rooms", routing_key=room)
        return answer("Joined", {"room": room}, subscribe=[topic], session_update=update)

    async def say(self, user: str, room: str, text: str, number: int):
        if not may_enter(user, room):
            raise Refused(StatusCode.PERMISSION_DENIED, "not your room")
        await self.push(room, "Said", {"user": user, "text": text})
        update = pb.SessionUpdate(set_data={"said": json.dumps(number)})
        return answer("Sent", {"number": number}, session_update=update)

    def roll(self, dice: int):
        if not 1 <= dice <= MOST_DICE:
            raise Refused(StatusCode.INVALID_ARGUMENT, f'"dice" must be from 1 to {MOST_DICE}')
        return answer("Rolled", {"dice": random.choices(range(1, 7), k=dice)})

    async def push(self, room: str, name: str, payload: dict):
        request = gateway_pb2.PushEventRequest(
            exchange="rooms", routing_key=room, event=name, payload=json.dumps(payload))
        await self.gateway.PushEvent(request, timeout=PUSH_TIMEOUT, metadata=self.metadata)

    async def CheckSubscriptions(self, request, context):
        user = user_of(request.session)

        def decide(topic: pb.Topic):
            if topic.exchange != "rooms":
                return pb.DECISION_UNKNOWN_EXCHANGE
            return pb.DECISION_ALLOW if user and may_enter(user, topic.routing_key) else pb.DECISION_DENY

        return pb.CheckSubscriptionsResponse(decisions=map(decide, request.topics))

    async def SessionOpened(self, request, context):
        if request.session.query == "version=0":
            refusal = pb.Disconnect(code=4500, reason="this version is too old")
            return pb.SessionOpenedResponse(decision=pb.SESSION_DECISION_REFUSE, refusal=refusal)
        greeting = pb.Event(event="Greeting", payload=json.dumps({"text": "Who are you?"}))
        return pb.SessionOpenedResponse(decision=pb.SESSION_DECISION_ACCEPT, events=[greeting])

    async def SessionClosed(self, request, context):
        if room := request.session.data.get("room"):
            await self.push(json.loads(room), "Left", {"user": user_of(request.session)})
        return pb.SessionClosedResponse()


class OnlyWithToken(grpc.aio.ServerInterceptor):
    """Whoever can call this service speaks in the name of any user."""

    def __init__(self, token: str):
        self.expected = f"Bearer {token}".encode()

    async def intercept_service(self, continuation, call):
        given = dict(call.invocation_metadata).get("authorization", "")
        if hmac.compare_digest(given.encode(), self.expected):
            return await continuation(call)
        return grpc.unary_unary_rpc_method_handler(self.refuse)

    @staticmethod
    async def refuse(request, context):
        await context.abort(StatusCode.UNAUTHENTICATED, "wrong token")


def variable(name: str, default: str = "") -> str:
    return os.environ.get(name) or default


def serve(chat: Chat, address: str, token: str) -> grpc.aio.Server:
    # By default a second process could listen here, too, and calls would go to either.
    options = [("grpc.so_reuseport", 0)]
    server = grpc.aio.server(interceptors=[OnlyWithToken(token)] if token else [], options=options)
    rpc.add_ActionHandlerServicer_to_server(chat, server)
    server.add_insecure_port(address)
    return server


async def main():
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    # The gateway is not behind a company's proxy, whatever `http_proxy` says.
    direct = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(variable("MYXI_GATEWAY", "127.0.0.1:5006"), direct) as gateway:
        chat = Chat(gateway_pb2_grpc.GatewayStub(gateway), variable("MYXI_GRPC_TOKEN"))
        server = serve(chat, variable("LISTEN", "127.0.0.1:50051"), variable("MYXI_ACTION_HANDLER_TOKEN"))
        await server.start()
        await stop.wait()
        await server.stop(GRACE)


if __name__ == "__main__":
    asyncio.run(main())
