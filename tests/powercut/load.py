"""Writers that keep a storage busy the way routing does, and know what they were told.

Each writer owns its conversations and has one request in flight: appends of one to three runs, now and then an
old id once more (the answer must be its old place), cursors, groups and members. After a cut the outcome of the
request in flight is unknown: `recover` sends the same ids again, as routing does, and learns where they are.
"""

import random
import time

from bus import error_of
from ledger import body_of, new_id

USERS = [f"u_user{number}" for number in range(8)]
CONVERSATIONS_PER_WRITER = 3


def now_ms():
    return int(time.time() * 1000)


def message_of(conversation, identity, sender, bulk=0):
    return {"id": identity, "sender": sender, "device": "d_load", "ts_ms": now_ms(),
            "body": body_of(conversation, identity, bulk)}


class Writer:
    def __init__(self, number):
        self.conversations = [f"g_{number}_{index}" for index in range(CONVERSATIONS_PER_WRITER)]
        self.user = USERS[number % len(USERS)]
        self.heads = dict.fromkeys(self.conversations, 0)
        self.request = None  # in flight: (kind, value)


class Load:
    def __init__(self, ledger, seed, writers=16, rate=4000):
        self.ledger, self.rate = ledger, rate
        self.random = random.Random(seed)
        self.writers = [Writer(number) for number in range(writers)]
        for writer in self.writers:
            ledger.tried.update(writer.conversations)
        self.in_flight = {}  # request number -> writer
        self.ids = []  # acknowledged ones, to repeat
        self.budget = 0.0
        self.last = time.monotonic()

    # --- accounts and conversations, on a new store or one that may have them already

    def set_up(self, bus):
        for user in USERS:
            value = {"user": {"id": user, "name": user[2:], "display_name": user, "password_hash": "x",
                              "created_ms": now_ms()}, "now_ms": now_ms()}
            self._expect(bus.call("UserCreate", value, "UserReply"), "UserCreate", "OK", "EXISTS")
            self.ledger.users.add(user)
        for writer in self.writers:
            for conversation in writer.conversations:
                self._expect(bus.call("ConversationCreate", self._group(writer, conversation), "ConversationReply"),
                             "ConversationCreate", "OK")
                self.ledger.groups.setdefault(conversation, set()).add(writer.user)

    def _group(self, writer, conversation):
        return {"id": conversation, "title": conversation, "creator": writer.user, "members": [], "now_ms": now_ms()}

    def _expect(self, reply, what, *allowed):
        if error_of(reply) not in allowed:
            raise AssertionError(f"{what} was answered {error_of(reply)}")

    # --- the stream of requests

    def run(self, bus, seconds, stop=lambda: False):
        """Writes for so long. Lost when the connection ends."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end and not stop():
            self.budget = min(self.budget + (now - self.last) * self.rate, self.rate * 0.05)
            self.last = now
            for writer in self.writers:
                if self.budget < 1:
                    break
                if writer.request is None:
                    self._issue(bus, writer)
            for number, reply in bus.replies(min(0.005, end - now)).items():
                self._take(self.in_flight.pop(number), reply)

    def _issue(self, bus, writer):
        dice = self.random.random()
        if dice < 0.90 or not self.ids:
            kind, value, reply = "append", self._append(writer), "AppendReply"
        elif dice < 0.94:
            kind, value, reply = "repeat", self._repeat(writer), "AppendReply"
        elif dice < 0.98:
            conversation = self.random.choice(writer.conversations)
            seq = self.random.randint(0, writer.heads[conversation])  # receipts may come late
            update = {"user": writer.user, "conversation": conversation, "read_seq": seq}
            kind, value, reply = "cursor", {"updates": [update]}, "CursorsReply"
        else:
            conversation = self.random.choice(writer.conversations)
            value = {"conversation": conversation, "actor": writer.user, "users": [self.random.choice(USERS)],
                     "now_ms": now_ms()}
            kind, reply = "member", "ConversationReply"
        writer.request = (kind, value)
        name = {"append": "AppendBatch", "repeat": "AppendBatch", "cursor": "CursorsRequest",
                "member": "MembersChange"}[kind]
        self.in_flight[bus.post(name, value, reply)] = writer

    def _append(self, writer):
        runs = []
        for conversation in self.random.sample(writer.conversations, self.random.randint(1, 3)):
            messages = []
            for _ in range(self.random.choice((1, 1, 2, 4))):
                identity = new_id()
                self.ledger.sent[identity] = (conversation, 0)
                messages.append(message_of(conversation, identity, writer.user))
            self.budget -= len(messages)
            runs.append({"conversation": conversation, "first_seq": writer.heads[conversation] + 1,
                         "messages": messages})
        return {"runs": runs}

    def _repeat(self, writer):
        identity = self.random.choice(self.ids[-2000:])
        conversation = writer.conversations[0]
        self.budget -= 1
        return {"runs": [{"conversation": conversation, "first_seq": writer.heads[conversation] + 1,
                          "messages": [message_of(conversation, identity, writer.user)]}]}

    def _take(self, writer, reply):
        kind, value = writer.request
        writer.request = None
        self._expect(reply, kind, "OK")
        if kind == "append":
            for run, result in zip(value["runs"], reply["results"], strict=True):
                self._expect(result, "run", "OK")
                self._stored(writer, run, len(run["messages"]))
        elif kind == "repeat":
            self._take_repeated(value["runs"][0]["messages"][0]["id"], reply["results"][0])
        elif kind == "cursor":
            update = value["updates"][0]
            self._expect(reply["results"][0], "cursor", "OK")
            key = (update["user"], update["conversation"])
            if reply["results"][0]["read_seq"] < max(update["read_seq"], self.ledger.cursors.get(key, 0)):
                self.ledger.problems.append(f"cursor of {key} fell")
            self.ledger.cursors[key] = reply["results"][0]["read_seq"]
        else:
            self.ledger.groups[value["conversation"]].update(value["users"])

    def _stored(self, writer, run, count):
        for index, message in enumerate(run["messages"][:count]):
            self.ledger.ack(message["id"], run["conversation"], run["first_seq"] + index)
            self.ids.append(message["id"])
        writer.heads[run["conversation"]] = run["first_seq"] + count - 1

    def _take_repeated(self, identity, result):
        place = (result["existing_conversation"], result["existing_seq"])
        if error_of(result) != "DUPLICATE_ID" or place != self.ledger.acked[identity]:
            self.ledger.problems.append(
                f"DUPLICATE {identity.hex()} of {self.ledger.acked[identity]} was answered {error_of(result)} {place}")

    # --- after a cut

    def recover(self, bus):
        """Finishes what was in flight with the same ids. Returns how many of them had been stored."""
        self.in_flight.clear()
        known = 0
        self._load_heads(bus)
        for writer in self.writers:
            if writer.request is not None and writer.request[0] == "append":
                for run in writer.request[1]["runs"]:
                    known += self._finish_run(bus, writer, run)
            writer.request = None
        return known

    def _load_heads(self, bus):
        places = [(writer, conversation) for writer in self.writers for conversation in writer.conversations]
        reply = bus.call("HeadsRequest", {"conversations": [place[1] for place in places]}, "HeadsReply")
        self._expect(reply, "heads", "OK")
        for (writer, conversation), head in zip(places, reply["heads"], strict=True):
            writer.heads[conversation] = head["head"]

    def _finish_run(self, bus, writer, run):
        conversation, messages, known = run["conversation"], run["messages"], 0
        while messages:
            again = {"conversation": conversation, "first_seq": writer.heads[conversation] + 1, "messages": messages}
            reply = bus.call("AppendBatch", {"runs": [again]}, "AppendReply")
            self._expect(reply, "repeated append", "OK")
            result = reply["results"][0]
            self._expect(result, "repeated run", "OK", "DUPLICATE_ID")
            self._stored(writer, again, result["stored_count"])
            messages = messages[result["stored_count"] :]
            if messages:
                self.ledger.ack(messages[0]["id"], result["existing_conversation"], result["existing_seq"])
                messages = messages[1:]
                known += 1
        return known
