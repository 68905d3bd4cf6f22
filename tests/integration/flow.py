"""Messages that flow while instances come and go, and the proof that none was lost.

Writers send one message after another over WebSocket, MQTT and REST, each until it is acknowledged,
with the same id however often, at whichever instance answers. Readers stay as long as their
connection does and then sync. In the end history holds every acknowledged message once, in one order,
and every reader has seen the same.
"""

import json
import threading

import requests
import websocket

from clients import Mqtt, Ws, uuid7
from ports import SLOW, wait_until

TROUBLE = (AssertionError, OSError, ValueError, websocket.WebSocketException, requests.RequestException)


class Worker(threading.Thread):
    def __init__(self, flow):
        super().__init__(daemon=True)
        self.flow, self.ending, self.problem = flow, threading.Event(), None

    def pause(self, seconds=0.05):
        self.ending.wait(seconds)

    def run(self):
        try:
            self.work()
        except Exception as problem:  # told by the test
            self.problem = repr(problem)

    def end(self):
        self.ending.set()
        self.join(60 * SLOW)
        assert not self.is_alive() and not self.problem, self.problem or f"{self} hangs"


class Writer(Worker):
    """One message after another, each until it is acknowledged."""

    def __init__(self, flow, person, offset):
        super().__init__(flow)
        self.person, self.turn, self.acked = person, offset, {}

    def door(self):
        self.turn += 1
        return self.flow.doors[self.turn % len(self.flow.doors)]

    def work(self):
        number = 0
        while not self.ending.is_set():
            number += 1
            message, text, seq = uuid7(), f"{self.person.name} {number}", None
            while seq is None:
                try:
                    seq = self.attempt(message, text)
                except TROUBLE:
                    self.drop()
                if seq is None:
                    assert not self.ending.wait(0.02) or self.flow.patience(), "no acknowledgement in the end"
            self.acked[message] = seq
        self.drop()


class WsWriter(Writer):
    socket = None

    def attempt(self, message, text):
        if self.socket is None:
            self.socket = Ws(self.door(), self.person.token)
            assert self.socket.auth_reply["t"] == "ok", self.socket.auth_reply
        reply = self.socket.send(self.flow.conversation, text, message)
        if reply["t"] == "ok":
            return reply["d"]["seq"]
        if not reply["d"]["retryable"]:
            raise RuntimeError(f"refused for good: {reply}")
        return None

    def drop(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class RestWriter(Writer):
    def attempt(self, message, text):
        url = f"{self.door().rest_url}/v1/conversations/{self.flow.conversation}/messages/{message}"
        answer = requests.put(url, json={"body": {"text": text}}, timeout=20 * SLOW,
                              headers={"Authorization": f"Bearer {self.person.token}"})
        if answer.status_code in (200, 201):
            return answer.json()["seq"]
        if not answer.json()["retryable"]:
            raise RuntimeError(f"refused for good: {answer.text}")
        return None

    def drop(self):
        pass


class MqttWriter(Writer):
    client = None

    def attempt(self, message, text):
        if self.client is None:
            self.client = Mqtt(self.door(), self.person, version=3, subscribe=())
            assert int(getattr(self.client.code, "value", self.client.code)) == 0
        payload = json.dumps({"message": message, "text": text})
        self.client.publish(f"pipit/c/{self.flow.conversation}/send", payload)
        return 0  # PUBACK of 3.1.1: stored; where is not told. (That of 5 may say no, which paho does not pass on.)

    def drop(self):
        if self.client is not None:
            self.client.close()
            self.client = None


class WsReader(Worker):
    def __init__(self, flow, person, offset):
        super().__init__(flow)
        self.person, self.turn, self.seen = person, offset, {}

    def take(self, items):
        for item in items:
            known = self.seen.setdefault(item["seq"], item["message"])
            assert known == item["message"], f"two messages at seq {item['seq']}"

    def work(self):
        while not self.ending.is_set():
            self.turn += 1
            try:
                self.read(Ws(self.flow.doors[self.turn % len(self.flow.doors)], self.person.token))
            except TROUBLE as problem:
                assert "two messages" not in str(problem), problem
                self.pause()

    def read(self, socket):
        try:
            done = next(n for n in range(len(self.seen) + 1) if n + 1 not in self.seen)
            items, _ = socket.sync({self.flow.conversation: done})
            self.take(items.get(self.flow.conversation, ()))
            while not self.ending.is_set() and not socket.closed:
                self.take([m for m in socket.messages() if m["conversation"] == self.flow.conversation])
                self.pause()
        finally:
            socket.close()


class Flow:
    def __init__(self, stack, suffix=""):
        self.stack = stack
        connections, auths = len(stack.names("connection")), len(stack.names("auth"))
        self.doors = [stack.door(1 + i % connections, 1 + i % auths) for i in range(max(connections, auths))]
        people = stack.people.make(*(f"{name}{suffix}" for name in ("wa", "wb", "wc", "wd", "ra", "rb", "rc")))
        self.owner = people[0]
        self.conversation = self.owner.group("flow", *people[1:])
        self.writers = [WsWriter(self, people[0], 0), WsWriter(self, people[1], 1), MqttWriter(self, people[2], 0),
                        RestWriter(self, people[3], 0)]
        self.readers = [WsReader(self, people[4], 0), WsReader(self, people[5], 1)]
        self.inbox = Mqtt(self.doors[0], people[6], client_id="flow" + suffix, clean=False)
        self.last_chances = 3000

    def patience(self):
        """After the end was called for, writers may still finish the message they are at."""
        self.last_chances -= 1
        return self.last_chances > 0

    def start(self):
        for worker in (*self.readers, *self.writers):
            worker.start()
        self.wait_progress()
        return self

    def check(self):
        problems = [w.problem for w in (*self.writers, *self.readers) if w.problem]
        assert not problems, problems

    def wait_progress(self, count=5, timeout=40):
        """Every writer gets `count` more acknowledgements."""
        goals = [len(w.acked) + count for w in self.writers]

        def moved():
            self.check()
            return all(len(w.acked) >= goal for w, goal in zip(self.writers, goals))

        wait_until(moved, timeout, f"messages to flow again ({[len(w.acked) for w in self.writers]} of {goals})")

    def finish(self):
        """Ends the writers, waits until the readers have everything, compares; returns the count."""
        for writer in self.writers:
            writer.end()
        rows = self.owner.history(self.conversation)
        truth = {row["seq"]: row["message"] for row in rows}
        assert sorted(truth) == list(range(1, len(rows) + 1)), "history has holes"
        ids = [row["message"] for row in rows]
        assert len(set(ids)) == len(ids), "a message was stored twice"
        for writer in self.writers:
            for message, seq in writer.acked.items():
                assert message in truth.values(), f"acknowledged and lost: {message}"
                assert seq in (0, next(s for s, m in truth.items() if m == message) if seq else 0)
            order = [ids.index(message) for message in writer.acked]
            assert order == sorted(order), "one sender's messages changed places"
        for reader in self.readers:
            wait_until(lambda r=reader: self.check() or len(r.seen) >= len(truth), 40, "a reader to have everything")
            reader.end()
            assert reader.seen == truth
        wait_until(lambda: {m["seq"] for m in self.inbox.received()} >= set(truth), 60, "the MQTT reader")
        assert {m["seq"]: m["message"] for m in self.inbox.received()} == truth
        self.inbox.close()
        return len(truth)
