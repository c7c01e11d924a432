"""The client of clients/python, as a test has it: it says what it hears, a line each.

    python_client.py URL EXCHANGE KEY…
"""

import asyncio
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
    client = Client(url, authenticate, debug=True)
    for key in keys:
        client.subscribe(exchange, key, lambda event, payload, key=key: say(key, event, payload.get("n")))
    try:
        say("closed", await client.run())
    except GatewayError as error:
        say("refused", error.code)


asyncio.run(main(*sys.argv[1:]))
