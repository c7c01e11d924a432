"""The chat without a gateway: its calls are made directly, and what it pushes is caught."""

import json
import unittest

from grpc import StatusCode
from handler import Chat, Refused
from myxi.v1 import action_handler_pb2 as pb


class Caught:
    """In the gateway's place."""

    def __init__(self):
        self.pushed = []

    async def PushEvent(self, request, **_):
        self.pushed.append((request.routing_key, request.event, json.loads(request.payload)))


class ChatTest(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.gateway = Caught()
        self.chat = Chat(self.gateway)
        self.adam = pb.Session(auth='{"user":"adam"}', data={"said": "4"})

    async def test_a_token_is_worth_a_user(self):
        answer = await self.chat.handle("Authenticate", {"token": "adam-secret"}, pb.Session())
        self.assertEqual(json.loads(answer.session_update.set_auth), {"user": "adam"})
        answer = await self.chat.handle("Authenticate", {"token": "x"}, pb.Session())
        self.assertEqual(answer.error.code, "InvalidToken")

    async def test_what_is_said_is_pushed_and_counted(self):
        answer = await self.chat.handle("Say", {"room": "lobby", "text": "hi"}, self.adam)
        self.assertEqual(self.gateway.pushed, [("lobby", "Said", {"user": "adam", "text": "hi"})])
        self.assertEqual(answer.session_update.set_data["said"], "5")

    async def test_who_leaves_is_missed(self):
        self.adam.data["room"] = '"lobby"'
        await self.chat.SessionClosed(pb.SessionClosedRequest(session=self.adam), None)
        self.assertEqual(self.gateway.pushed, [("lobby", "Left", {"user": "adam"})])

    async def test_eve_is_not_staff(self):
        eve = pb.Session(auth='{"user":"eve"}')
        for room, status in [("staff", StatusCode.PERMISSION_DENIED), ("x" * 256, StatusCode.INVALID_ARGUMENT)]:
            with self.assertRaises(Refused) as refused:
                await self.chat.handle("Join", {"room": room}, eve)
            self.assertIs(refused.exception.args[0], status)
        topics = [pb.Topic(exchange="rooms", routing_key=key) for key in ("lobby", "staff")]
        request = pb.CheckSubscriptionsRequest(session=eve, topics=topics)
        answer = await self.chat.CheckSubscriptions(request, None)
        self.assertEqual(answer.decisions, [pb.DECISION_ALLOW, pb.DECISION_DENY])


if __name__ == "__main__":
    unittest.main()
