"""The client of clients/python, as a test has it: it says what it hears, a line each.

    python_client.py URL EXCHANGE [--lenient] KEY…

It holds every message to the schema unless it is lenient. At `Stumble` its handler fails, and at `Close`
it ends.
"""

import asyncio
import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "clients/python"))
from client import Client, GatewayError  # noqa: E402


def say(*words):
    print(*words, flush=True)


async def authenticate(client):
    event, payload = await client.action("Authenticate", {"token": "sesame"})
    say(event, payload["user"])


async def main(url, exchange, *keys):
    client = Client(url, authenticate, debug="--lenient" not in keys)
    closing = []

    def hear(key, event, payload):
        if event == "Stumble":
            raise ValueError(event)
        say(key, event, payload.get("n"))
        if event == "Close":
            closing.append(asyncio.create_task(client.close()))

    for key in keys:
        if key != "--lenient":
            client.subscribe(exchange, key, functools.partial(hear, key))
    try:
        say("closed", await client.run())
    except GatewayError as error:
        say("refused", error.code)


asyncio.run(main(*sys.argv[1:]))
