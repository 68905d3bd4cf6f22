"""Pipit as a cluster: every instance a real process in a network namespace of its own, found by name.

A supervisor starts what dies again after 0.3 s, as Kubernetes does, and keeps account of who died how.
"""

import asyncio
import os
import pathlib
import re
import shutil
import signal
import struct
import sys
import time

import given
from sandbox import SUBNET, Network, run
from wire_http import Http, Unknown

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
RESTART_PAUSE = 0.3
SERVICES = ("storage", "routing", "auth", "connection")
SUBNETS = {"database": 5, "storage": 1, "routing": 2, "auth": 3, "connection": 4}
BUS_PORTS = {"storage": 7201, "routing": 7101, "auth": 7301}
OPS_PORT, HTTP_PORT, WS_PORT, MQTT_PORT, DATABASE_PORT = 9460, 8080, 8083, 1883, 27017
DISK_BYTES, DISK_BYTES_PER_FAULT = 256 << 20, 4 << 20


class Instance:
    """One process, its namespace and its log; the process changes, the address stays."""

    def __init__(self, world, service, number):
        self.world, self.service, self.number = world, service, number
        self.name = f"{service}-{number}"
        self.address = f"{SUBNET}.{SUBNETS[service]}.{number}"
        self.log = world.folder / f"{self.name}.log"
        self.clock = world.folder / f"{self.name}.clock"
        self.process = self.keeper = None
        self.listed = self.wanted = False  # found by name; started again when it dies
        self.expected = set()  # exit codes the nemesis asked for
        self.started_at = 0.0

    @property
    def pid(self):
        return self.process.pid

    @property
    def running(self):
        return self.process is not None and self.process.returncode is None

    def set_clock(self, offset_s):
        with open(self.clock, "r+b" if self.clock.exists() else "wb") as file:
            file.write(struct.pack("<q", int(offset_s * 1e6)))

    def command(self):
        if self.service == "database":
            return self.world.database_command(self.address)
        return [str(self.world.build / f"pipit-{self.service}")]

    async def start(self):
        self.wanted = True
        environment = self.world.environment(self)
        with open(self.log, "ab") as log, open(self.world.folder / f"{self.name}.out", "ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                *self.world.network.within(self.name, *self.command()), env=environment, cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True)
        self.started_at = time.monotonic()
        self.keeper = asyncio.create_task(self._keep(self.process))

    async def _keep(self, process):
        code = await process.wait()
        self.world.note_exit(self, code)
        if self.wanted:
            await asyncio.sleep(RESTART_PAUSE)
            if self.wanted and self.process is process:
                await self.start()

    def send_signal(self, number):
        if self.running:
            os.kill(self.pid, number)

    async def ready(self):
        http = Http(lambda: [(self.address, OPS_PORT)])
        try:
            return (await http.call("GET", "/readyz", timeout=1.0)).status == 200
        except Unknown:
            return False
        finally:
            http.close()

    async def metrics(self):
        reader, writer = await asyncio.wait_for(asyncio.open_connection(self.address, OPS_PORT), 2)
        try:
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = (await asyncio.wait_for(reader.read(), 5)).decode()
        finally:
            writer.close()
        values = {}
        for line in text.splitlines():
            if " " in line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                try:
                    values[name] = float(value)
                except ValueError:
                    pass
        return values

    async def wait_ready(self, timeout=30):
        if self.service == "database":
            return await self._wait_port(timeout)
        deadline = time.monotonic() + timeout
        while not await self.ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready after {timeout} s: {self.tail()}")
            await asyncio.sleep(0.05)

    async def _wait_port(self, timeout):
        deadline = time.monotonic() + timeout
        while True:
            try:
                async with asyncio.timeout(1):
                    _, writer = await asyncio.open_connection(self.address, DATABASE_PORT)
                writer.close()
                return
            except (OSError, TimeoutError):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} does not listen: {self.tail()}") from None
                await asyncio.sleep(0.05)

    def tail(self, lines=6):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    async def stop(self, timeout=20.0):
        """SIGTERM, as a drain; returns the exit code, or None when it had to be killed."""
        self.wanted = False
        if not self.running:
            return 0
        self.expected.add(0)
        self.send_signal(signal.SIGCONT)
        self.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), timeout)
        except asyncio.TimeoutError:
            self.expected.add(-signal.SIGKILL)
            self.send_signal(signal.SIGKILL)
            await self.process.wait()
            return None


class World:
    def __init__(self, folder, build, store, server=None, preload_clock=True, faults=0):
        self.folder, self.build, self.store = pathlib.Path(folder), pathlib.Path(build), store
        self.server, self.preload_clock = server, preload_clock  # FerretDB's program, or a given.Server
        self.disk_bytes = DISK_BYTES + faults * DISK_BYTES_PER_FAULT
        self.disk = self.folder / "disk"
        self.network = Network(self.folder)
        self.instances, self.problems, self.exits = {}, [], []
        self.counts = {"storage": 2 if store == "mongodb" else 1, "routing": 2, "auth": 2, "connection": 2}

    # --- life

    async def create(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.network.create()
        self.disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={self.disk_bytes}", "tmpfs", str(self.disk))
        self._compile()
        if self.store == "mongodb":
            await (await self.add("database")).wait_ready()
        for service in SERVICES:
            for _ in range(self.counts[service]):
                await self.add(service)
        for instance in self.instances.values():
            await instance.wait_ready()

    def _compile(self):
        compiler = os.environ.get("CC", "gcc")
        run(compiler, "-O2", "-shared", "-fPIC", "-o", str(self.folder / "clock_shim.so"),
            str(HERE / "clock_shim.c"), "-ldl")
        run(compiler, "-O2", "-o", str(self.folder / "packet_delay"), str(HERE / "packet_delay.c"),
            "-lnetfilter_queue")

    async def destroy(self):
        """Stops everything; what does not stop in order, or had died unasked, is a problem."""
        for instance in self.instances.values():
            instance.wanted = False
        for service in (*reversed(SERVICES), "database"):
            for instance in self.of(service, listed=False):
                code = await instance.stop()
                if code != 0 and service != "database":
                    self.problems.append(f"{instance.name} did not stop in order: {code}: {instance.tail()}")
        self._read_logs()
        run("umount", "-l", str(self.disk))

    def _read_logs(self):
        marks = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|contract failed")
        for log in self.folder.glob("*.log"):
            text = log.read_text(errors="replace")
            if found := marks.search(text):
                self.problems.append(f"{log.name}: {text[max(0, found.start() - 200):found.start() + 1500]}")

    # --- instances

    def of(self, service, listed=True):
        return [i for i in self.instances.values() if i.service == service and (i.listed or not listed)]

    async def add(self, service):
        taken = {i.number for i in self.of(service, listed=False)}
        number = next(n for n in range(1, 100) if n not in taken)
        instance = Instance(self, service, number)
        self.network.add(instance.name, instance.address)
        self.instances[instance.name] = instance
        instance.set_clock(0)
        instance.listed = True
        self.publish()
        await instance.start()
        return instance

    async def remove(self, instance):
        """Scale down: out of the name first, then SIGTERM, then gone."""
        instance.listed = False
        self.publish()
        code = await instance.stop()
        if code != 0:
            self.problems.append(f"{instance.name} drained with {code}: {instance.tail()}")
        self.network.remove(instance.name)
        del self.instances[instance.name]

    def publish(self):
        names = {}
        for instance in self.instances.values():
            if instance.listed:
                names.setdefault(f"pipit-{instance.service}", []).append(instance.address)
        self.network.write_hosts(names)

    def note_exit(self, instance, code):
        self.exits.append((time.monotonic(), instance.name, code))
        if code not in instance.expected and instance.service != "database":
            self.problems.append(f"{instance.name} ended with {code} and nobody asked: {instance.tail(12)}")
        instance.expected.clear()

    def kill(self, instance):
        instance.expected.add(-signal.SIGKILL)
        instance.send_signal(signal.SIGKILL)

    async def dump_metrics(self, tag):
        """What the instances count, for whoever looks for a cause."""
        for instance in self.instances.values():
            if instance.service == "database":
                continue
            try:
                values = await instance.metrics()
            except (OSError, TimeoutError, asyncio.TimeoutError):
                continue
            lines = [f"{name} {value:g}" for name, value in values.items() if value]
            (self.folder / f"{instance.name}.{tag}.metrics").write_text("\n".join(lines) + "\n")

    # --- addresses and settings

    def rest_addresses(self):
        return [(i.address, HTTP_PORT) for i in self.of("auth")]

    def ws_addresses(self):
        return [(i.address, WS_PORT) for i in self.of("connection")]

    def mqtt_addresses(self):
        return [(i.address, MQTT_PORT) for i in self.of("connection")]

    def invite(self):
        """The one-time invite of the first start, whichever auth instance printed it."""
        for instance in self.of("auth"):
            out = (self.folder / f"{instance.name}.out").read_text()
            if found := re.search(r"Admin invite.*: (pi_[A-Za-z0-9_-]+)", out):
                return found.group(1)
        return None

    def database_command(self, address):
        if isinstance(self.server, given.Server):
            return [sys.executable, "-B", str(given.FORWARD), f"tcp:{address}:{DATABASE_PORT}",
                    f"unix:{self.folder}/{given.SOCKET}"]
        data = self.disk / "database"
        data.mkdir(exist_ok=True)
        return [str(self.server), "--handler=sqlite", f"--sqlite-url=file:{data}/", "--telemetry=disable",
                "--debug-addr=-", f"--state-dir={data}", f"--listen-addr={address}:{DATABASE_PORT}",
                "--log-level=warn"]

    def database_uri(self):
        if isinstance(self.server, given.Server):
            return given.inside(self.server.uri, "pipit-database", DATABASE_PORT, self.server.database)
        return f"mongodb://pipit-database:{DATABASE_PORT}/pipit"

    def environment(self, instance):
        env = {k: v for k, v in os.environ.items() if not k.startswith("PIPIT_")}
        if instance.service == "database":
            return env
        if self.preload_clock:
            env["LD_PRELOAD"] = str(self.folder / "clock_shim.so")
            env["CHAOS_CLOCK"] = str(instance.clock)
            env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        service = instance.service.upper()
        for name, port in BUS_PORTS.items():
            env[f"PIPIT_BUS_{name.upper()}"] = f"tcp://pipit-{name}:{port}"
        env[f"PIPIT_{service}_OPS_LISTEN"] = f"{instance.address}:{OPS_PORT}"
        env[f"PIPIT_{service}_DRAIN"] = "3s"
        if instance.service in BUS_PORTS:
            env[f"PIPIT_{service}_BUS_LISTEN"] = f"tcp://{instance.address}:{BUS_PORTS[instance.service]}"
        if instance.service == "storage":
            env["PIPIT_STORAGE_STORE"] = (
                f"sqlite:{self.disk}/storage" if self.store == "sqlite"
                else self.database_uri())
        elif instance.service == "auth":
            env["PIPIT_AUTH_LISTEN"] = f"{instance.address}:{HTTP_PORT}"
            env["PIPIT_AUTH_OPENAPI_FILE"] = str(ROOT / "docs/reference/openapi.yaml")
            env["PIPIT_AUTH_ACCESS_LIFETIME"] = "3m"
        elif instance.service == "connection":
            env["PIPIT_CONNECTION_WS_LISTEN"] = f"{instance.address}:{WS_PORT}"
            env["PIPIT_CONNECTION_MQTT_LISTEN"] = f"{instance.address}:{MQTT_PORT}"
            env["PIPIT_CONNECTION_THREADS"] = "2"  # on two processors it would be one
        return env

    # --- the disk

    def fill_disk(self, leave_bytes):
        """Takes what is free but `leave_bytes`; returns the ballast's path."""
        ballast, size = self.disk / "ballast", 0
        with open(ballast, "wb", buffering=0) as file:
            for step in (1 << 26, 1 << 20, 1 << 16, 4096):
                try:
                    while True:
                        os.posix_fallocate(file.fileno(), size, step)
                        size += step
                except OSError:
                    pass
            os.ftruncate(file.fileno(), max(0, size - leave_bytes))
        return ballast
