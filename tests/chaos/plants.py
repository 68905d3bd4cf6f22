"""Planted violations: a campaign that cannot fail proves nothing.

Each plant breaks what the product promises from outside, in the middle of an ordinary campaign, and names
the checks of which at least one must speak up.
"""

import asyncio
import shutil

from device import Message
from history import body_hash

# plant: the checks that must find it
PLANTS = {
    "rollback": ("H1", "H3", "H4"),  # the store forgets what it had acknowledged
    "second-copy": ("H3",),  # a message is stored under two ids, as if nobody had looked for the first
    "lost-line": ("H1", "H4"),  # a device's last list lacks one message
}


class Planter:
    """Does the campaign's plant, if it has one, while faults go on."""

    def __init__(self, world, campaign):
        self.world, self.campaign = world, campaign

    async def run(self):
        work = {"rollback": self._rollback, "second-copy": self._second_copy}.get(self.campaign.plant)
        if work is not None:
            await work()

    async def _rollback(self):
        """The newest second of the store is taken back while its process is dead."""
        storage, store, older = self.world.of("storage")[0], self.world.disk / "storage", self.world.disk / "older"
        storage.wanted = False
        self.world.kill(storage)
        await storage.process.wait()
        shutil.copytree(store, older)
        await storage.start()
        await storage.wait_ready()
        acked = self.campaign.acked
        while self.campaign.acked < acked + 100:
            await asyncio.sleep(0.05)
        storage.wanted = False
        self.world.kill(storage)
        await storage.process.wait()
        shutil.rmtree(store)
        shutil.move(older, store)
        await storage.start()
        await storage.wait_ready()

    async def _second_copy(self):
        while True:
            for device in self.campaign.devices():
                views = [v for v in device.views.values() if v.active and not v.rejoined]
                if device.protocol == "ws" and device.can_send() and views:
                    await self._send_twice(device, views[0].conversation)
                    return
            await asyncio.sleep(0.05)

    async def _send_twice(self, device, conversation):
        """The text carries the id that is recorded; on the wire each copy has an id of its own."""
        for copy in range(2):
            message = Message(device, conversation, "text", "twice")
            if copy == 0:
                identity = message.id
            message.id, message.text = identity, f"~{identity} twice"
            message.hash = body_hash(message.text)
            device.submit(message)
            while not message.done:
                await asyncio.sleep(0.02)


def loses_line(campaign, events):
    """The place in `events` of the one final line that is left out; None: none of these."""
    if campaign.plant != "lost-line" or campaign.planted or len(events) < 10:
        return None
    campaign.planted = True
    return len(events) // 2
