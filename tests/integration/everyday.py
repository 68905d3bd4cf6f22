"""Everything people do in a chat, once, over two connections and two auths where there are two.

For tests that ask whether a stack of some kind works at all. What instances of an earlier version may
leave out (docs/reference/bus.md) is not looked at.
"""

import json

from clients import Mqtt, Ws, login, uuid7
from ports import SLOW, wait_until


class Everyday:
    def __init__(self, stack, suffix=""):
        self.stack, self.suffix = stack, suffix
        connections, auths = len(stack.names("connection")), len(stack.names("auth"))
        self.doors = [stack.door(1 + i % connections, 1 + i % auths) for i in range(2)]

    def people(self):
        ann, bob, carl = self.stack.people.make(*(name + self.suffix for name in ("ann", "bob", "carl")))
        ann.stack, bob.stack, carl.stack = self.doors[0], self.doors[1], self.doors[1]
        return ann, bob, carl

    def run(self):
        self.ann, self.bob, self.carl = self.people()
        self.direct = self.ann.direct(self.bob)
        self.group = self.ann.group("three", self.bob, self.carl)
        self.a, self.c = self.ann.ws(), self.carl.ws()
        self.b = self.bob.mqtt(client_id="phone" + self.suffix, clean=False)
        try:
            for step in (self.chat, self.change_messages, self.marks_and_signals, self.away, self.rest, self.members,
                         self.tokens, self.history):
                step()
        finally:
            for client in (self.a, self.b, self.c):
                client.close()

    def chat(self):
        for number in range(3):
            text = f"direct {number}"
            assert self.a.send(self.direct, text)["t"] == "ok"
            got = self.b.message(where=lambda d, text=text: d["body"].get("text") == text)
            assert got["from"] == self.ann.id and got["conversation"] == self.direct
            self.b.publish(f"pipit/u/{self.ann.name}/send", f"answer {number}")
            self.a.event("msg", where=lambda d, n=number: d["body"].get("text") == f"answer {n}")
        message = uuid7()
        first = self.c.send(self.group, "to all", message)
        assert first["t"] == "ok" and first["d"]["seq"] == 1
        assert self.c.send(self.group, "to all", message)["d"]["seq"] == 1, "stored twice"
        self.a.event("msg", where=lambda d: d["message"] == message)
        self.b.message(where=lambda d: d["message"] == message)
        own = uuid7()
        self.b.publish(f"pipit/c/{self.group}/send", json.dumps({"message": own, "text": "from a topic"}))
        for socket in (self.a, self.c):
            assert socket.event("msg", where=lambda d: d["message"] == own)["d"]["seq"] == 2

    def change_messages(self):
        seq = self.a.send(self.group, "helo")["d"]["seq"]
        base = {"conversation": self.group, "seq": seq}
        assert self.a.request("edit", {**base, "message": uuid7(), "body": {"text": "hello"}})["t"] == "ok"
        assert self.c.event("edit")["d"]["target"] == seq
        assert self.c.request("edit", {**base, "message": uuid7(), "body": {"text": "no"}})["t"] == "err"
        assert self.c.request("react", {**base, "message": uuid7(), "emoji": "👍"})["t"] == "ok"
        assert self.a.event("react")["d"]["emoji"] == "👍"
        assert self.a.request("recall", {**base, "message": uuid7()})["t"] == "ok"
        assert self.c.event("recall")["d"]["target"] == seq
        reply = self.c.send(self.group, "a reply", reply=1)
        assert reply["t"] == "ok", reply

    def marks_and_signals(self):
        seq = self.a.send(self.group, "read me")["d"]["seq"]
        self.c.event("msg", where=lambda d: d["seq"] == seq)
        self.c.post("mark", {"conversation": self.group, "read": seq}, with_id=False)
        mark = self.a.event("mark", where=lambda d: d.get("read") == seq)["d"]
        assert mark["user"] == self.carl.id and mark["conversation"] == self.group
        self.c.post("typing", {"conversation": self.group}, with_id=False)
        assert self.a.event("typing")["d"]["user"] == self.carl.id
        self.a.event("presence", where=lambda d: d["user"] == self.carl.id and d["status"] == "online")
        # An earlier version may not have the word for it, but it tells that something changed.
        self.c.post("presence", {"status": "away"}, with_id=False)
        self.a.event("presence", where=lambda d: d["user"] == self.carl.id)
        online = self.c.request("presence", {"conversation": self.group})
        assert online["t"] == "ok" and self.ann.id in online["d"]["online"], online

    def away(self):
        """A device with a persistent session misses some, and gets them when it is back."""
        self.b.close()
        texts = [f"missed {number}" for number in range(20)]
        for text in texts:
            assert self.a.send(self.direct, text)["t"] == "ok"
        back = self.bob.mqtt(client_id="phone" + self.suffix, clean=False)
        wait_until(lambda: len([m for m in back.received() if m["body"].get("text") in texts]) >= 20, 20, "the backlog")
        got = [m["body"]["text"] for m in back.received() if m["body"].get("text") in texts]
        assert list(dict.fromkeys(got)) == texts
        self.b = back

    def rest(self):
        item = next(i for i in self.carl.ok("GET", "/v1/me/conversations")["items"] if i["id"] == self.group)
        assert item["kind"] == "group" and item["role"] == "member"
        assert {m["user"] for m in self.ann.ok("GET", f"/v1/conversations/{self.group}/members")["items"]} == {
            self.ann.id, self.bob.id, self.carl.id}
        self.ann.send(self.group, "by REST")
        self.c.event("msg", where=lambda d: d["body"].get("text") == "by REST")
        assert self.bob.ok("PUT", f"/v1/conversations/{self.group}/mute", {"muted": True})["muted"] is True
        self.stack.people.admin.ok("GET", "/v1/admin/stats")
        assert self.stack.people.admin.ok("GET", "/v1/admin/audit?limit=10")["items"]

    def members(self):
        self.ann.ok("DELETE", f"/v1/conversations/{self.group}/members/{self.carl.id}")
        self.ann.send(self.group, "without carl")
        self.b.message(where=lambda d: d["body"].get("text") == "without carl")
        wait_until(lambda: self.c.send(self.group, "still here?")["t"] == "err", 6, "the former member to be refused")
        assert self.carl.call("GET", f"/v1/conversations/{self.group}/messages?after=0").status_code == 403
        self.ann.ok("PUT", f"/v1/conversations/{self.group}/members/{self.carl.id}", {})
        seq = self.ann.send(self.group, "with carl")["seq"]
        wait_until(lambda: [m for m in self.c.messages() if m["seq"] == seq and m["conversation"] == self.group], 10,
                   "the message after coming back")
        texts = [m["body"].get("text") for m in self.c.messages()]
        assert "without carl" not in texts
        self.ann.ok("PUT", f"/v1/me/blocks/{self.bob.id}")
        wait_until(lambda: self.a.send(self.direct, "blocked")["t"] == "err", 6, "the block to act")
        self.ann.ok("DELETE", f"/v1/me/blocks/{self.bob.id}")
        wait_until(lambda: self.a.send(self.direct, "good again")["t"] == "ok", 6, "the block to end")
        self.b.message(where=lambda d: d["body"].get("text") == "good again")

    def tokens(self):
        answer = self.ann.ok("POST", "/v1/token", {"refresh_token": self.ann.refresh})
        self.ann.take(answer)
        assert self.a.request("auth", {"token": self.ann.token})["t"] == "ok"
        second = login(self.doors[1], self.ann.name)
        sockets = [Ws(door, second.token) for door in self.doors]
        taken = Mqtt(self.doors[0], second, client_id="one", version=5)
        newer = Mqtt(self.doors[1], second, client_id="one", version=5)
        assert taken.disconnected.get(timeout=20 * SLOW), "the same MQTT client id twice"
        second.ok("POST", "/v1/logout")
        for socket in sockets:
            code, _ = socket.wait_closed(timeout=6)
            assert 4100 <= code < 4200
        assert newer.disconnected.get(timeout=20 * SLOW)
        wait_until(lambda: second.call("GET", "/v1/me").status_code == 401, 6, "the token to be dead")
        for client in (taken, newer):
            client.client.loop_stop()

    def history(self):
        for conversation in (self.direct, self.group):
            told = self.ann.history(conversation)
            assert [m["seq"] for m in told] == list(range(1, len(told) + 1))
            items, final = self.a.sync({conversation: 0})
            assert final["t"] == "ok"
            assert [(m["seq"], m["message"]) for m in items[conversation]] == [(m["seq"], m["message"]) for m in told]
            live = {m["seq"]: m["message"] for m in self.b.received() if m["conversation"] == conversation}
            assert live.items() <= {m["seq"]: m["message"] for m in told}.items()
