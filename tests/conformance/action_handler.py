"""An ActionHandler on a stock server of gRPC, to see what the runtime does by itself.

    python tests/conformance/action_handler.py [NAME=NUMBER]...

NAME is a channel argument, such as grpc.max_send_message_length. Prints a line for all that
happens: `port` and its number, then `began` and `finished` with the payload of each action.
`Hold` lasts until the test says `go on`; `Large` answers 4 KiB. On `stop` the server is
stopped as at any deploy, while the test still hears from the handlers.
"""

import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc

sys.path.append(str(Path(__file__).parents[2] / "proto"))
protos, services = grpc.protos_and_services("myxi/v1/action_handler.proto")

WORKERS = 4
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
        say("finished", request.payload)
        size = 4096 if request.action == "Large" else 0
        event = protos.Event(event="Answer", payload='"' + "x" * size + '"')
        return protos.HandleActionResponse(events=[event])

    def CheckSubscriptions(self, request, context):
        return protos.CheckSubscriptionsResponse()


options = [(name, int(number)) for name, number in (arg.split("=") for arg in sys.argv[1:])]
pool = futures.ThreadPoolExecutor(WORKERS)
server = grpc.server(pool, options=options)
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
