"""`make run` as a newcomer meets it: addresses, invite, the three lines, second run, clear errors."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
from types import SimpleNamespace

import pytest
import requests
import websocket

import ferretdb
from clients import Mqtt, People, Ws, login, uuid7
from stack import BUILD, ROOT, free_port, wait_until


def clean_environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("PIPIT_")}


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    """A test that failed has not stopped what it ran."""
    yield
    while Run.started:
        run = Run.started.pop()
        if run.process.poll() is None:
            run.stop()


def as_in_a_terminal():
    """Signals work, also where these tests run in the background of a script or under nohup."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Run:
    started = []

    def __init__(self, folder, deaf=False, **settings):
        self.deaf = deaf  # closes the pipe as soon as it runs: further words meet a broken one
        self.ports = {"HTTP_PORT": free_port(2), "WS_PORT": free_port(2), "MQTT_PORT": free_port(2),
                      "OPS_PORT": free_port(16), **settings}
        cache = {k: v for k, v in os.environ.items() if k == "PIPIT_CACHE"}
        env = {**clean_environment(), **cache, "DATA": str(folder), "BUILD": str(BUILD), "LISTEN": "127.0.0.1",
               **{k: str(v) for k, v in self.ports.items()}}
        self.process = subprocess.Popen([str(ROOT / "scripts/run.sh")], env=env, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        start_new_session=True, preexec_fn=as_in_a_terminal)
        Run.started.append(self)
        self.text = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with self.process.stdout as pipe:
            for line in pipe:
                self.text += line
                if self.deaf and "Ctrl-C stops" in line:
                    return

    def wait_running(self):
        wait_until(lambda: "Ctrl-C stops" in self.text or self.process.poll() is not None, 40, "make run")
        assert self.process.poll() is None, self.text
        return self

    def door(self, number):
        """What a client needs to know of auth and connection number `number`."""
        http, ws, mqtt = (self.ports[which] + number - 1 for which in ("HTTP_PORT", "WS_PORT", "MQTT_PORT"))
        invite = re.search(r"Admin invite.*: (pi_\S+)", self.text)
        return SimpleNamespace(rest_url=f"http://127.0.0.1:{http}", ws_url=f"ws://127.0.0.1:{ws}/v1/ws",
                               mqtt_port=mqtt, admin_invite=invite and invite.group(1))

    def child(self, name):
        """The process id of a program that this run started."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid), "-f", name], capture_output=True,
                               text=True, check=True)
        return int(found.stdout.split()[0])

    def ready(self, offset):
        try:
            url = f"http://127.0.0.1:{self.ports['OPS_PORT'] + offset}/readyz"
            return requests.get(url, timeout=1).status_code == 200
        except requests.RequestException:
            return False

    def one_line(self):
        """The only line of a run that refuses to start."""
        assert self.process.wait(timeout=40) == 1
        self.reader.join(timeout=5)
        lines = self.text.splitlines()
        assert len(lines) == 1, self.text
        return lines[0]

    def stop(self):
        os.kill(self.process.pid, signal.SIGINT)
        code = self.process.wait(timeout=40)
        self.reader.join(timeout=5)
        return code


def test_first_run_prints_lines_that_work_and_second_run_keeps_the_data(tmp_path):
    run = Run(tmp_path / "var").wait_running()
    assert "Admin invite" in run.text
    block = run.text[run.text.index("ANN="):run.text.index("\nCtrl-C")]
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) == 3
    pasted = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60,
                            check=False)
    assert "Hello Bob" in pasted.stdout, pasted.stdout + pasted.stderr
    assert run.stop() == 0
    for name in ("auth", "connection", "routing", "storage"):
        found = subprocess.run(["pgrep", "-f", f"{BUILD}/pipit-{name}$"], capture_output=True, check=False)
        assert str(run.process.pid) not in found.stdout.decode()
    again = Run(tmp_path / "var").wait_running()
    assert "Admin invite" not in again.text
    body = {"user": "ann", "password": "quiet-otter-lamp"}
    answer = requests.post(f"http://127.0.0.1:{again.ports['HTTP_PORT']}/v1/login", json=body, timeout=30)
    assert answer.status_code == 200
    assert again.stop() == 0


def test_a_dead_service_is_started_again(tmp_path):
    run = Run(tmp_path / "var").wait_running()
    os.kill(run.child("pipit-routing"), signal.SIGKILL)
    wait_until(lambda: "routing ended" in run.text, 10, "the notice")
    wait_until(lambda: run.ready(2), 10, "routing to be back")
    assert run.stop() == 0


@pytest.mark.parametrize("death", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_nothing_outlives_a_closed_terminal_or_a_killed_script(tmp_path, death):
    run = Run(tmp_path / "var", deaf=True).wait_running()
    run.reader.join(timeout=10)
    os.kill(run.process.pid, death)
    run.process.wait(timeout=40)
    wait_until(lambda: not any(run.ready(offset) for offset in range(4)), 20, "the services' end")


@pytest.mark.parametrize("which", ["HTTP_PORT", "WS_PORT", "MQTT_PORT", "OPS_PORT"])
def test_port_in_use_is_one_clear_line(tmp_path, which):
    port = free_port(16)  # OPS_PORT takes its neighbours as well
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        line = Run(tmp_path / "var", **{which: port}).one_line()
        assert "did not start" in line and str(port) in line and "in use" in line, line


def test_a_second_run_leaves_the_first_ones_folder_alone(tmp_path):
    first = Run(tmp_path / "var").wait_running()
    before = sorted(path.name for path in (tmp_path / "var").rglob("*"))
    line = Run(tmp_path / "var").one_line()
    assert "in use by another 'make run'" in line and "DATA=" in line, line
    gone = set(before) - {path.name for path in (tmp_path / "var").rglob("*")}
    assert not {name for name in gone if name.endswith((".out", ".rep", ".pub", ".pulse", ".db"))}, gone
    assert first.stop() == 0


def test_ports_that_meet_are_one_clear_line(tmp_path):
    first = free_port(4)
    line = Run(tmp_path / "var", AUTHS=4, HTTP_PORT=first, WS_PORT=first + 3).one_line()
    assert f"port {first + 3} is wanted" in line and "auth-4" in line and "WebSocket" in line, line


@pytest.mark.parametrize("settings, words", [
    ({"STORAGES": 2}, ("STORAGES=2", "STORE=mongodb")),
    ({"CONNECTIONS": 0}, ("CONNECTIONS=0", "from 1 to 16")),
    ({"ROUTINGS": "many"}, ("ROUTINGS=many", "from 1 to 16")),
    ({"STORE": "postgres"}, ("STORE=postgres", "mongodb://")),
    ({"OPS_PORT": 65533}, ("65536",)),
])
def test_impossible_wishes_are_one_clear_line(tmp_path, settings, words):
    line = Run(tmp_path / "var", **settings).one_line()
    assert all(word in line for word in words), line


def talk_across(run):
    """Two people behind different instances of everything; returns the conversation and Ann."""
    ann, bob = People(run.door(1)).make("ann", "bob")
    ann_there = login(run.door(2), "ann")  # keys of one auth instance are good at the other
    conversation = ann_there.direct(bob)
    inbox = Mqtt(run.door(2), bob)
    with_bob = Ws(run.door(2), bob.token)
    speaker = Ws(run.door(1), ann.token)
    message = uuid7()
    assert speaker.send(conversation, "across", message)["t"] == "ok"
    assert inbox.message()["message"] == message
    assert with_bob.event("msg")["d"]["message"] == message
    for client in (inbox, with_bob, speaker):
        client.close()
    return conversation, ann


def send_until_stored(door, person, conversation, text):
    """As a client does: connects again when told to, and sends the same id again."""
    message = uuid7()

    def stored():
        try:
            speaker = Ws(door, person.token)
        except (OSError, websocket.WebSocketException):
            return False
        try:
            return speaker.send(conversation, text, message)["t"] == "ok"
        except (AssertionError, OSError, websocket.WebSocketException):
            return False  # told to come back later
        finally:
            speaker.close()

    wait_until(stored, 40, f"'{text}' to be stored")


def test_several_instances_of_everything_but_storage(tmp_path):
    run = Run(tmp_path / "var", CONNECTIONS=2, ROUTINGS=2, AUTHS=2).wait_running()
    for number in (1, 2):
        door = run.door(number)
        assert door.rest_url in run.text and door.ws_url in run.text, run.text
        assert f"mqtt://127.0.0.1:{door.mqtt_port}" in run.text, run.text
        known = requests.get(door.rest_url + "/.well-known/pipit", timeout=10).text
        assert str(run.ports["WS_PORT"] + number - 1) in known, known
    assert "Admin invite" in run.text and "stops all 7 processes" in run.text
    assert all(run.ready(offset) for offset in (0, 1, 2, 3, 10, 11, 12))
    conversation, ann = talk_across(run)
    os.kill(run.child("pipit-routing"), signal.SIGKILL)
    wait_until(lambda: "routing ended" in run.text or "routing-2 ended" in run.text, 10, "the notice")
    wait_until(lambda: run.ready(2) and run.ready(12), 10, "both routing instances")
    send_until_stored(run.door(2), ann, conversation, "after the restart")
    assert run.stop() == 0
    assert not any(run.ready(offset) for offset in (0, 1, 2, 3, 10, 11, 12))


def test_mongodb_with_two_of_everything_keeps_the_data(tmp_path):
    wish = {"STORE": "mongodb", "CONNECTIONS": 2, "ROUTINGS": 2, "STORAGES": 2, "AUTHS": 2}
    ferretdb.binary()  # a first build takes its minute here
    run = Run(tmp_path / "var", **wish).wait_running()
    assert "FerretDB at" in run.text and "stops all 9 processes" in run.text, run.text
    conversation, ann = talk_across(run)
    os.kill(run.child("ferretdb"), signal.SIGKILL)
    wait_until(lambda: "mongodb ended" in run.text, 10, "the notice")
    send_until_stored(run.door(2), ann, conversation, "after the database's death")
    before = [(m["seq"], m["message"]) for m in ann.history(conversation)]
    assert run.stop() == 0
    again = Run(tmp_path / "var", **{**run.ports, **wish}).wait_running()
    assert "Admin invite" not in again.text
    ann = login(again.door(2), "ann")
    assert [(m["seq"], m["message"]) for m in ann.history(conversation)] == before and len(before) >= 2
    assert again.stop() == 0


def test_a_given_mongodb_is_used_and_its_password_never_shown(tmp_path):
    server = ferretdb.FerretDB(tmp_path / "server", "pipit", "s3cret@word").start()
    try:
        run = Run(tmp_path / "var", STORE=server.uri("chat"), STORAGES=2).wait_running()
        assert f"mongodb://127.0.0.1:{server.port}/chat" in run.text, run.text
        assert "s3cret" not in run.text
        ann, bob = People(run.door(1)).make("ann", "bob")
        conversation = ann.direct(bob)
        assert ann.send(conversation, "kept by a server of one's own")["seq"] == 1
        assert len(bob.history(conversation)) == 1
        assert run.stop() == 0
        logs = "".join(log.read_text() for log in (tmp_path / "var/log").iterdir())
        assert "s3cret" not in logs
    finally:
        server.stop()


def test_unwritable_folder_is_one_clear_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    run = Run(blocked / "var")
    assert run.process.wait(timeout=20) == 1
    run.reader.join(timeout=5)
    assert len(run.text.splitlines()) == 1 and "DATA=" in run.text


def test_readme_names_exactly_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) == {"run", "test"}


def test_every_service_explains_itself():
    for name in ("auth", "connection", "routing", "storage"):
        binary = str(pathlib.Path(BUILD) / f"pipit-{name}")
        helped = subprocess.run([binary, "--help"], capture_output=True, text=True, timeout=10, check=False)
        assert helped.returncode == 0 and "--print-config" in helped.stdout
        env = {**clean_environment(), f"PIPIT_{name.upper()}_LOG_LEVEL": "warn"}
        shown = subprocess.run([binary, "--print-config"], capture_output=True, text=True, env=env,
                               timeout=10, check=False)
        assert re.search(r"log_level = warn +# environment", shown.stdout), shown.stdout
        wrong = subprocess.run([binary, "--print-config"], capture_output=True, text=True, timeout=10,
                               env={**clean_environment(), f"PIPIT_{name.upper()}_LOG_LEVL": "warn"}, check=False)
        assert wrong.returncode != 0 and "LOG_LEVEL" in wrong.stderr.upper()
