"""A client of the gateway, written from docs/wire.schema.json alone, to be read beside
docs/clients.md: the numbers are those of its rules. It is made to be translated, not to be
installed. Needs `websockets`; with `debug` also `jsonschema`, to hold every message to the schema.
"""

import asyncio
import contextlib
import decimal
import json
import pathlib
import random
import time
from dataclasses import dataclass, field

import websockets

SCHEMA = pathlib.Path(__file__).parents[2] / "docs/wire.schema.json"

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # s, between two attempts to connect
STOOD = 10.0  # s: a connection that stood so long was a good one
# s that connecting, an answer to Ping, and what is sent until it has left, may take
CONNECTING, PONG, SENDING = 15.0, 15.0, 15.0
PINGS_APART = 10  # intervals: so often Ping is sent, whatever is heard
KEYS_MAX, KEYS_SIZE = 500, 40_000  # in one Subscribe, and their bytes: a gateway takes 64 KiB
ACTIONS_MAX = 1000  # that wait for their reply
MESSAGE_MAX = 1 << 24  # bytes


class GatewayError(Exception):
    """An Error of the gateway's. Decide by `retryable` and `unknown`, not by the code (rule 2)."""

    def __init__(self, payload):
        payload = payload if isinstance(payload, dict) else {}
        self.code = str(payload.get("error", "InternalError"))
        super().__init__(self.code)
        self.retryable = payload.get("retryable") is True
        self.unknown = payload.get("outcome") == "unknown"
        after = payload.get("retry_after_ms")
        self.retry_after = min(after, 1e9) / 1000 if isinstance(after, int) else 0
        self.payload = payload


class Place:
    """Where keys stand together in a log: all behind it is still to come (rule 6)."""

    def __init__(self, position=None):
        self.position = position


@dataclass
class Request:
    """A Subscribe that has not come to its end."""

    exchange: str
    place: Place  # asked for from there; its own until Replayed
    open: dict = field(default_factory=dict)  # keys without an answer, by their text
    replaying: list = field(default_factory=list)


@dataclass(eq=False)
class Key:
    exchange: str
    key: object
    # Called with (event, payload), also "Subscribed"; "Recovered": all that was missed has come;
    # "Gap": events are missed, fetch the state anew; "Error" and "Unsubscribed": it has ended.
    handler: object
    place: Place = field(default_factory=Place)
    standing: bool = False
    stood: bool = False


class Backoff:
    """Ever longer, and never all clients at once (rule 8)."""

    def __init__(self):
        self.tries = 0

    def next(self):
        # So many doublings are longer than any wait.
        doublings = min(max(0, self.tries - 1), 16)
        bound = min(LONGEST_WAIT, FIRST_WAIT * 2**doublings)
        self.tries += 1
        return bound * (random.random() if self.tries == 1 else random.uniform(0.5, 1))


class Client:
    """`authenticate` is awaited on every connection before anything else is asked for. What a handler
    raises is reported to the loop, and disturbs nothing."""

    def __init__(self, url, authenticate=None, debug=False):
        self.url, self.authenticate = url, authenticate
        self.check = checker() if debug else lambda definition, message: None
        self.keys = {}  # (exchange, key as text): Key
        self.live = {}  # exchange: Place of all live keys, on this connection
        self.requests, self.replies = {}, {}  # by tag
        self.again, self.patience = [], Backoff()  # keys that could not be decided, to ask again
        self.tags = 0
        self.socket = None
        self.ready = False
        self.tasks, self.failed = set(), None
        self.come_back_after = 0
        self.closed = asyncio.Event()

    async def close(self):
        """For good."""
        self.closed.set()
        if self.socket:
            await self.socket.close(1000)

    def subscribe(self, exchange, key, handler):
        wanted = self.keys[exchange, text(key)] = Key(exchange, key, handler)
        if self.ready:
            self.spawn(self.ask([wanted]))

    async def unsubscribe(self, exchange, key):
        del self.keys[exchange, text(key)]
        if self.ready:
            await self.send("Unsubscribe", {"exchange": exchange, "routing_key": key})

    async def action(self, name, payload=None, wait=15.0):
        """The first reply, as (event, payload). What was sent is never sent again (rule 3)."""
        if not self.socket or len(self.replies) >= ACTIONS_MAX:
            raise GatewayError({"error": "NotSent", "retryable": True})
        tag = self.new_tag()
        reply = self.replies[tag] = asyncio.get_running_loop().create_future()
        try:
            await self.send(name, {} if payload is None else payload, tag)
            return await asyncio.wait_for(reply, wait)
        except (asyncio.TimeoutError, websockets.ConnectionClosed):
            lost = {"error": "NoReply", "retryable": False, "outcome": "unknown"}
            raise GatewayError(lost) from None
        finally:
            self.replies.pop(tag, None)

    async def run(self):
        """One connection after another; returns the code that wants this client to stay away, and
        raises what is final about its authentication."""
        backoff = Backoff()
        while not self.closed.is_set():
            connected, code = time.monotonic(), None
            try:
                connecting = websockets.connect(
                    self.url, open_timeout=CONNECTING, ping_interval=None, max_size=MESSAGE_MAX
                )
                async with connecting as self.socket:
                    connected = time.monotonic()
                    if not self.closed.is_set():
                        await self.talk()
            except websockets.ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else None
                if time.monotonic() - connected >= STOOD:
                    backoff = Backoff()
            except (OSError, websockets.WebSocketException, asyncio.TimeoutError, ValueError, RecursionError):
                pass  # not reached, or refused for now, or somebody else answers there
            finally:
                self.lost()
            if self.failed:
                raise self.failed
            if code == 1000 or code is not None and 4500 <= code <= 4999:  # rule 9
                return code
            if code == 1013:
                backoff.tries = max(backoff.tries, 4)
            wait = max(backoff.next(), min(self.come_back_after, LONGEST_WAIT))
            self.come_back_after = 0
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.closed.wait(), wait)
        return 1000

    async def talk(self):
        """Until the connection is lost, which raises."""
        welcome = self.read(await asyncio.wait_for(self.socket.recv(), CONNECTING))  # rule 1
        if not isinstance(welcome, dict) or welcome.get("event") != "Welcome":
            raise ValueError("no Welcome")
        try:
            interval = float(welcome["payload"]["ping_interval_ms"]) / 1000
        except (KeyError, TypeError, ArithmeticError):
            raise ValueError("no Welcome") from None
        self.spawn(self.begin())
        pinged = time.monotonic()
        while True:
            due = pinged + PINGS_APART * interval - time.monotonic()
            heard = await self.hear(min(interval, max(due, 0)))
            if heard is None:  # rule 10
                pinged = time.monotonic()
                await self.send("Ping", {}, "ping")
                heard = await self.hear(PONG)
            if heard is None:
                self.socket.transport.abort()
                heard = await self.socket.recv()
            self.take(self.read(heard))

    async def hear(self, wait):
        try:
            return await asyncio.wait_for(self.socket.recv(), wait)
        except asyncio.TimeoutError:
            return None

    async def begin(self):
        """Says who this is, then asks for all that is wanted (rule 5)."""
        backoff, socket = Backoff(), self.socket
        while self.authenticate:
            try:
                await self.authenticate(self)
                break
            except GatewayError as error:
                if self.socket is not socket:
                    return  # the next connection has begun anew
                if not error.retryable and not error.unknown:
                    raise
                await asyncio.sleep(max(1, backoff.next(), error.retry_after))
        self.ready = True
        await self.ask(self.keys.values())

    async def ask(self, keys):
        """One Subscribe for each exchange and place in its log (rule 7)."""
        together = {}
        for key in keys:
            together.setdefault((key.exchange, key.place.position), []).append(key)
        for (exchange, position), keys in together.items():
            for some in in_parts(keys):
                request = Request(exchange, Place(position), {text(key.key): key for key in some})
                tag = self.new_tag()
                self.requests[tag] = request
                past = {"after": position} if position else {}
                wanted = {"exchange": exchange, "routing_keys": [key.key for key in some]}
                await self.send("Subscribe", wanted | past, tag)

    def take(self, message):
        """What is not as the schema has it is passed over: a later gateway may say more, and an
        application may name its own events as the gateway does (rule 4)."""
        with contextlib.suppress(KeyError, TypeError, AttributeError, ArithmeticError):
            self.take_known(message)

    def take_known(self, message):
        event, tag, payload = message["event"], message.get("tag"), message.get("payload")
        if "mq" in message:
            self.take_event(event, payload, message["mq"])
        elif isinstance(tag, str) and tag in self.replies:
            self.take_reply(self.replies.pop(tag), event, payload)
        elif event == "Pong":
            for exchange, position in payload.get("positions", {}).items():
                self.stands_at(exchange, position)
        elif event == "Gap":
            self.tell(payload, "Gap")
            self.stands_at(payload["exchange"], payload.get("id"))
        elif event == "Reconnect":
            self.come_back_after = payload["after_ms"] / 1000
        elif event == "Unsubscribed" and payload["auto"]:
            key = self.keys.pop((payload["exchange"], text(payload["routing_key"])), None)
            key and self.call(key, event, payload)
        elif isinstance(tag, str) and tag in self.requests:
            self.take_answer(tag, event, payload)

    def take_reply(self, reply, event, payload):
        if reply.done():
            return
        if event == "Error":
            reply.set_exception(GatewayError(payload))
        else:
            reply.set_result((event, payload))

    def take_event(self, event, payload, mq):
        key = self.keys.get((mq["e"], mq["rk"]))
        if key:
            self.call(key, event, payload)
            if key.standing and "id" in mq:
                key.place.position = mq["id"]

    def take_answer(self, tag, event, payload):
        request = self.requests[tag]
        if event == "Replayed":
            for key in filter(self.is_wanted, request.replaying):
                key.place = self.live_place(request.exchange)
                self.call(key, "Recovered", payload)
            request.replaying = []
        else:
            # Without a key it is about all that are not answered yet.
            named = [text(payload["routing_key"])] if "routing_key" in payload else list(request.open)
            for key in [request.open.pop(name, None) for name in named]:
                if key and self.is_wanted(key):
                    self.answer(key, request, event, payload)
        self.stands_at(request.exchange, payload.get("id"))
        if not request.open and not request.replaying:
            del self.requests[tag]

    def answer(self, key, request, event, payload):
        error = GatewayError(payload) if event == "Error" else None
        if error and error.code != "AlreadySubscribed":
            if error.retryable or key.stood and error.code == "InternalError":
                self.again.append(key)
                if len(self.again) == 1:
                    self.spawn(self.ask_again(error.retry_after))
            else:
                del self.keys[key.exchange, text(key.key)]
                self.call(key, "Error", payload | {"routing_key": key.key, "exchange": key.exchange})
            return
        self.patience = Backoff()
        missed, key.standing, key.stood = key.stood, True, True
        self.call(key, "Subscribed", payload)
        if payload.get("recovered"):
            key.place = request.place
            request.replaying.append(key)
        else:
            key.place = self.live_place(key.exchange)
            if missed:
                self.call(key, "Gap", payload)

    async def ask_again(self, after):
        await asyncio.sleep(max(self.patience.next(), after))
        keys, self.again = self.again, []
        await self.ask([key for key in keys if self.is_wanted(key)])

    def is_wanted(self, key):
        return self.keys.get((key.exchange, text(key.key))) is key

    def tell(self, payload, event):
        key = self.keys.get((payload["exchange"], text(payload["routing_key"])))
        if key:
            self.call(key, event, payload)

    def call(self, key, event, payload):
        try:
            key.handler(event, payload)
        except Exception as error:
            what = {"message": f"the handler of {key.exchange} {key.key}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(what)

    def live_place(self, exchange):
        return self.live.setdefault(exchange, Place())

    def stands_at(self, exchange, position):
        if isinstance(position, str):
            self.live_place(exchange).position = position

    def lost(self):
        """Each key keeps the place where it stood; nobody shares the next connection's."""
        self.socket, self.ready = None, False
        self.requests, self.live, self.again = {}, {}, []
        for key in self.keys.values():
            key.standing = False
            key.place = Place(key.place.position)
        for task in self.tasks:
            task.cancel()
        for reply in self.replies.values():
            lost = {"error": "ConnectionLost", "retryable": False, "outcome": "unknown"}
            reply.done() or reply.set_exception(GatewayError(lost))

    async def send(self, action, payload, tag=None):
        message = {"action": action, "payload": payload} | ({} if tag is None else {"tag": tag})
        self.check("ClientMessage", message)
        try:
            await asyncio.wait_for(self.socket.send(json.dumps(message)), SENDING)
        except asyncio.TimeoutError:
            self.socket and self.socket.transport.abort()  # it does not move
            raise

    def read(self, frame):
        message = json.loads(frame, parse_int=integer)
        self.check("GatewayMessage", message)
        return message

    def new_tag(self):
        self.tags += 1
        return f"c{self.tags}"

    def spawn(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.over)

    def over(self, task):
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, websockets.ConnectionClosed):
            if not isinstance(error, asyncio.TimeoutError):
                self.failed = error
            self.socket and self.socket.transport.abort()


def integer(digits):
    """Python makes no int of more than 4300 digits; none is to be lost (rule 12)."""
    return int(digits) if len(digits) < 4000 else decimal.Decimal(digits)


def text(key):
    """As it is on the bus: 1 and "1" are the same key, and null is the empty one."""
    return "" if key is None else str(key)


def in_parts(keys):
    part, size = [], 0
    for key in keys:
        if part and (len(part) == KEYS_MAX or size > KEYS_SIZE):
            yield part
            part, size = [], 0
        part.append(key)
        size += len(json.dumps(key.key)) + 2
    yield part


def checker():
    import jsonschema

    schema = json.loads(SCHEMA.read_text())
    known = {
        name: jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})
        for name in ("ClientMessage", "GatewayMessage")
    }
    return lambda definition, message: known[definition].validate(message)
