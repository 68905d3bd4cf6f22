"""The scripted session that the sweep repeats: what a storage is asked, in which order, and how a client behaves
when an answer does not come.

One request at a time, so each acknowledgement can be held against the faults so far. A refused or lost request is
repeated with the same ids, as routing does, against the same process or the next one.
"""

import os
import time

from bus import RETRYABLE, Lost, error_of
from ledger import Ledger, new_id
from load import message_of, now_ms
from process import SLOW, STOPPED, Storage
from shim import shim_environment

ANSWER_SECONDS = 20  # without an answer for so long a storage counts as hanging
TRIES_AFTER_ONE_FAULT = 5
# What routing takes for "not now" and lets its senders repeat; CORRUPT is also how SQLite calls a failed read.
REFUSALS = RETRYABLE - {"DUPLICATE_SEQ"} | {"CORRUPT"}
UNKNOWN = {"UNAVAILABLE", "TIMEOUT"}
EXIT_DEAD = 70  # common/service.c
BULK_BYTES = 60 * 1024
BULK_MESSAGES = 64
BULK_REQUESTS = 5  # together more than SQLITE_CHECKPOINT_FRAMES pages


class Fault:
    """What the shim is told to do, and what it says it did."""

    def __init__(self, phase, call, file, number, kind):
        self.phase, self.call, self.file, self.number, self.kind = phase, call, file, number, kind
        self.thread, self.at = None, None

    def __str__(self):
        return f"{self.kind} at {self.call} {self.number} of {self.file} ({self.phase})"

    @property
    def of_sync(self):
        return self.call in ("fsync", "fdatasync") and self.kind in ("EIO", "ENOSPC")

    @property
    def lasting(self):
        return self.kind in ("EIO+", "full")

    def spec(self):
        return f"{self.call} {self.file} {self.number} {self.kind}"

    def look(self, log):
        """True once the fault has struck."""
        if self.at is None and log.exists():
            for line in log.read_bytes().splitlines():
                if line.startswith(b"FAULT "):
                    words = line.decode().split()
                    self.thread, self.at = words[1], float(words[-1])
        return self.at is not None


class Session:
    """Runs the script on a disk. `problems` is the ledger's."""

    def __init__(self, home, name, shim, fault=None, ledger=None, image=None, wrapper=()):
        self.home, self.name, self.shim, self.fault = home, name, shim, fault
        self.ledger = ledger or Ledger()
        self.heads = {}
        self.disk = home.disk(name, image)
        self.calls_log = home.folder / f"{name}.calls"
        self.wrapper = wrapper
        self.bulk_requests = BULK_REQUESTS
        self.starts = 0
        self.phase, self.phases = "start", [("start", 0)]
        self.storage = self.bus = None
        self.ready = False
        self.refused = 0
        self.unknown = False  # an answer said that what was asked may be done or not
        self.exit_seconds = None
        self.outcome = "not reached"

    # --- the process

    def start(self, faulty=True):
        extra = None
        if faulty:
            extra = shim_environment(self.shim, self.disk.data, log=self.calls_log)
            if self.fault:
                extra["FAULTCALL_FAULT"] = self.fault.spec()
        self.starts += 1
        self.storage = Storage(self.disk.data, self.home.folder, f"{self.name}-{self.starts}", extra, self.wrapper)
        if faulty:
            self.traced = self.storage.process
        self.ready = False
        try:
            self.bus = self.storage.connect()
            self.ready = True
        except Lost:
            self.ended()

    def ended(self):
        """The process is gone or stands still: judges that, and goes on with a fresh one without faults."""
        if self.bus:
            self.bus.close()
        code = self.storage.wait(5)
        struck = bool(self.fault) and self.fault.look(self.calls_log)
        if not struck:
            raise AssertionError(f"storage ended with {code} without a fault: {self.storage.tail()}")
        if self.starts > 1:
            raise AssertionError(f"storage ended again, with {code}: {self.storage.tail()}")
        self._judge_end(code, not self.ready)
        if code == STOPPED or self.fault.of_sync:
            self.cut_power()
        self.storage.kill()
        self.start(faulty=False)

    def _judge_end(self, code, before_ready):
        kind = self.fault.kind
        if kind == "stop":
            wanted, self.outcome = [STOPPED], "power cut"
        elif kind in ("kill", "torn"):
            wanted, self.outcome = [-9], "killed"
        elif self.fault.of_sync:
            wanted, self.outcome = [EXIT_DEAD] + [1] * before_ready, "exit"
            self.exit_seconds = time.monotonic() - self.fault.at
            if self.exit_seconds > 5 * SLOW:
                self.ledger.problems.append(f"exit {self.exit_seconds:.1f} s after a failed fsync")
        else:
            wanted, self.outcome = [1] * before_ready, "no start"
        if code not in wanted:
            self.ledger.problems.append(f"ended with {code}, expected {wanted or 'to go on'}: {self.storage.tail()}")

    def cut_power(self):
        """What the page cache had and the disk had not is gone."""
        image, _ = self.home.cut(self.disk, f"{self.name}-cut")
        self.storage.kill()
        self.disk.remove()
        os.rename(image, self.disk.image)
        self.disk.mount()

    def stop(self, faulty=True):
        self.bus.close()
        code = self.storage.stop()
        if code == 0:
            return
        if faulty and self.fault and self.fault.look(self.calls_log):
            self.ended()
            self.stop(faulty=False)
        else:
            raise AssertionError(f"ended with {code} after SIGTERM: {self.storage.tail()}")

    def enter(self, phase):
        self.phase = phase
        if self.fault is None:
            lines = self.calls_log.read_bytes().count(b"\n") if self.calls_log.exists() else 0
            self.phases.append((phase, lines))

    # --- requests

    def _answer(self, name, value, reply_name):
        """The reply; None when the process ended before."""
        number = self.bus.post(name, value, reply_name)
        deadline = time.monotonic() + ANSWER_SECONDS * SLOW
        while time.monotonic() < deadline:
            found = self.bus.replies(0.05)
            if number in found:
                return found[number]
            if self.storage.ended() is not None:
                return None
        raise AssertionError(f"no answer to {name} in {ANSWER_SECONDS * SLOW} s: {self.storage.tail()}")

    def call(self, name, value, reply_name):
        """A reply that is no refusal, or None when the outcome is unknown and there is a new process."""
        tries = 0
        while True:
            struck_before = bool(self.fault) and self.fault.look(self.calls_log)
            try:
                reply = self._answer(name, value, reply_name)
            except Lost:
                reply = None
            if reply is None:
                self.ended()
                return None
            error = error_of(reply)
            if error not in REFUSALS:
                self._judge_ack(name, struck_before, error)
                return reply
            if not (self.fault and self.fault.look(self.calls_log)):
                raise AssertionError(f"{name} was refused without a fault: {error}")
            if self.starts > 1:
                raise AssertionError(f"{name} is refused after a restart without faults: {error}")
            self.refused += 1
            self.unknown |= error in UNKNOWN
            self.outcome = "refused"
            tries += 1
            if tries >= TRIES_AFTER_ONE_FAULT:
                self._give_up(name, error)

    def _give_up(self, name, error):
        if not self.fault.lasting:
            raise AssertionError(f"{name} is still refused long after one fault: {error}")
        self.outcome = "refused, restarted"
        self.bus.close()
        self.storage.stop()
        self.start(faulty=False)

    def _judge_ack(self, name, struck_before, error):
        """No success after a failed fsync, and none for what that fsync was to cover."""
        if error != "OK" or self.starts > 1 or not self.fault or not self.fault.of_sync:
            return
        if struck_before or (self.fault.look(self.calls_log) and self.fault.thread == "writer"):
            self.ledger.problems.append(f"ACKNOWLEDGED {name} after a failed {self.fault.call}")

    def write(self, name, value, reply_name, *allowed):
        """Repeats an idempotent write until it is answered."""
        while True:
            reply = self.call(name, value, reply_name)
            if reply is not None:
                break
        if error_of(reply) not in ("OK", *allowed):
            raise AssertionError(f"{name} was answered {error_of(reply)}")
        return reply

    # --- the script's vocabulary

    def user(self, user):
        value = {"user": {"id": user, "name": user[2:], "display_name": user, "password_hash": "x",
                          "created_ms": now_ms()}, "now_ms": now_ms()}
        self.write("UserCreate", value, "UserReply", "EXISTS")
        self.ledger.users.add(user)

    def group(self, conversation, creator, *members):
        self.ledger.tried.add(conversation)
        value = {"id": conversation, "title": conversation, "creator": creator, "members": members,
                 "now_ms": now_ms()}
        self.write("ConversationCreate", value, "ConversationReply")
        self.ledger.groups[conversation] = {creator, *members}

    def add(self, conversation, actor, user):
        value = {"conversation": conversation, "actor": actor, "users": [user], "now_ms": now_ms()}
        self.write("MembersChange", value, "ConversationReply")
        self.ledger.groups[conversation].add(user)

    def read(self, conversation, user):
        update = {"user": user, "device": "d_one", "conversation": conversation, "read_seq": self.heads[conversation]}
        self.write("CursorsRequest", {"updates": [update]}, "CursorsReply")
        self.ledger.cursors[(user, conversation)] = self.heads[conversation]

    def send(self, conversation, sender, count=1, bulk=0):
        """Appends new messages and repeats them until each has its place."""
        messages = []
        for _ in range(count):
            identity = new_id()
            self.ledger.sent[identity] = (conversation, bulk)
            messages.append(message_of(conversation, identity, sender, bulk))
        refused, self.unknown = self.refused, False
        while messages:
            run = {"conversation": conversation, "first_seq": self.heads.get(conversation, 0) + 1,
                   "messages": messages}
            reply = self.call("AppendBatch", {"runs": [run]}, "AppendReply")
            if reply is None:
                heads = self.write("HeadsRequest", {"conversations": [conversation]}, "HeadsReply")
                self.heads[conversation] = heads["heads"][0]["head"]
                self.unknown = True
                continue
            messages = self._take(run, reply["results"][0], refused)

    def _take(self, run, result, refused):
        conversation, messages, first = run["conversation"], run["messages"], run["first_seq"]
        error, stored = error_of(result), result["stored_count"]
        for index, message in enumerate(messages[:stored]):
            self.ledger.ack(message["id"], conversation, first + index)
        self.heads[conversation] = first + stored - 1
        if error == "OK":
            return []
        if not self.unknown:  # no answer was lost: neither a refusal nor another writer explains this
            what = "first answer" if refused == self.refused else "answer after a refusal"
            self.ledger.problems.append(f"append: {error} at {first + stored} as the {what}")
        if error == "DUPLICATE_SEQ" and self.unknown and result["head"] > self.heads[conversation]:
            self.heads[conversation] = result["head"]
            return messages[stored:]
        if error != "DUPLICATE_ID":
            raise AssertionError(f"append at {first} was answered {error}, head {result['head']}")
        self.ledger.ack(messages[stored]["id"], result["existing_conversation"], result["existing_seq"])
        return messages[stored + 1 :]

    def repeat(self, conversation, sender):
        """An old id once more: its answer is its old place."""
        identity, place = next(iter(self.ledger.acked.items()))
        run = {"conversation": conversation, "first_seq": self.heads[conversation] + 1,
               "messages": [message_of(conversation, identity, sender)]}
        result = self.write("AppendBatch", {"runs": [run]}, "AppendReply")["results"][0]
        found = (result["existing_conversation"], result["existing_seq"])
        if error_of(result) != "DUPLICATE_ID" or found != place:
            self.ledger.problems.append(f"DUPLICATE of {place} was answered {error_of(result)} {found}")
            if error_of(result) == "OK":
                self.heads[conversation] += 1

    # --- scripts

    def prepare(self):
        """A store that was killed: its log holds what its database has not."""
        self.start()
        self.user("u_ann")
        self.user("u_bob")
        self.group("g_home", "u_ann", "u_bob")
        for _ in range(6):
            self.send("g_home", "u_ann", 3)
        self.storage.kill()
        self.bus.close()

    def play_new_store(self):
        """From an empty folder through a full checkpoint to the end."""
        self.start()
        self.enter("chat")
        self.user("u_ann")
        self.user("u_bob")
        self.group("g_home", "u_ann", "u_bob")
        self.chat()
        self.enter("checkpoint")
        for _ in range(self.bulk_requests):
            self.send("g_home", "u_ann", BULK_MESSAGES, BULK_BYTES)
        self.enter("after")
        for _ in range(4):
            self.send("g_home", "u_bob", 2)
        self.enter("stop")
        self.stop()

    def play_old_store(self):
        """Recovery of the log at the start, some chat, the end."""
        self.start()
        self.enter("chat")
        self.repeat("g_home", "u_ann")
        self.chat()
        self.enter("stop")
        self.stop()

    def chat(self):
        self.user("u_cat")
        self.group("g_work", "u_bob")
        self.heads.setdefault("g_work", 0)
        for index in range(5):
            self.send("g_home", "u_ann", 1 + index % 3)
            self.send("g_work", "u_bob", 1)
        self.add("g_work", "u_bob", "u_cat")
        self.read("g_home", "u_bob")
        self.repeat("g_work", "u_ann")
        self.send("g_work", "u_bob", 2)
        self.read("g_work", "u_bob")

    # --- the end

    def verify(self):
        """A fresh storage on what is left; returns rows."""
        if self.fault:
            self.fault.look(self.calls_log)
            if self.fault.at and self.outcome == "not reached":
                self.outcome = "went on"
        self.starts = 1
        self.start(faulty=False)
        places = self.ledger.compare(self.ledger.read(self.bus))
        self.ledger.compare_state(self.bus)
        self.stop(faulty=False)
        strange = places.keys() - self.ledger.sent.keys()
        rows = self.ledger.check_file(self.disk.data, len(places))
        if strange or rows != len(places):
            self.ledger.problems.append(f"{len(strange)} rows nobody sent; {rows} rows, {len(places)} served")
        return rows

    def close(self):
        if self.storage:
            self.storage.kill()
        if self.disk.mounted():
            self.disk.remove()
