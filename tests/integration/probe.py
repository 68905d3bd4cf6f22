"""A client that must not notice anything: it keeps one connection, sends into several conversations
without waiting for answers, and remembers every refusal, every end of its connection, and the
longest time without an answer. Beside it readers that keep one connection, too.
"""

import threading
import time

from clients import Ws, uuid7
from ports import SLOW, wait_until


class Probe:
    """`conversations` many, so that each routing instance owns some; ann writes, bob reads along."""

    def __init__(self, stack, name="probe", doors=None, conversations=8, interval=0.02):
        self.doors = doors or [stack.door()]
        self.ann, self.bob = stack.people.make(f"{name}-a", f"{name}-b")
        self.conversations = [self.ann.group(f"{name} {number}", self.bob) for number in range(conversations)]
        self.interval = interval
        self.writers = [Ws(door, self.ann.token) for door in self.doors]
        self.readers = [Ws(door, self.bob.token) for door in self.doors]
        self.sent = [[] for _ in self.doors]  # (frame id, conversation, message)
        self.answered = [0 for _ in self.doors]
        self.longest, self.since = 0.0, time.monotonic()
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()
        self.wait_progress()
        self.restart_clock()
        return self

    def restart_clock(self):
        self.longest, self.since = 0.0, time.monotonic()

    def _run(self):
        turn = 0
        while not self.ending.wait(self.interval):
            for number, socket in enumerate(self.writers):
                conversation, message = self.conversations[turn % len(self.conversations)], uuid7()
                data = {"conversation": conversation, "message": message, "body": {"text": str(turn)}}
                try:
                    self.sent[number].append((socket.post("send", data), conversation, message))
                except OSError:
                    self.ending.set()  # told by the end of the socket
            turn += 1
            self._look()

    def _look(self):
        """Answers come in any order over conversations; what counts is the oldest one missing."""
        now = time.monotonic()
        for number, socket in enumerate(self.writers):
            while self.answered[number] < len(self.sent[number]) and \
                    self.sent[number][self.answered[number]][0] in socket.replies:
                self.answered[number] += 1
                self.since = now
        self.longest = max(self.longest, now - self.since)

    def count(self):
        return sum(self.answered)

    def wait_progress(self, count=40, timeout=30):
        goals = [answered + count for answered in self.answered]
        wait_until(lambda: all(a >= goal for a, goal in zip(self.answered, goals)), timeout,
                   f"answers ({self.answered} of {goals}, closed={[w.closed for w in self.writers]})")

    def stop(self):
        """Ends the sending and checks what a client can see; returns the number of messages."""
        self.ending.set()
        self.thread.join(20 * SLOW)
        problems = []
        for number, socket in enumerate(self.writers):
            for frame, conversation, _ in self.sent[number]:
                reply = socket.reply(frame, timeout=20)
                if reply["t"] != "ok":
                    problems.append(reply)
        problems += [socket.closed for socket in (*self.writers, *self.readers) if socket.closed]
        assert not problems, (len(problems), problems[:5])
        for conversation in self.conversations:
            self._check(conversation)
        for socket in (*self.writers, *self.readers):
            socket.close()
        return sum(len(sent) for sent in self.sent)

    def _check(self, conversation):
        rows = self.bob.history(conversation)
        ids = [row["message"] for row in rows]
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1)), "history has holes"
        assert len(set(ids)) == len(ids), "a message was stored twice"
        assert len(ids) == sum(1 for sent in self.sent for each in sent if each[1] == conversation)
        for number, socket in enumerate(self.writers):
            mine = [(frame, message) for frame, where, message in self.sent[number] if where == conversation]
            seqs = [socket.reply(frame)["d"]["seq"] for frame, _ in mine]
            assert [ids[seq - 1] for seq in seqs] == [message for _, message in mine], "another message's seq"
            assert seqs == sorted(seqs), "one sender's messages changed places"
        for reader in self.readers:  # live, without asking: every message once, in order
            def seen(reader=reader):
                return [m["message"] for m in reader.messages() if m["conversation"] == conversation]
            wait_until(lambda: len(seen()) >= len(ids), 20, f"a reader to have all of {conversation}")
            assert seen() == ids
