"""The servers that are measured: Pipit as `make run` starts it, and Debian's mosquitto beside it."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SERVICES = ("storage", "routing", "auth", "connection")
MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
persistence false
max_inflight_messages 0
max_queued_messages 0
"""


def free_ports(count):
    """A block of ports that nobody listens on."""
    for base in range(21000, 30000, 50):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise SystemExit("bench: no free ports between 21000 and 30000")


class Pipit:
    """Four services on SQLite in a folder of their own, with accounts for the load."""

    def __init__(self, build, accounts, group_size=50, connections=1, routings=1, fsync_delay_us=0):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pipit-bench-"))
        self.build = build
        base = free_ports(40)
        self.rest_port, self.ws_port, self.mqtt_port = base, base + 4, base + 8
        self.instances = {"CONNECTIONS": connections, "ROUTINGS": routings}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PIPIT_")}
        environment |= {"DATA": str(self.folder / "data"), "BUILD": str(build), "LISTEN": "127.0.0.1",
                        "HTTP_PORT": str(base), "WS_PORT": str(base + 4), "MQTT_PORT": str(base + 8),
                        "OPS_PORT": str(base + 20)}
        environment |= {key: str(value) for key, value in self.instances.items()}
        if fsync_delay_us:
            environment |= self._slow_disk(fsync_delay_us)
        self.log = open(self.folder / "run.log", "w+")
        self.process = subprocess.Popen([ROOT / "scripts/run.sh"], env=environment, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, start_new_session=True)
        try:
            self._wait_ready()
            self.accounts, self.groups = self.folder / "accounts.txt", self.folder / "groups.txt"
            self._register(accounts, group_size)
        except BaseException:
            self.close()
            raise

    def _slow_disk(self, delay_us):
        """Each fsync of the store takes longer: the library of the power cuts does that."""
        sys.path.insert(0, str(ROOT / "tests/powercut"))
        from shim import build_shim, shim_environment
        (self.folder / "data/storage").mkdir(parents=True)
        return shim_environment(build_shim(self.folder), self.folder / "data/storage", delay_us=delay_us)

    def _wait_ready(self):
        deadline = time.monotonic() + 60
        while "Ctrl-C stops" not in self._said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"bench: Pipit did not start:\n{self._said()}")
            time.sleep(0.1)

    def _said(self):
        return (self.folder / "run.log").read_text(errors="replace")

    def _register(self, count, group_size):
        invite = re.search(r"pi_[A-Za-z0-9_-]+", self._said()).group(0)
        command = [sys.executable, ROOT / "loadtest/accounts.py", "--url", f"http://127.0.0.1:{self.rest_port}",
                   "--invite", invite, "--count", str(count), "--out", self.accounts]
        if group_size:
            command += ["--groups", self.groups, "--group-size", str(group_size)]
        if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
            raise SystemExit("bench: the accounts could not be registered")

    def pids(self):
        """Of the services that run.sh has started."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == self.process.pid and (folder / "comm").read_text().startswith("pipit-"):
                    found.append(int(folder.name))
        return sorted(found)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Mosquitto:
    """Keeps nothing on disk."""

    def __init__(self):
        self.program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if self.program is None:
            raise SystemExit("bench: mosquitto is missing; install it with: apt-get install mosquitto")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pipit-bench-"))
        self.mqtt_port = free_ports(1)
        (self.folder / "mosquitto.conf").write_text(MOSQUITTO.format(port=self.mqtt_port))
        self.process = subprocess.Popen([self.program, "-c", self.folder / "mosquitto.conf"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.mqtt_port)):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("bench: mosquitto did not start")
            time.sleep(0.05)

    def pids(self):
        return [self.process.pid]

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
