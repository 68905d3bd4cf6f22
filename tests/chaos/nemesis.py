"""Carries out one fault: begin, hold, undo. What it did is in the history as `fault` invoke and ok.

inflict() returns the moment from which the service must recover: the kill, or the end of what was held.
"""

import asyncio

import signal
import time

from sandbox import CLIENT

TRACE_READY = 3.0
INSTANCES_MAX = 4  # of one service; an older one leaves for the next
WORK_METRICS = {"routing": "pipit_messages_accepted_total", "connection": "pipit_submits_total"}


class Nemesis:
    def __init__(self, world, history, campaign):
        self.world, self.history, self.campaign = world, history, campaign
        self.notes = []
        self.newcomer = None  # an instance that was added and must get work

    async def inflict(self, fault):
        self.target = "-"
        self.since = None
        self.fault = fault
        work = getattr(self, "_" + fault.kind.replace("-", "_"))
        await work(fault)
        since = self.since if self.since is not None else time.monotonic()
        self.history.event("nemesis", "fault", "ok", **self._names())
        return since

    def _names(self):
        return {"class": self.fault.kind, "target": self.target, "number": self.fault.number}

    def _begin(self, *instances, target=None):
        self.target = target or ",".join(i.name for i in instances)
        self.history.event("nemesis", "fault", "invoke", **self._names())

    def _choose(self, fault):
        return self._one(fault.service, fault.pick)

    def _one(self, service, pick):
        choices = self.world.of(service)
        return choices[pick % len(choices)]

    # --- processes

    async def _kill(self, fault):
        instance = self._choose(fault)
        self._begin(instance)
        self.since = time.monotonic()
        self.world.kill(instance)

    async def _kill_several(self, fault):
        left, instances = {}, []
        for service in fault.services:
            left.setdefault(service, self.world.of(service))
            if left[service]:
                instances.append(left[service].pop())
        self._begin(*instances)
        self.since = time.monotonic()
        for instance in instances:
            self.world.kill(instance)

    async def _hold_still(self, instance, seconds):
        self._begin(instance)
        instance.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            instance.send_signal(signal.SIGCONT)

    async def _freeze(self, fault):
        await self._hold_still(self._choose(fault), fault.seconds)

    async def _two_owners(self, fault):
        await self._hold_still(self._choose(fault), fault.seconds)

    async def _database_kill(self, fault):
        instance = self._one("database", 0)
        self._begin(instance)
        self.since = time.monotonic()
        self.world.kill(instance)

    async def _database_freeze(self, fault):
        await self._hold_still(self._one("database", 0), fault.seconds)

    # --- the network

    def _far_addresses(self, instance, far):
        if far == "clients":
            return [CLIENT]
        if far == "everybody":
            return [None]
        return [i.address for i in self.world.of(far, listed=False) if i is not instance] or [None]

    async def _cut(self, fault, both):
        instance = self._choose(fault)
        self._begin(instance, target=f"{instance.name}/{fault.far}" + ("" if both else
                                                                     "/in" if fault.inward else "/out"))
        network = self.world.network
        try:
            for address in self._far_addresses(instance, fault.far):
                address = address or "10.77.0.0/16"
                if both or fault.inward:
                    await network.drop(instance.name, source=address)
                if both or not fault.inward:
                    await network.drop(instance.name, destination=address)
            await asyncio.sleep(fault.seconds)
        finally:
            await network.clear(instance.name)

    async def _partition(self, fault):
        await self._cut(fault, True)

    async def _partition_one_way(self, fault):
        await self._cut(fault, False)

    async def _packet_loss(self, fault):
        instance = self._choose(fault)
        self._begin(instance, target=f"{instance.name}/{fault.share}")
        try:
            await self.world.network.lose(instance.name, fault.share)
            await asyncio.sleep(fault.seconds)
        finally:
            await self.world.network.clear(instance.name)

    async def _delay(self, fault):
        instance = self._choose(fault)
        self._begin(instance, target=f"{instance.name}/{fault.delay_ms}ms")
        network = self.world.network
        helper = await asyncio.create_subprocess_exec(
            *network.within(instance.name, str(self.world.folder / "packet_delay"), "1", str(fault.delay_ms),
                            str(fault.delay_ms // 4)), stdout=asyncio.subprocess.PIPE)
        try:
            if await helper.stdout.readline() != b"ready\n":
                raise RuntimeError("packet_delay did not start")
            await network.queue(instance.name, 1)
            await asyncio.sleep(fault.seconds)
        finally:
            await network.clear(instance.name)
            helper.kill()
            await helper.wait()

    async def _client_reset(self, fault):
        instance = self._one("connection", fault.pick)
        self._begin(instance)
        self.since = time.monotonic()
        for port in (8083, 1883):
            await self.world.network.reset_connections(instance.name, "sport", "=", f":{port}")

    async def _bus_reset(self, fault):
        instance = self._choose(fault)
        self._begin(instance)
        self.since = time.monotonic()
        for port in (7101, 7102, 7103, 7201, 7202):
            await self.world.network.reset_connections(instance.name, "sport", "=", f":{port}")
            await self.world.network.reset_connections(instance.name, "dport", "=", f":{port}")

    # --- the disk

    def _writer(self):
        """The process whose disk it is."""
        return self._one("storage" if self.world.store == "sqlite" else "database", 0)

    async def _disk_full(self, fault):
        self._begin(self._writer())
        ballast = self.world.fill_disk(fault.leave)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            ballast.unlink()

    async def _trace(self, instance, seconds, injections, until_exit=False):
        """strace on a running process; SIGINT lets it go on unharmed."""
        calls = ",".join(sorted({i.split(":")[0] for i in injections}))
        command = ["strace", "-f", "-q", "-o", "/dev/null", "-e", f"trace={calls}"]
        for injection in injections:
            command += ["-e", f"inject={injection}"]
        tracer = await asyncio.create_subprocess_exec(*command, "-p", str(instance.pid),
                                                      stderr=asyncio.subprocess.DEVNULL)
        process = instance.process
        try:
            if until_exit:
                await asyncio.wait_for(process.wait(), seconds)
            else:
                await asyncio.sleep(seconds)
        except asyncio.TimeoutError:
            pass
        finally:
            if tracer.returncode is None:
                tracer.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(tracer.wait(), TRACE_READY)
            except asyncio.TimeoutError:
                tracer.kill()
                await tracer.wait()
        return process.returncode is not None

    async def _slow_disk(self, fault):
        instance = self._writer()
        self._begin(instance, target=f"{instance.name}/{fault.delay_ms}ms")
        delay = f"delay_enter={fault.delay_ms * 1000}"
        await self._trace(instance, fault.seconds + 1, [f"fsync,fdatasync:{delay}"])

    async def _fsync_error(self, fault):
        """The first failed sync must end the process: whoever goes on would promise what is not on disk."""
        instance = self._writer()
        instance.expected.update(range(1, 256))
        self._begin(instance)
        ended = await self._trace(instance, 8.0, [f"fsync,fdatasync:error=EIO:when={fault.calls}+"], until_exit=True)
        self.since = time.monotonic()
        if not ended:
            self.campaign.problems.append(f"{instance.name} lived on after a failed fsync")
            self.world.kill(instance)

    async def _write_error(self, fault):
        instance = self._writer()
        instance.expected.update(range(1, 256))
        self._begin(instance)
        await self._trace(instance, fault.seconds, [f"pwrite64,write:error=EIO:when={fault.calls}+3"])

    # --- the clock

    async def _clock_step(self, fault):
        instance = self._choose(fault)
        self._begin(instance, target=f"{instance.name}/{fault.step_s:+}s")
        instance.set_clock(fault.step_s)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            instance.set_clock(0)

    # --- instances

    async def _instance_added(self, fault):
        self._begin(target=fault.service)
        instances = self.world.of(fault.service)
        if len(instances) >= INSTANCES_MAX:
            await self.world.remove(instances[fault.pick % len(instances)])
        instance = await self.world.add(fault.service)
        await instance.wait_ready()
        self.since, self.newcomer = time.monotonic(), instance
        if fault.service == "connection":
            for device in self.campaign.devices()[::3]:
                if device.link is not None:
                    device.link.abort()

    async def newcomer_works(self):
        """Waits until the instance that this fault added, if it did, has work."""
        instance, self.newcomer = self.newcomer, None
        if instance is None:
            return
        metric = WORK_METRICS.get(instance.service)
        deadline = time.monotonic() + 15
        while metric is not None:
            values = await instance.metrics()
            if sum(v for name, v in values.items() if name.startswith(metric)) > 0:
                self.notes.append((f"work moved to {instance.name}", time.monotonic() - self.since))
                return
            if time.monotonic() > deadline:
                self.campaign.problems.append(f"{instance.name} was added and got no work in 15 s")
                return
            await asyncio.sleep(0.05)

    async def _instance_drained(self, fault):
        instances = self.world.of(fault.service)
        if len(instances) < 3:  # as many as at the start stay
            await self._instance_added(fault)
            await self.newcomer_works()
            instances = self.world.of(fault.service)
            self.since = None
        else:
            self._begin(target=fault.service)
        instance = instances[fault.pick % len(instances)]
        self.target = instance.name
        await self.world.remove(instance)

    async def _rolling_restart(self, fault):
        self._begin(target=fault.service)
        for instance in self.world.of(fault.service):
            code = await instance.stop()
            if code != 0:
                self.campaign.problems.append(f"{instance.name} stopped with {code}: {instance.tail()}")
            await instance.start()
            await instance.wait_ready()

    # --- the end

    async def heal(self):
        """Everything runs and nothing is in the way."""
        for instance in self.world.instances.values():
            await self.world.network.clear(instance.name)
            instance.send_signal(signal.SIGCONT)
            instance.set_clock(0)
        for instance in self.world.instances.values():
            await instance.wait_ready()


