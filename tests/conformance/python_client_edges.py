"""The client of clients/python before servers that are none, or at a bad moment: what no real gateway
does when a test wants it. Says the name of each case that went well.
"""

import asyncio
import json
import pathlib
import sys

import websockets

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "clients/python"))
from client import Client  # noqa: E402

WELCOME = {"event": "Welcome", "payload": {"id": "5edab4db47677f46", "ping_interval_ms": 25000}}
DEADLINE = 60


class Server:
    """Greets, keeps what was said on each connection, and answers it by `answer(socket, message)`."""

    def __init__(self, answer, slow=None):
        self.answer, self.slow = answer, slow
        self.said, self.heard = [], asyncio.Event()

    async def __aenter__(self):
        self.server = await websockets.serve(self.serve, "127.0.0.1", 0, process_request=self.shakes)
        port = self.server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def shakes(self, *_):
        self.heard.set()
        if self.slow:
            await self.slow.wait()

    async def serve(self, socket):
        self.said.append([])
        mine = self.said[-1]
        await socket.send(json.dumps(WELCOME))
        try:
            async for text in socket:
                message = json.loads(text)
                mine.append(message["action"])
                await self.answer(socket, message)
        except websockets.ConnectionClosed:
            pass


async def stands(socket, message):
    tag, payload = message.get("tag"), message["payload"]
    if message["action"] == "Subscribe":
        for key in payload["routing_keys"]:
            subscribed = {"exchange": payload["exchange"], "routing_key": key}
            await socket.send(json.dumps({"event": "Subscribed", "tag": tag, "payload": subscribed}))
    else:
        await socket.send(json.dumps({"event": "Done", "tag": tag}))


async def it_is_closed_while_it_connects():
    slow = asyncio.Event()
    async with Server(stands, slow) as server:
        client = Client(server.url)
        running = asyncio.create_task(client.run())
        await server.heard.wait()
        await client.close()
        slow.set()
        assert await running == 1000


async def the_connection_is_lost_while_it_says_who_it_is():
    async def answer(socket, message):
        if message["action"] == "Authenticate" and len(server.said) == 1:
            socket.transport.abort()
        else:
            await stands(socket, message)

    heard = []

    async def authenticate(client):
        await client.action("Authenticate")

    async with Server(answer) as server:
        client = Client(server.url, authenticate)
        client.subscribe("widgets", "1", lambda event, _: heard.append(event))
        running = asyncio.create_task(client.run())
        while len(server.said) < 2 or "Subscribe" not in server.said[1]:
            await asyncio.sleep(0.01)
        # Behind whatever the first connection has left.
        await asyncio.gather(*client.tasks, return_exceptions=True)
        assert (await client.action("Behind"))[0] == "Done"
        assert server.said[1] == ["Authenticate", "Subscribe", "Behind"], server.said
        assert heard == ["Subscribed"], heard
        await client.close()
        assert await running == 1000


async def who_it_is_cannot_be_fetched_in_time():
    tries = 0

    async def authenticate(_):
        nonlocal tries
        tries += 1
        if tries == 1:
            raise asyncio.TimeoutError

    async with Server(stands) as server:
        client = Client(server.url, authenticate)
        subscribed = asyncio.Event()
        client.subscribe("widgets", "1", lambda *_: subscribed.set())
        running = asyncio.create_task(client.run())
        await subscribed.wait()
        await client.close()
        assert (await running, tries) == (1000, 2)


async def somebody_else_answers():
    nobody = ["hello", "null", '{"event":"Hello"}', "[" * 100_000, '{"event":"Welcome"}']
    for said in nobody + ['{"event":"Welcome","payload":null}']:

        async def serve(socket, said=said):
            tried.set()
            await socket.send(said)
            await socket.wait_closed()

        tried = asyncio.Event()
        async with websockets.serve(serve, "127.0.0.1", 0) as server:
            client = Client(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            running = asyncio.create_task(client.run())
            # It comes back again, and again.
            for _ in range(2):
                await tried.wait()
                tried.clear()
            await client.close()
            assert await running == 1000


async def a_number_is_longer_than_any_integer():
    digits = "1" * 5001

    async def answer(socket, message):
        await stands(socket, message)
        if message["action"] == "Subscribe":
            pushed = '{"event":"Big","payload":%s,"mq":{"e":"widgets","rk":"1"}}' % digits
            await socket.send(pushed)

    heard = asyncio.Queue()
    async with Server(answer) as server:
        client = Client(server.url)
        client.subscribe("widgets", "1", lambda event, payload: heard.put_nowait((event, payload)))
        running = asyncio.create_task(client.run())
        assert (await heard.get())[0] == "Subscribed"
        event, payload = await heard.get()
        assert (event, f"{payload:f}") == ("Big", digits)
        await client.close()
        await running


async def who_is_refused_asks_again_at_once():
    async def answer(socket, message):
        if message["action"] == "Subscribe" and sum(action == "Subscribe" for action in server.said[0]) == 1:
            denied = {"error": "SubscriptionDenied", "retryable": False, "exchange": "widgets", "routing_key": "1"}
            await socket.send(json.dumps({"event": "Error", "tag": message["tag"], "payload": denied}))
        else:
            await stands(socket, message)

    heard = asyncio.Queue()

    def hear(event, _):
        heard.put_nowait(event)
        if event == "Error":
            client.subscribe("widgets", "1", hear)

    async with Server(answer) as server:
        client = Client(server.url)
        client.subscribe("widgets", "1", hear)
        running = asyncio.create_task(client.run())
        assert [await heard.get(), await heard.get()] == ["Error", "Subscribed"]
        assert ("widgets", "1") in client.keys
        await client.close()
        await running


async def main():
    for case in [
        it_is_closed_while_it_connects,
        the_connection_is_lost_while_it_says_who_it_is,
        who_it_is_cannot_be_fetched_in_time,
        somebody_else_answers,
        a_number_is_longer_than_any_integer,
        who_is_refused_asks_again_at_once,
    ]:
        await asyncio.wait_for(case(), DEADLINE)
        print(case.__name__, flush=True)


asyncio.run(main())
