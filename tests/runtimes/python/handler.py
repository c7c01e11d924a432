"""The handler of ../README.md in Python: grpcio's server with a thread pool."""

import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc

sys.path.append(str(Path(__file__).parents[3] / "proto"))
protos, services = grpc.protos_and_services("myxi/v1/action_handler.proto")

GRACE = 0.1
go_on = threading.Event()
printing = threading.Lock()


def say(what: str, about) -> None:
    with printing:
        print(what, about, flush=True)


class Handler(services.ActionHandlerServicer):
    def HandleAction(self, request, context):
        say("began", request.payload)
        if request.action == "Hold":
            go_on.wait()
        if request.action == "Wait":
            time.sleep(float(request.payload))
        if request.action == "Throw":
            raise ValueError("thrown by the handler")
        say("finished", request.payload)
        size = 4096 if request.action == "Large" else 0
        event = protos.Event(event="Answer", payload='"' + "x" * size + '"')
        return protos.HandleActionResponse(events=[event])

    def CheckSubscriptions(self, request, context):
        allowed = protos.DECISION_ALLOW if request.session.id else protos.DECISION_DENY
        decisions = [allowed] * len(request.topics)
        return protos.CheckSubscriptionsResponse(decisions=decisions)


class Token(grpc.ServerInterceptor):
    def __init__(self, token: str):
        self.expected = ("authorization", f"Bearer {token}")
        self.refusal = grpc.unary_unary_rpc_method_handler(self.refuse)

    def intercept_service(self, continuation, call):
        if self.expected in call.invocation_metadata:
            return continuation(call)
        return self.refusal

    @staticmethod
    def refuse(request, context):
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")


given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
limits = {"max-receive": "grpc.max_receive_message_length", "max-send": "grpc.max_send_message_length"}
pool = futures.ThreadPoolExecutor(int(given.get("workers", 4)))
server = grpc.server(
    pool,
    options=[(argument, int(given[name])) for name, argument in limits.items() if name in given],
    interceptors=[Token(given["token"])] if "token" in given else [],
    compression=grpc.Compression.Gzip if "gzip" in given else None,
)
services.add_ActionHandlerServicer_to_server(Handler(), server)
say("port", server.add_insecure_port("127.0.0.1:0"))
server.start()
for line in sys.stdin:
    if line == "stop\n":
        server.stop(GRACE)
    if line == "go on\n":
        break
go_on.set()
server.stop(None).wait()
pool.shutdown(wait=True)
