"""What clients were told, kept outside the disks that are cut, and the comparison with what a store holds.

Told means: the reply had arrived and was read. What was sent but not answered may be stored or not; what was
answered must be there, at the seq of the answer. A body follows from its conversation and id, so a row proves itself.
"""

import copy
import hashlib
import os
import sqlite3
import time

from bus import ENUMS, error_of

PAGE = {"limit": 256, "bytes_max": 4 << 20}
RECALL = ENUMS["MessageKind"]["MESSAGE_RECALL"]


def new_id():
    """A UUIDv7."""
    value = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return (value & ~(0x3 << 62) | 0x2 << 62).to_bytes(16, "big")


def body_of(conversation, message, bulk=0):
    """Mostly short; every eighth is long and compresses at rest; `bulk` bytes that do not compress."""
    hasher = hashlib.shake_128(conversation.encode() + message)
    if bulk:
        return hasher.digest(bulk)
    long = message[15] % 8 == 0
    pad = hasher.hexdigest(40).encode() * (40 if long else 4)
    return b'{"text":"' + message.hex().encode() + b" " + pad[: 20 + message[14] * (11 if long else 1)] + b'"}'


class Ledger:
    def __init__(self):
        self.sent = {}  # id -> (conversation, bulk bytes)
        self.acked = {}  # id -> (conversation, seq)
        self.users = set()  # told to exist
        self.groups = {}  # conversation -> users told to be members
        self.cursors = {}  # (user, conversation) -> read seq told
        self.tried = set()  # conversations that may exist
        self.problems = []

    def copy(self):
        return copy.deepcopy(self)

    def ack(self, message, conversation, seq):
        known = self.acked.setdefault(message, (conversation, seq))
        if known != (conversation, seq):
            self.problems.append(f"{message.hex()} was acknowledged at {known} and at {(conversation, seq)}")
        if self.sent[message][0] != conversation:
            self.problems.append(f"{message.hex()} was acknowledged in {conversation}")

    # --- what a store holds

    def read(self, bus):
        """{conversation: [message]} of everything a store serves."""
        found = {}
        for conversation in sorted(self.tried):
            rows, more = [], True
            while more:
                request = {"conversation": conversation, "after_seq": rows[-1]["seq"] if rows else 0, **PAGE}
                reply = bus.call("HistoryRequest", request, "HistoryReply", timeout=30)
                if error_of(reply) == "NOT_FOUND" and not rows:
                    break
                if error_of(reply) != "OK":
                    raise AssertionError(f"history of {conversation}: {error_of(reply)}")
                rows += reply["messages"]
                more = bool(reply["has_more"])
            found[conversation] = rows
        return found

    def compare(self, found):
        """Appends to problems; returns {id: (conversation, seq)} of what is stored. That may be more than was sent
        when this ledger was copied, if writers went on."""
        problems, places = [], {}
        for conversation, rows in found.items():
            if [row["seq"] for row in rows] != list(range(1, len(rows) + 1)):
                problems.append(f"{conversation}: seqs are not 1..{len(rows)}")
            for row in rows:
                self._check_row(conversation, row, places, problems)
        lost = [message for message, place in self.acked.items() if message not in places]
        moved = [m for m, place in self.acked.items() if m in places and places[m] != place]
        if lost:
            sample = [(m.hex(), *self.acked[m]) for m in lost[:3]]
            problems.append(f"LOST {len(lost)} of {len(self.acked)} acknowledged messages: {sample}")
        if moved:
            sample = [(m.hex(), *self.acked[m], *places[m]) for m in moved[:3]]
            problems.append(f"{len(moved)} acknowledged messages are elsewhere: {sample}")
        self.problems += problems
        return places

    def _check_row(self, conversation, row, places, problems):
        if row["kind"] == RECALL and not row["sender"]:
            problems.append(f"{conversation} {row['seq']}: damaged at rest")
            return
        message = row["id"]
        if message in places:
            problems.append(f"DUPLICATE {message.hex()} at {places[message]} and {(conversation, row['seq'])}")
        places[message] = (conversation, row["seq"])
        if row["body"] != body_of(conversation, message, self.sent.get(message, ("", 0))[1]):
            problems.append(f"{conversation} {row['seq']}: nobody sent {message.hex()} there with this body")

    def compare_state(self, bus):
        """Accounts, members and cursors that were told."""
        for user in sorted(self.users):
            if error_of(bus.call("UserGet", {"id": user}, "UserReply")) != "OK":
                self.problems.append(f"LOST acknowledged account {user}")
        known = {}
        for conversation in self.groups.keys() | {key[1] for key in self.cursors}:
            reply = bus.call("ConversationLoad", {"conversation": conversation}, "ConversationReply")
            if error_of(reply) != "OK":
                self.problems.append(f"LOST acknowledged conversation {conversation}: {error_of(reply)}")
                continue
            known[conversation] = {member["user"]: member for member in reply["conversation"]["members"]}
        for conversation, users in self.groups.items():
            missing = users - known.get(conversation, {}).keys()
            if missing and conversation in known:
                self.problems.append(f"LOST acknowledged members of {conversation}: {sorted(missing)}")
        for (user, conversation), seq in self.cursors.items():
            stored = known.get(conversation, {}).get(user, {}).get("read_seq", 0)
            if stored < seq:
                self.problems.append(f"cursor of {user} in {conversation} fell from {seq} to {stored}")

    def check_file(self, data, rows):
        """The database file itself; the store must have stopped. rows: what the store served, at least."""
        with sqlite3.connect(data / "pipit.db") as database:
            answer = [row[0] for row in database.execute("PRAGMA integrity_check")]
            if answer != ["ok"]:
                self.problems.append(f"integrity_check: {answer[:3]}")
            total, ids, places = database.execute(
                "SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM"
                " (SELECT DISTINCT conversation, seq FROM messages)) FROM messages"
            ).fetchone()
        database.close()
        if not total == ids == places or total < rows:
            self.problems.append(f"{total} rows, {ids} ids, {places} places, {rows} served")
        return total
