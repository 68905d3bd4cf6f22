"""The four services as real processes on free ports, for behaviour tests.

A Stack owns a folder, ports and processes. Nothing is faked: tests talk to it as a client would.
"""

import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PIPIT_BUILD", ROOT / "build"))
SERVICES = ("storage", "routing", "auth", "connection")
SLOW = 4 if re.search("address|thread", BUILD.name) else 1  # sanitizers are slower
_used_ports = set()


def _is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return port not in _used_ports


def free_port(count=1):
    """The first of `count` free neighbouring TCP ports below 32768 (above are outgoing connections')."""
    while True:
        ports = range(port := random.randrange(12000, 32000), port + count)
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


class Stack:
    def __init__(self, settings=None, folder=None):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="pipit-test-"))
        self.owns_folder = folder is None
        self.store_dir = self.folder / "storage"
        self.settings = dict(settings or {})
        self.http_port, self.ws_port, self.mqtt_port = free_port(), free_port(), free_port()
        self.ops_ports = {service: free_port() for service in SERVICES}
        self.rest_url = f"http://127.0.0.1:{self.http_port}"
        self.ws_url = f"ws://127.0.0.1:{self.ws_port}/v1/ws"
        self.processes = {}
        self.admin_invite = None
        self.expected_exits = set()

    def environment(self, service):
        env = {k: v for k, v in os.environ.items() if not k.startswith("PIPIT_")}
        for name in SERVICES:
            env[f"PIPIT_{name.upper()}_OPS_LISTEN"] = f"127.0.0.1:{self.ops_ports[name]}"
            if name != "connection":
                env[f"PIPIT_BUS_{name.upper()}"] = f"ipc://{self.folder}/{name}"
                env[f"PIPIT_{name.upper()}_BUS_LISTEN"] = f"ipc://{self.folder}/{name}"
        env["PIPIT_STORAGE_STORE"] = f"sqlite:{self.store_dir}"
        env["PIPIT_AUTH_LISTEN"] = f"127.0.0.1:{self.http_port}"
        env["PIPIT_AUTH_OPENAPI_FILE"] = str(ROOT / "docs/reference/openapi.yaml")
        env["PIPIT_CONNECTION_WS_LISTEN"] = f"127.0.0.1:{self.ws_port}"
        env["PIPIT_CONNECTION_MQTT_LISTEN"] = f"127.0.0.1:{self.mqtt_port}"
        env["PIPIT_CONNECTION_DRAIN"] = "3s"
        env.update({key: str(value) for key, value in self.settings.items()})
        return env

    def log_path(self, service):
        return self.folder / f"{service}.log"

    def start_service(self, service, wrapper=()):
        self.store_dir.mkdir(exist_ok=True)
        log = open(self.log_path(service), "ab")
        out = open(self.folder / f"{service}.out", "ab")
        self.processes[service] = subprocess.Popen(
            [*wrapper, str(BUILD / f"pipit-{service}")],
            env=self.environment(service),
            stdout=out,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
        )
        self.expected_exits.discard(service)

    def ready(self, service):
        try:
            url = f"http://127.0.0.1:{self.ops_ports[service]}/readyz"
            return requests.get(url, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def wait_ready(self, *services, timeout=20):
        for service in services or SERVICES:

            def probe(service=service):
                code = self.processes[service].poll()
                assert code is None, f"{service} ended with {code}: {self.tail(service)}"
                return self.ready(service)

            wait_until(probe, timeout, f"{service} to be ready")

    def start(self):
        for service in SERVICES:
            self.start_service(service)
        self.wait_ready()
        text = (self.folder / "auth.out").read_text()
        found = re.search(r"Admin invite.*: (pi_[A-Za-z0-9_-]+)", text)
        if found:
            self.admin_invite = found.group(1)
        return self

    def kill(self, *services, signal_number=signal.SIGKILL):
        for service in services or SERVICES:
            self.expected_exits.add(service)
            process = self.processes[service]
            if process.poll() is None:
                os.kill(process.pid, signal_number)
        if signal_number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            for service in services or SERVICES:
                self.processes[service].wait(timeout=20 * SLOW)

    def restart(self, *services):
        for service in services or SERVICES:
            self.start_service(service)
        self.wait_ready(*(services or SERVICES))

    def tail(self, service, lines=15):
        text = self.log_path(service).read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def metrics(self, service):
        url = f"http://127.0.0.1:{self.ops_ports[service]}/metrics"
        values = {}
        for line in requests.get(url, timeout=5).text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def pss_kib(self, service):
        path = f"/proc/{self.processes[service].pid}/smaps_rollup"
        return int(re.search(r"^Pss:\s+(\d+) kB", open(path).read(), re.M).group(1))

    def stop(self):
        """Stops everything and fails when a service had died or a sanitizer spoke up."""
        problems = []
        for service, process in self.processes.items():
            code = process.poll()
            if code is not None and service not in self.expected_exits:
                problems.append(f"{service} had ended with {code}: {self.tail(service)}")
        for service in reversed(SERVICES):
            process = self.processes.get(service)
            if process is None or process.poll() is not None:
                continue
            os.kill(process.pid, signal.SIGCONT)
            os.kill(process.pid, signal.SIGTERM)
            try:
                code = process.wait(timeout=20 * SLOW)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                problems.append(f"{service} did not stop on SIGTERM: {self.tail(service)}")
                continue
            if code != 0 and service not in self.expected_exits:
                problems.append(f"{service} stopped with {code}: {self.tail(service, 40)}")
        for service in SERVICES:
            if self.log_path(service).exists():
                text = self.log_path(service).read_text(errors="replace")
                found = re.search(r"(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|contract failed)", text)
                if found:
                    start = max(0, found.start() - 200)
                    problems.append(f"{service}: {text[start:start + 6000]}")
        if self.owns_folder and not problems:
            shutil.rmtree(self.folder, ignore_errors=True)
        assert not problems, "\n".join(problems)
