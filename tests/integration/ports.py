"""Free TCP ports of this machine and waiting for events: what every kind of process test needs."""

import os
import pathlib
import random
import re
import socket
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PIPIT_BUILD", ROOT / "build"))
SLOW = 4 if re.search("address|thread", BUILD.name) else 1  # sanitizers are slower
# Two workers of pytest-xdist look for ports in halves of their own.
_LOW, _HIGH = {"gw0": (12000, 22000), "gw1": (22000, 32000)}.get(
    os.environ.get("PYTEST_XDIST_WORKER"), (12000, 32000))
_used_ports = set()


def _is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))  # nobody has it on any 127.0.0.x either
        except OSError:
            return False
    return port not in _used_ports


def free_port(count=1):
    """The first of `count` free neighbouring TCP ports below 32768 (above are outgoing connections')."""
    while True:
        ports = range(port := random.randrange(_LOW, _HIGH), port + count)
        if all(_is_free(each) for each in ports):
            _used_ports.update(ports)
            return port


def wait_until(condition, timeout=10.0, what="condition"):
    """Polls until condition() is true and returns its value; fails with `what` after the time."""
    deadline = time.monotonic() + timeout * SLOW
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out waiting for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
