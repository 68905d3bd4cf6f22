"""The services as real processes on free ports, for behaviour tests.

A Stack owns a folder, ports and processes. Nothing is faked: tests talk to it as a client would.

Stack() is one instance of each service over Unix sockets and SQLite. Stack(counts={"routing": 2})
has several, which may come and go: the instances of a service share a bus port at different
addresses 127.0.0.N, and find each other by a host name that lists those that are there. The first
instance of a service is called by its name ("routing", or "routing-1"), the others "routing-2" ...
Stack(store="mongodb") keeps everything in FerretDB or in what PIPIT_TEST_MONGODB_URI names.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
from collections import namedtuple

import requests

import ferretdb
from names import Names
from ports import BUILD, ROOT, SLOW, free_port, wait_until

SERVICES = ("storage", "routing", "auth", "connection")
ENDING = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

# What a client needs to know of one auth and one connection instance; goes wherever a stack goes.
Door = namedtuple("Door", "rest_url ws_url mqtt_port")


class ByName(dict):
    """Keyed by instance; "routing-1" finds "routing"."""

    def __missing__(self, name):
        if not name.endswith("-1"):
            raise KeyError(name)
        return self[name[:-2]]


class Instance:
    """Where one process listens; `build` and `settings` are its own when they differ from the stack's."""

    def __init__(self, service, number):
        self.service, self.number = service, number
        self.name = service if number == 1 else f"{service}-{number}"
        self.bus_host = f"127.0.0.{number}"
        self.ops_port = free_port()
        self.http_port = free_port() if service == "auth" else None
        self.ws_port, self.mqtt_port = (free_port(), free_port()) if service == "connection" else (None, None)
        self.build, self.settings, self.wrapper = None, {}, ()


class Stack:
    def __init__(self, settings=None, folder=None, counts=None, store="sqlite", build=None):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="pipit-test-"))
        self.owns_folder = folder is None
        self.store_dir = self.folder / "storage"
        self.build = pathlib.Path(build or BUILD)
        self.settings = dict(settings or {})
        self.processes, self.ops_ports, self.instances = ByName(), ByName(), ByName()
        self.expected_exits = set()
        self.admin_invite = None
        self.numbers = dict.fromkeys(SERVICES, 0)  # the last one given
        self.names_file = Names(self.folder / "hosts") if counts is not None else None
        self.bus_ports = {service: free_port(3) for service in SERVICES if service != "connection"}
        self.mongodb, self.database = None, None
        assert store in ("sqlite", "mongodb"), store
        if store == "mongodb":
            self.database = ferretdb.fresh_name()
            self.mongodb = None if ferretdb.EXTERNAL_URI else ferretdb.FerretDB(self.folder / "ferretdb")
        self.store = store
        for service in SERVICES:
            for _ in range((counts or {}).get(service, 1)):
                self._make_instance(service)
        self.http_port = self.instances["auth"].http_port
        self.ws_port, self.mqtt_port = (getattr(self.instances["connection"], p) for p in ("ws_port", "mqtt_port"))
        self.rest_url, self.ws_url, _ = self.door()

    # --- instances

    def _make_instance(self, service):
        assert service != "storage" or self.store != "sqlite" or self.numbers[service] == 0, \
            "SQLite has one storage instance"
        self.numbers[service] += 1
        instance = Instance(service, self.numbers[service])
        self.instances[instance.name] = instance
        self.ops_ports[instance.name] = instance.ops_port
        return instance

    def names(self, service=None):
        """Names of the instances there are, of one service or of all in the order of starting."""
        return [i.name for s in SERVICES for i in self.instances.values() if i.service == s and service in (None, s)]

    def door(self, connection="connection", auth="auth"):
        """Addresses for clients at these instances; a number means the instance of that number."""
        connection, auth = (f"{service}-{name}" if isinstance(name, int) else name
                            for service, name in (("connection", connection), ("auth", auth)))
        return Door(f"http://127.0.0.1:{self.instances[auth].http_port}",
                    f"ws://127.0.0.1:{self.instances[connection].ws_port}/v1/ws",
                    self.instances[connection].mqtt_port)

    def add_instance(self, service, settings=None, build=None, wait=True):
        """Starts one more while the others run; returns its name."""
        assert self.names_file, "a stack made without counts cannot grow"
        instance = self._make_instance(service)
        instance.settings, instance.build = dict(settings or {}), build
        self.start_service(instance.name)
        if wait:
            self.wait_ready(instance.name)
        return instance.name

    def remove_instance(self, name, timeout=20):
        """Drains one for good: takes it off the name, SIGTERM, waits; it must end with 0."""
        instance, process = self.instances[name], self.processes[name]
        if self.names_file:
            self.names_file.remove(self._host_name(instance.service), instance.bus_host)
        self.expected_exits.add(instance.name)
        os.kill(process.pid, signal.SIGTERM)
        code = process.wait(timeout=timeout * SLOW)
        assert code == 0, f"{name} drained with {code}: {self.tail(name, 40)}"
        for kept in (self.processes, self.ops_ports, self.instances):
            del kept[instance.name]

    # --- configuration

    @staticmethod
    def _host_name(service):
        return f"{service}.pipit.test"

    def store_url(self):
        if self.store == "sqlite":
            return f"sqlite:{self.store_dir}"
        if self.mongodb:
            return self.mongodb.uri(self.database)
        return ferretdb.with_database(ferretdb.EXTERNAL_URI, self.database)

    def environment(self, name):
        instance = self.instances[name]
        service = instance.service
        env = {k: v for k, v in os.environ.items() if not k.startswith("PIPIT_")}
        env[f"PIPIT_{service.upper()}_OPS_LISTEN"] = f"127.0.0.1:{instance.ops_port}"
        for bus, port in self.bus_ports.items():
            env[f"PIPIT_BUS_{bus.upper()}"] = (
                f"tcp://{self._host_name(bus)}:{port}" if self.names_file else f"ipc://{self.folder}/{bus}")
        if service in self.bus_ports:
            env[f"PIPIT_{service.upper()}_BUS_LISTEN"] = (
                f"tcp://{instance.bus_host}:{self.bus_ports[service]}" if self.names_file
                else f"ipc://{self.folder}/{service}")
        env["PIPIT_STORAGE_STORE"] = self.store_url()
        if service == "auth":
            env["PIPIT_AUTH_LISTEN"] = f"127.0.0.1:{instance.http_port}"
            env["PIPIT_AUTH_OPENAPI_FILE"] = str(ROOT / "docs/reference/openapi.yaml")
        if service == "connection":
            env["PIPIT_CONNECTION_WS_LISTEN"] = f"127.0.0.1:{instance.ws_port}"
            env["PIPIT_CONNECTION_MQTT_LISTEN"] = f"127.0.0.1:{instance.mqtt_port}"
            env["PIPIT_CONNECTION_DRAIN"] = "3s"
            env["PIPIT_CONNECTION_THREADS"] = "2"  # on two processors it would be one
        env.update({key: str(value) for key, value in {**self.settings, **instance.settings}.items()})
        return env

    def log_path(self, name):
        return self.folder / f"{self.instances[name].name}.log"

    # --- life

    def start_service(self, name, wrapper=None):
        """`wrapper` goes before the program's arguments, this time alone; Instance.wrapper always."""
        instance = self.instances[name]
        self.store_dir.mkdir(exist_ok=True)
        prefix = []
        if self.names_file:
            prefix = self.names_file.prefix()
            self.names_file.add(self._host_name(instance.service), instance.bus_host)
        program = pathlib.Path(instance.build or self.build) / f"pipit-{instance.service}"
        with open(self.log_path(name), "ab") as log, open(self.folder / f"{instance.name}.out", "ab") as out:
            self.processes[instance.name] = subprocess.Popen(
                [*prefix, *(instance.wrapper if wrapper is None else wrapper), str(program)],
                env=self.environment(name),
                stdout=out,
                stderr=log,
                cwd=ROOT,
                start_new_session=True,
            )
        self.expected_exits.discard(instance.name)

    def ready(self, name):
        try:
            url = f"http://127.0.0.1:{self.ops_ports[name]}/readyz"
            return requests.get(url, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def wait_ready(self, *names, timeout=20):
        for name in names or self.names():

            def probe(name=name):
                code = self.processes[name].poll()
                assert code is None, f"{name} ended with {code}: {self.tail(name)}"
                return self.ready(name)

            wait_until(probe, timeout, f"{name} to be ready")

    def start(self):
        if self.mongodb:
            self.mongodb.start()
        for name in self.names():
            self.start_service(name)
        self.wait_ready()
        for name in self.names("auth"):
            text = (self.folder / f"{name}.out").read_text()
            found = re.search(r"Admin invite.*: (pi_[A-Za-z0-9_-]+)", text)
            if found:
                self.admin_invite = found.group(1)
        return self

    def kill(self, *names, signal_number=signal.SIGKILL):
        """A service's name means its first instance, no name all instances of all services."""
        chosen = [self.instances[name].name for name in names or self.names()]
        for name in chosen:
            self.expected_exits.add(name)
            process = self.processes[name]
            if process.poll() is None:
                os.kill(process.pid, signal_number)
        if signal_number in ENDING:
            for name in chosen:
                self.processes[name].wait(timeout=20 * SLOW)

    def restart(self, *names):
        for name in names or self.names():
            self.start_service(name)
        self.wait_ready(*(names or self.names()))

    # --- looking inside

    def tail(self, name, lines=15):
        text = self.log_path(name).read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def metrics(self, name):
        url = f"http://127.0.0.1:{self.ops_ports[name]}/metrics"
        values = {}
        for line in requests.get(url, timeout=5).text.splitlines():
            if line and not line.startswith("#"):
                series, value = line.rsplit(" ", 1)
                values[series] = float(value)
        return values

    def pss_kib(self, name):
        path = f"/proc/{self.processes[name].pid}/smaps_rollup"
        return int(re.search(r"^Pss:\s+(\d+) kB", open(path).read(), re.M).group(1))

    # --- the end

    def _end(self, service):
        """Stops a service's instances together; yields what was wrong."""
        running = [n for n in self.names(service) if n in self.processes and self.processes[n].poll() is None]
        for name in running:
            os.kill(self.processes[name].pid, signal.SIGCONT)
            os.kill(self.processes[name].pid, signal.SIGTERM)
        for name in running:
            process = self.processes[name]
            try:
                code = process.wait(timeout=20 * SLOW)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                yield f"{name} did not stop on SIGTERM: {self.tail(name)}"
                continue
            if code != 0 and name not in self.expected_exits:
                yield f"{name} stopped with {code}: {self.tail(name, 40)}"

    def stop(self):
        """Stops everything and fails when a service had died or a sanitizer spoke up."""
        problems = []
        for name, process in self.processes.items():
            code = process.poll()
            if code is not None and name not in self.expected_exits:
                problems.append(f"{name} had ended with {code}: {self.tail(name)}")
        for service in reversed(SERVICES):
            problems += self._end(service)
        if self.mongodb and (problem := self.mongodb.stop()):
            problems.append(problem)
        if self.database and not self.mongodb:
            ferretdb.drop(self.store_url(), self.database)
        for log in self.folder.glob("*.log"):
            text = log.read_text(errors="replace")
            found = re.search(r"(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|contract failed)", text)
            if found:
                start = max(0, found.start() - 200)
                problems.append(f"{log.stem}: {text[start:start + 6000]}")
        if self.owns_folder and not problems:
            shutil.rmtree(self.folder, ignore_errors=True)
        assert not problems, "\n".join(problems)
