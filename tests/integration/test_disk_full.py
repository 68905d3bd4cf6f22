"""The store's disk filled to the last byte and emptied again under load: nothing acknowledged is lost."""

import subprocess
import threading

import pytest

from clients import uuid7
from stack import wait_until


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Takes the last byte."""
    with open(folder / "ballast", "ab", buffering=0) as ballast:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    if ballast.write(bytes(size)) < size:
                        break
            except OSError:
                pass


def test_full_disk_refuses_sends_and_recovers_by_itself(fresh_stack, small_disk):
    stack = fresh_stack(start=False)
    stack.store_dir = small_disk / "storage"
    stack.start()
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    acknowledged, stop = {}, threading.Event()
    refusals, unexpected = [], []

    def load():
        socket = ann.ws()
        while not stop.is_set():
            if socket.closed:
                socket = ann.ws()
            message = uuid7()
            try:
                reply = socket.send(conversation, "x" * 2000 + message, message)
            except AssertionError as error:
                unexpected.append(error)
                continue
            if reply["t"] == "ok":
                acknowledged[message] = reply["d"]["seq"]
            elif reply["d"]["retryable"]:
                refusals.append(reply["d"]["code"])
                stop.wait(0.01)
            else:
                unexpected.append(reply)
        socket.close()

    sender = threading.Thread(target=load)
    sender.start()
    try:
        for _ in range(3):
            reached = len(acknowledged)
            wait_until(lambda n=reached: len(acknowledged) > n + 50, 20, "sends before the disk fills")
            seen = len(refusals)
            fill(small_disk)
            wait_until(lambda n=seen: len(refusals) > n + 5, 30, "refusals on the full disk")
            reached = len(acknowledged)
            (small_disk / "ballast").unlink()
            wait_until(lambda n=reached: len(acknowledged) > n + 20, 20, "sends to come back by themselves")
    finally:
        stop.set()
        sender.join()
    assert not unexpected, unexpected[:3]
    assert "storage_full" in refusals
    stack.kill("storage", "routing")
    stack.restart("storage", "routing")
    stored = {m["message"]: m["seq"] for m in ann.history(conversation)}
    assert {m: s for m, s in acknowledged.items() if stored.get(m) != s} == {}
    assert sorted(stored.values()) == list(range(1, len(stored) + 1))
    stack.stop()
    stack.processes.clear()


def test_failed_fsync_ends_the_process_without_an_acknowledgement(fresh_stack):
    stack = fresh_stack()
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    socket = ann.ws()
    assert socket.send(conversation, "before")["t"] == "ok"
    stack.kill("storage")
    stack.start_service("storage", wrapper=[
        "strace", "-f", "-qq", "-e", "trace=fdatasync,fsync",
        "-e", "inject=fdatasync,fsync:error=EIO:when=6+", "-o", "/dev/null"])
    stack.expected_exits.add("storage")
    stack.wait_ready("storage", "routing")
    acknowledged = []
    message = None
    for _ in range(40):
        message = uuid7()
        reply = socket.send(conversation, "on a failing disk", message)
        if reply["t"] == "err":
            break
        acknowledged.append(message)
    assert reply["t"] == "err" and reply["d"]["retryable"]
    wait_until(lambda: stack.processes["storage"].poll() is not None, 5, "storage to exit")
    assert stack.processes["storage"].returncode != 0
    stack.start_service("storage")
    stack.wait_ready()
    stored = [m["message"] for m in ann.history(conversation)]
    assert all(m in stored for m in acknowledged)
    assert wait_until(lambda: socket.send(conversation, "again", message)["t"] == "ok", 10, "service back")
    assert [m["message"] for m in ann.history(conversation)].count(message) == 1
    socket.close()
