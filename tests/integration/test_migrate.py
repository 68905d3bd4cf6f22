"""pipit-storage --migrate-from: an embedded store moves into MongoDB, is killed on the way, and nobody notices."""

import os
import signal
import sqlite3
import subprocess

import pymongo
import pytest
import requests

import ferretdb
from clients import PASSWORD, login, uuid7
from ports import SLOW, wait_until

MESSAGES = 1500  # more than one mark of the migration's progress apart
FAST = {"PIPIT_CONNECTION_MESSAGES_PER_SECOND": 1000000, "PIPIT_CONNECTION_MESSAGES_BURST": 1000000,
        "PIPIT_ROUTING_MESSAGES_PER_SECOND": 0}


class Target:
    """An empty database; the stack moves to it."""

    def __init__(self, stack):
        self.stack = stack
        self.source = stack.store_url()
        stack.database = ferretdb.fresh_name()
        if not ferretdb.EXTERNAL_URI:
            stack.mongodb = ferretdb.FerretDB(stack.folder / "ferretdb").start()
        stack.store = "mongodb"
        self.client = pymongo.MongoClient(stack.store_url(), serverSelectionTimeoutMS=20000)
        self.database = self.client[stack.database]
        self.log = stack.folder / "migrate.log"

    def start(self, source=None):
        program = self.stack.build / "pipit-storage"
        with open(self.log, "ab") as log:
            return subprocess.Popen([program, "--migrate-from", source or self.source], stdout=log, stderr=log,
                                    env=self.stack.environment("storage"), start_new_session=True)

    def run(self, source=None):
        """The exit code and what this run said."""
        before = self.log.stat().st_size if self.log.exists() else 0
        code = self.start(source).wait(timeout=240 * SLOW)
        return code, self.log.read_bytes()[before:].decode()

    def marker(self):
        return self.database.meta.find_one({"_id": "migration"})

    def killed_when(self, condition):
        """SIGKILL once the condition holds; False: it was complete before."""
        process = self.start()
        try:
            wait_until(lambda: process.poll() is not None or condition(), 120, "the moment to kill")
        finally:
            process.kill()
            code = process.wait()
        assert code in (-signal.SIGKILL, 0), self.log.read_text()[-3000:]
        return self.marker()["state"] == "running"

    def close(self):
        self.client.close()


def without_times_of_access(devices):
    return sorted((d["id"], d["name"], d.get("platform")) for d in devices)


def differences(a, b, path=""):
    """Where two pieces of JSON differ; shorter than what pytest says about two stores."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from differences(a.get(key), b.get(key), f"{path}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (x, y) in enumerate(zip(a, b)):
            yield from differences(x, y, f"{path}[{index}]")
    elif a != b:
        yield f"{path}: {a} != {b}"


def everything(people):
    """What clients can see of the store."""
    root = people["root"]
    seen = {"keys": requests.get(root.stack.rest_url + "/.well-known/jwks.json", timeout=20 * SLOW).json()}
    for name, person in people.items():
        lists = person.ok("GET", "/v1/me/conversations")["items"]
        seen[name] = {
            "me": person.ok("GET", "/v1/me"),
            "conversations": lists,
            "devices": without_times_of_access(person.ok("GET", "/v1/me/devices")["items"]),
            "blocks": person.ok("GET", "/v1/me/blocks"),
            "members": [person.ok("GET", f"/v1/conversations/{c['id']}/members") for c in lists],
            "history": {c["id"]: person.history(c["id"]) for c in lists},
        }
    seen["users"] = root.ok("GET", "/v1/admin/users?limit=100")
    seen["invites"] = root.ok("GET", "/v1/admin/invites")
    seen["audit"] = root.ok("GET", "/v1/admin/audit?limit=100")["items"]
    stats = root.ok("GET", "/v1/admin/stats")
    seen["stats"] = {key: stats[key] for key in ("users", "devices", "conversations", "messages") if key in stats}
    return seen


class Life:
    """A store in which everything has happened once."""

    def __init__(self, stack):
        self.stack = stack
        ann, bob, eve, gone = stack.people.make("ann", "bob", "eve", "gone")
        root = stack.people.admin
        self.people = {"root": root, "ann": ann, "bob": bob, "eve": eve}
        self.ann, self.bob, self.eve, self.root = ann, bob, eve, root
        self.group = ann.group("three", bob, eve, gone)
        self.small = eve.group("left", ann, bob)
        self.direct, self.blocked = ann.direct(bob), ann.direct(eve)
        self.logged_out = gone.token
        eve.send(self.small, "before bob left")
        bob.ok("DELETE", f"/v1/conversations/{self.small}/members/{bob.id}")
        ann.send(self.blocked, "before the block")
        ann.ok("PUT", f"/v1/me/blocks/{eve.id}")
        ann.ok("PUT", f"/v1/conversations/{self.group}/members/{bob.id}", {"role": "admin"})
        bob.ok("PUT", f"/v1/conversations/{self.group}/mute", {"muted": True})
        self.phone_reads_and_goes()
        self.talk()
        root.ok("PATCH", f"/v1/admin/users/{gone.id}", {"disabled": True})
        self.invite = root.ok("POST", "/v1/admin/invites", {})["invite"]
        self.repeated = uuid7()
        self.repeated_seq = ann.send(self.direct, "stored once", self.repeated)["seq"]

    def phone_reads_and_goes(self):
        """A device with a cursor of its own that will miss what follows."""
        phone = self.bob.mqtt(client_id="phone", clean=False)
        self.ann.send(self.direct, "seen by the phone")
        phone.message(where=lambda d: d["body"].get("text") == "seen by the phone")
        phone.publish(f"pipit/u/{self.ann.name}/send", "an origin of its own")
        phone.close()
        self.missed = [f"missed {n}" for n in range(5)]
        for text in self.missed:
            self.ann.send(self.direct, text)

    def talk(self):
        socket = self.ann.ws()
        texts = [f"message {n} " + "x" * (600 if n % 50 == 0 else 0) for n in range(MESSAGES)]
        for first in range(0, MESSAGES, 100):  # what the door lets be unanswered at once
            numbers = [socket.post("send", {"conversation": self.group, "message": uuid7(), "body": {"text": text}})
                       for text in texts[first:first + 100]]
            for number in numbers:
                assert socket.reply(number, 30)["t"] == "ok"
        socket.request("mark", {"conversation": self.group, "read": 17, "delivered": 40})
        socket.close()


@pytest.fixture
def moving(fresh_stack):
    stack = fresh_stack(**FAST)
    life = Life(stack)
    stack.kill()
    stack.restart()  # what nobody had acknowledged, such as marks on their way, is gone or stored now
    before = everything(life.people)
    stack.kill()
    target = Target(stack)
    yield stack, life, before, target
    target.close()


def refused_start(stack):
    """What a storage says that ends at once."""
    stack.start_service("storage")
    stack.expected_exits.add("storage")
    assert stack.processes["storage"].wait(timeout=60 * SLOW) == 1
    return stack.tail("storage", 3)


def test_it_is_killed_and_goes_on(moving):
    stack, life, before, target = moving
    moments = [
        lambda: target.marker(),
        lambda: target.database.conversations.find_one({}),
        lambda: target.database.messages.find_one({}),
        lambda: target.database.messages.estimated_document_count() > MESSAGES // 2,
    ]
    killed = [target.killed_when(moment) for moment in moments]
    assert killed[0], "killed too late to prove anything"
    if target.marker()["state"] == "running":
        said = refused_start(stack)
        assert "migration into this database is not complete" in said, said
    code, said = target.run()
    assert code == 0, said
    assert "migration complete and verified" in said or not all(killed), said
    assert target.marker()["state"] == "done"
    assert {row["seq"] for row in target.database.messages.find({"conv": life.group}, {"seq": 1})} == set(
        range(1, MESSAGES + 1))
    code, said = target.run()
    assert code == 0 and "nothing to do" in said, said

    stack.restart()
    assert list(differences(before, everything(life.people))) == []
    check_life_goes_on(stack, life)


def check_life_goes_on(stack, life):
    ann, bob = life.ann, life.bob
    assert ann.send(life.direct, "stored once", life.repeated)["seq"] == life.repeated_seq, "an id was forgotten"
    phone = bob.mqtt(client_id="phone", clean=False)

    def texts():
        return [m["body"].get("text") for m in phone.received() if m["conversation"] == life.direct]

    wait_until(lambda: "stored once" in texts(), 60, "what the phone had missed")
    assert list(dict.fromkeys(texts())) == [*life.missed, "stored once"], "the phone's cursor was lost"
    phone.close()
    answer = bob.ok("POST", "/v1/token", {"refresh_token": bob.refresh})
    bob.take(answer)
    again = login(stack, "eve", PASSWORD)
    assert again.id == life.eve.id
    newcomer = stack.people.register("newcomer", life.invite)
    assert newcomer.id == "u_newcomer"
    refused = requests.post(stack.rest_url + "/v1/login", timeout=60 * SLOW, json={
        "user": "gone", "password": PASSWORD, "device": {"name": "x", "platform": "test"}})
    assert refused.status_code == 403, refused.text
    assert ann.call("PUT", f"/v1/conversations/{life.blocked}/messages/{uuid7()}",
                    {"body": {"text": "blocked"}}).status_code >= 400
    socket = ann.ws()
    assert socket.send(life.group, "life goes on")["d"]["seq"] == MESSAGES + 1
    socket.close()


def test_what_is_damaged_and_what_changed_in_between(moving):
    stack, life, _, target = moving
    assert target.killed_when(target.marker)
    # The source goes on being used: a device is revoked, and its token must not live on in the target.
    ended = life.bob.refresh
    with sqlite3.connect(stack.store_dir / "pipit.db") as file:
        file.execute("DELETE FROM refresh_tokens WHERE family IN (SELECT key FROM families WHERE user=?)",
                     (life.bob.id,))
        file.execute("DELETE FROM families WHERE user=?", (life.bob.id,))
        row = file.execute("SELECT rowid FROM messages ORDER BY rowid DESC LIMIT 1").fetchone()[0]
        file.execute("UPDATE messages SET hash=hash+1 WHERE rowid=?", (row,))
    file.close()
    code, said = target.run()
    assert code == 0, said
    assert "damaged=1" in said, said
    stack.restart()
    assert life.bob.call("POST", "/v1/token", {"refresh_token": ended}).status_code == 401
    last = life.ann.history(life.direct)[-1]
    assert last["kind"] == "recall", last


def test_refusals(fresh_stack):
    stack = fresh_stack()
    stack.people.make("ann")
    url = stack.store_url()
    target = Target(stack)
    code, said = target.run()
    assert code == 1 and "in use by process" in said, said  # the source's service runs
    stack.kill()
    code, said = target.run("sqlite:" + str(stack.folder / "nothing"))
    assert code == 1 and "there is no store in" in said, said
    assert not (stack.folder / "nothing").exists()
    code, said = target.run("mongodb://x")
    assert code == 1 and "sqlite:DIRECTORY" in said, said
    stack.store = "sqlite"
    code, said = target.run(url)
    assert code == 1 and "the target of --migrate-from" in said, said
    stack.store = "mongodb"

    target.database.users.insert_one({"_id": "u_somebody"})
    code, said = target.run()
    assert code == 1 and "no migration brought" in said, said
    target.database.users.delete_one({"_id": "u_somebody"})
    target.database.meta.insert_one({"_id": "migration", "source": "e_other", "state": "running", "row": 0})
    code, said = target.run()
    assert code == 1 and "of another store" in said, said
    target.database.meta.delete_one({"_id": "migration"})
    code, said = target.run()
    assert code == 0, said

    # A document that changed while the marker was not done is not overwritten in silence.
    target.database.meta.update_one({"_id": "migration"}, {"$set": {"state": "running", "row": 0}})
    code, said = target.run()
    assert code == 0, said
    target.close()
    stack.restart()
    login(stack, "ann")


def test_a_message_in_the_way(moving):
    """Another message with an id or a seq of the source ends the migration instead of being lost in it."""
    _, life, _, target = moving
    assert target.killed_when(target.marker)
    target.database.messages.delete_many({"conv": life.group, "seq": 9})
    target.database.messages.insert_one({"_id": os.urandom(16), "conv": life.group, "seq": 9})
    target.database.meta.update_one({"_id": "migration"}, {"$set": {"row": 0}})
    code, said = target.run()
    assert code == 1 and "another document in the place" in said, said
    assert target.marker()["state"] == "running"
    target.database.messages.delete_one({"conv": life.group, "seq": 9})
    code, said = target.run()
    assert code == 0, said
