"""The database's bad days: sends fail with a retryable reason, nothing acknowledged is lost or doubled,
/readyz tells, and everything comes back without a restart."""

import re
import signal
import subprocess
import threading
from urllib.parse import quote

import pymongo
import pytest
import requests

from certificates import Authority
from clients import uuid7
from ferretdb import FerretDB
from mongo_proxy import MongoProxy
from ports import BUILD, SLOW, wait_until

MODES = ("gone", "frozen", "stepping_down", "secondary", "full", "no_majority", "cut")


class Load:
    """Sends one message after another, each with the same id until it is acknowledged."""

    def __init__(self, person, conversation):
        self.person, self.conversation = person, conversation
        self.acknowledged, self.refusals, self.unexpected = {}, [], []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        socket = self.person.ws()
        message = uuid7()
        while not self.stopping.is_set():
            if socket.closed:
                try:
                    socket = self.person.ws()
                except (AssertionError, OSError):
                    self.stopping.wait(0.2)
                    continue
            try:
                number = socket.post("send", {"conversation": self.conversation, "message": message,
                                              "body": {"text": message}})
                reply = socket.reply(number, timeout=30)
            except AssertionError as error:
                self.unexpected.append(error)
                continue
            if reply["t"] == "ok":
                self.acknowledged[message] = reply["d"]["seq"]
                message = uuid7()
            elif reply["d"]["retryable"]:
                self.refusals.append(reply["d"]["code"])
                self.stopping.wait(0.02)
            else:
                self.unexpected.append(reply)
        socket.close()

    def goes_on(self, more=10, what="sends"):
        reached = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) >= reached + more, 60, what)

    def is_refused(self, what):
        seen = len(self.refusals)
        wait_until(lambda: len(self.refusals) > seen, 60, what)

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def check(self):
        """Every acknowledged message is in the log once, at its seq, and the log is dense."""
        assert not self.unexpected, self.unexpected[:3]
        log = self.person.history(self.conversation)
        assert [m["seq"] for m in log] == list(range(1, len(log) + 1))
        places = {m["message"]: m["seq"] for m in log}
        assert len(places) == len(log), "stored twice"
        assert self.acknowledged.items() <= places.items()
        assert len(log) <= len(self.acknowledged) + 1, "only the last may be stored and not acknowledged"


def readiness(stack):
    return requests.get(f"http://127.0.0.1:{stack.ops_ports['storage']}/readyz?verbose", timeout=5).text


@pytest.fixture
def world(fresh_stack, tmp_path):
    """Makes a stack whose storage reaches its database through a proxy."""
    made = []

    def make(as_set=False, **settings):
        stack = fresh_stack(start=False, store="mongodb", **settings)
        server = FerretDB(tmp_path / "database").start()
        proxy = MongoProxy(server.port, as_set)
        made.append((server, proxy))
        stack.settings["PIPIT_STORAGE_STORE"] = proxy.uri("chat")
        stack.start()
        return stack, server, proxy

    yield make
    for server, proxy in made:  # before the stack: its services must end well without a database, too
        proxy.close()
        assert not server.stop()


@pytest.mark.parametrize("as_set", (False, True), ids=("single", "set"))
def test_every_kind_of_trouble_passes_without_a_restart(world, as_set):
    stack, server, proxy = world(as_set)
    processes = {name: process.pid for name, process in stack.processes.items()}
    ann, bob = stack.people.make("ann", "bob")
    load = Load(ann, ann.direct(bob))
    try:
        load.goes_on(what="sends before any trouble")
        for mode in MODES:
            proxy.set(mode)
            load.is_refused(f"a refusal while the database is {mode}")
            detail = "disk is full" if mode == "full" else "not available"
            wait_until(lambda: detail in readiness(stack), 30, f"/readyz to tell that it is {mode}")
            proxy.set("well")
            load.goes_on(what=f"sends after the database was {mode}")
            if mode not in ("gone", "frozen", "secondary"):  # those may be noticed before a write
                assert proxy.seen("insert", mode) or proxy.seen("update", mode), f"{mode} met no write"
            wait_until(lambda: stack.ready("storage"), 30, "readiness to come back")
    finally:
        proxy.set("well")
        load.stop()
    load.check()
    assert {name: process.pid for name, process in stack.processes.items()} == processes
    assert all(process.poll() is None for process in stack.processes.values())
    log = stack.log_path("storage").read_text()
    assert log.count("database is not available") <= 6 * len(MODES), "told per request, not per change"


def test_trouble_is_noticed_and_passes_while_nobody_writes(world):
    stack, _, proxy = world()
    assert stack.ready("storage")
    for mode in ("gone", "secondary", "frozen"):
        proxy.set(mode)
        wait_until(lambda: not stack.ready("storage"), 30, f"readiness to go while the database is {mode}")
        proxy.set("well")
        wait_until(lambda: stack.ready("storage"), 30, f"readiness to come back after {mode}")


def test_the_server_is_killed_and_frozen_under_load(world):
    stack, server, _ = world()
    ann, bob = stack.people.make("ann", "bob")
    load = Load(ann, ann.direct(bob))
    try:
        for _ in range(3):
            load.goes_on()
            server.kill()
            load.is_refused("a refusal without a server")
            server.start()
            load.goes_on(what="sends after the server came back")
        server.kill(signal.SIGSTOP)
        load.is_refused("a refusal while the server is frozen")
        server.kill(signal.SIGCONT)
        load.goes_on(what="sends after the server went on")
    finally:
        server.kill(signal.SIGCONT)
        load.stop()
    load.check()


def test_a_write_that_a_failover_undoes_leaves_no_hole(world):
    """Stored by the old primary alone, hence never acknowledged; then it is gone."""
    stack, server, proxy = world(as_set=True)
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    ann.send(conversation, "before")
    socket = ann.ws()
    proxy.set("no_majority")
    lost = uuid7()
    refused = socket.send(conversation, "undone", lost)
    assert refused["t"] == "err" and refused["d"]["retryable"], refused
    with pymongo.MongoClient("127.0.0.1", server.port) as client:
        found = client["chat"]["messages"].delete_many({"conv": conversation, "seq": 2})
        assert found.deleted_count == 1
    proxy.set("well")
    wait_until(lambda: stack.ready("storage"), 30, "readiness to come back")
    other = uuid7()
    after = wait_until(lambda: (r := socket.send(conversation, "after", other))["t"] == "ok" and r, 30,
                       "sends to come back")
    again = socket.send(conversation, "undone", lost)
    assert (after["d"]["seq"], again["d"]["seq"]) == (2, 3)
    assert [(m["seq"], m["body"]["text"]) for m in ann.history(conversation)] == [
        (1, "before"), (2, "after"), (3, "undone")]
    socket.close()


def test_reading_tells_the_outage_and_comes_back(world):
    stack, _, proxy = world()
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    ann.send(conversation, "before")
    proxy.set("gone")
    path = f"/v1/conversations/{conversation}/messages?after=0"
    answers = []

    def refused():
        answers.append(ann.call("GET", path))
        return answers[-1].status_code != 200

    wait_until(refused, 30, "a refusal")
    assert answers[-1].status_code in (503, 504) and answers[-1].json()["retryable"], answers[-1].text
    proxy.set("well")
    wait_until(lambda: ann.call("GET", path).status_code == 200, 30, "reading to come back")
    assert [m["body"]["text"] for m in ann.history(conversation)] == ["before"]


def test_a_start_waits_for_the_server(fresh_stack, tmp_path):
    stack = fresh_stack(start=False, store="mongodb")
    server = FerretDB(tmp_path / "database")
    stack.settings["PIPIT_STORAGE_STORE"] = server.uri("chat")
    stack.start_service("storage")
    log = stack.log_path("storage")
    wait_until(lambda: "database is not available" in log.read_text(), 20, "storage to say what it waits for")
    assert stack.processes["storage"].poll() is None
    server.start()
    try:
        stack.wait_ready("storage")
        assert "database is back" in log.read_text()
    finally:
        stack.kill("storage", signal_number=signal.SIGTERM)
        server.stop()


def test_a_start_without_a_server_ends_with_the_reason_and_without_the_password(tmp_path):
    server = FerretDB(tmp_path / "nothing")
    environment = {"PIPIT_STORAGE_STORE": f"mongodb://ann:s3cr3t@127.0.0.1:{server.port}/chat?appName=x",
                   "PIPIT_STORAGE_BUS_LISTEN": f"ipc://{tmp_path}/bus",
                   "PIPIT_STORAGE_OPS_LISTEN": "127.0.0.1:0"}
    program = str(BUILD / "pipit-storage")
    process = subprocess.Popen([program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    told = process.stdout.readline()
    while "not available" not in told:
        line = process.stdout.readline()
        assert line, told
        told += line
    process.terminate()  # it would wait for half a minute
    rest, _ = process.communicate(timeout=30 * SLOW)
    told += rest
    assert process.returncode == 1, told
    assert re.search(r"store mongodb://\*\*\*@127\.0\.0\.1:\d+/chat\?\*\*\*: the database cannot be used: \w", told), told
    assert "s3cr3t" not in told
    printed = subprocess.run([program, "--print-config"], env=environment, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, check=True).stdout
    assert "store = mongodb://***@127.0.0.1" in printed and "s3cr3t" not in printed


def test_a_user_and_a_password_by_the_connection_string(fresh_stack, tmp_path):
    stack = fresh_stack(start=False, store="mongodb")
    server = FerretDB(tmp_path / "database", "pipit", "p@ss/w0rd").start()
    stack.settings["PIPIT_STORAGE_STORE"] = server.uri("chat")
    try:
        stack.start()
        ann, bob = stack.people.make("ann", "bob")
        assert ann.send(ann.direct(bob), "hello")["seq"] == 1
        for text in (log.read_text() for log in stack.folder.glob("*.log")):
            assert "ss/w0rd" not in text and "p%40ss" not in text
    finally:
        stack.kill("storage", signal_number=signal.SIGTERM)
        server.stop()


def test_tls_by_the_connection_string(fresh_stack, tmp_path):
    stack = fresh_stack(start=False, store="mongodb")
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    server = FerretDB(tmp_path / "database", tls=(*ours.sign("server"), ours.file)).start()
    client = ours.folder / "client.pem"  # FerretDB wants to know who asks, too
    client.write_text("".join(path.read_text() for path in ours.sign("client")))
    options = f"tls=true&tlsCertificateKeyFile={quote(str(client), safe='')}&tlsCAFile="
    try:
        for wrong in (server.uri("chat"), f"{server.uri('chat')}?{options}{quote(str(other.file), safe='')}"):
            stack.settings["PIPIT_STORAGE_STORE"] = wrong
            stack.start_service("storage")
            wait_until(lambda: "not available" in stack.tail("storage", 50), 20, "storage to say that it cannot")
            assert "started" not in stack.tail("storage", 50)
            stack.kill("storage")
            stack.log_path("storage").unlink()
        stack.settings["PIPIT_STORAGE_STORE"] = f"{server.uri('chat')}?{options}{quote(str(ours.file), safe='')}"
        stack.start()
        ann, bob = stack.people.make("ann", "bob")
        assert ann.send(ann.direct(bob), "hello")["seq"] == 1
    finally:
        stack.kill("storage", signal_number=signal.SIGTERM)
        server.stop()
