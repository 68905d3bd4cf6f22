"""After the campaign: everything heals, what was sent is answered, what was missed arrives by itself, and every
device lists what it can read. Each step has a deadline; what is not there by then is a finding.
"""

import asyncio
import time

from account import insist
from plants import loses_line
from wire_http import Unknown

ANSWERS_SECONDS = 30.0
CONVERGE_SECONDS = 20.0
TELL_TRIES = 5
LISTS_AT_ONCE = 4


class Finals:
    def __init__(self, world, history, campaign):
        self.world, self.history, self.campaign = world, history, campaign

    async def run(self):
        campaign = self.campaign
        campaign.sending = False
        await asyncio.gather(*campaign.tasks)
        await asyncio.wait_for(asyncio.gather(*campaign.admin_tasks, return_exceptions=True), 60)
        if late := await campaign.until_live(ANSWERS_SECONDS):
            campaign.problems.append(f"devices that could not connect after healing: {' '.join(late)}")
        await self._wait_for_answers()
        await self._members()
        await self._converge()
        await self._presence()
        gate = asyncio.Semaphore(LISTS_AT_ONCE)
        await asyncio.gather(*(self._list_all(device, gate) for device in campaign.devices()))

    async def _wait_for_answers(self):
        deadline = time.monotonic() + ANSWERS_SECONDS
        while left := sum(len(d.outbox) for d in self.campaign.devices()):
            if time.monotonic() > deadline:
                some = [(d.label, m.kind, m.conversation, m.id, m.attempts)
                        for d in self.campaign.devices() for m in d.outbox.values()][:5]
                self.campaign.problems.append(f"{left} sends have no answer after healing, such as {some}")
                return
            await asyncio.sleep(0.05)

    async def _members(self):
        """What the server says of each membership, asked for by a member."""
        for conversation in self.campaign.conversations.values():
            user = conversation.owner
            device = user.devices[0]
            answer = await insist(device.http, "GET", f"/v1/conversations/{conversation.id}/members",
                                  token=await device.login.token())
            if not answer.ok:
                continue
            voice = self.campaign.voice_of(user)
            for member in answer.body["items"]:
                voice.event("rest", "member_at", "ok", subject=member["user"], conversation=conversation.id,
                            state=member["state"], joined=member["joined"])

    async def _converge(self):
        """Live stream and repairs bring every device to each conversation's head without being asked."""
        heads = {}
        for conversation in self.campaign.conversations.values():
            for member in conversation.members:
                device = member.devices[0]
                answer = await insist(device.http, "GET", f"/v1/conversations/{conversation.id}",
                                      token=await device.login.token())
                if answer.ok and answer.body["state"] == "active":
                    heads[conversation.id] = answer.body["head"]
                    break
        deadline, told = time.monotonic() + CONVERGE_SECONDS, False
        while behind := self._behind(heads):
            if time.monotonic() > deadline:
                some = ", ".join(f"{d.label} {v.conversation} shown {v.shown} of {h} waiting {sorted(v.waiting)[:3]}"
                                 f" fetching={v.fetching} rejoined={v.rejoined}" for d, v, h in behind[:5])
                self.campaign.problems.append(f"{len(behind)} views did not reach the head by themselves: {some}")
                return
            if not told and time.monotonic() > deadline - CONVERGE_SECONDS / 2:
                # A device that was removed and added again while nobody wrote may not know of it yet.
                await asyncio.gather(*(self._tell_joined(device, view) for device, view, _ in behind))
                told = True
            for device, view, _ in behind:
                if device.protocol == "mqtt" and device.version == 3 and not view.fetching:
                    view.fetching = True  # it is not told the seq of its own messages (decision 4)
                    device.spawn(device.catch_up(view))
            await asyncio.sleep(0.1)

    async def _tell_joined(self, device, view):
        """An answer may be lost, or its token be over; what a last try meets belongs into the report."""
        problem = None
        for _ in range(TELL_TRIES):
            try:
                return await device.learn_joined(view)
            except Unknown as error:
                problem = error
            if not view.active:
                return  # no member any more
            await asyncio.sleep(0.5)
        self.campaign.problems.append(f"{device.label} cannot ask about {view.conversation}: {problem}")

    def _behind(self, heads):
        return [(device, view, heads[view.conversation])
                for device in self.campaign.devices() for view in device.views.values()
                if view.active and heads.get(view.conversation, 0) > view.shown]

    async def _presence(self):
        """Everybody is connected, so everybody who shares a conversation is seen online."""
        deadline = time.monotonic() + 15
        for conversation in self.campaign.conversations.values():
            device = next((d for m in conversation.members for d in m.devices if d.protocol == "ws" and d.live
                           and d.views[conversation.id].active), None)
            if device is None:
                continue
            expected = {m.id for m in conversation.members if any(
                d.live and (v := d.views.get(conversation.id)) is not None and v.active for d in m.devices)}
            while True:
                online = set()
                try:
                    answer = await device.request("presence", {"conversation": conversation.id})
                    online = set(answer["d"].get("online", ()))
                except Unknown:
                    pass
                if expected <= online:
                    break
                if time.monotonic() > deadline:
                    self.campaign.problems.append(f"{conversation.id}: {sorted(expected - online)} are connected and "
                                                  f"not seen online by {device.label}")
                    return
                await asyncio.sleep(0.2)

    async def _list_all(self, device, gate):
        async with gate:
            answer = await self.campaign.insist(device, "GET", "/v1/me/conversations?limit=100")
            if not answer.ok:
                self.campaign.problems.append(f"{device.label} cannot list its conversations: {answer.code}")
                return
            for item in answer.body["items"]:
                if item["state"] == "active":
                    await self._list(device, item)

    async def _list(self, device, item):
        conversation, deadline = item["id"], time.monotonic() + 60
        while True:
            try:
                events, head = await device.read_conversation(conversation)
                break
            except Unknown as error:
                if time.monotonic() > deadline:
                    self.campaign.problems.append(f"{device.label} cannot read {conversation}: {error}")
                    return
                await asyncio.sleep(0.3)
        left_out = loses_line(self.campaign, events)
        for place, event in enumerate(events):
            if place != left_out:
                device.voice.final(device.protocol, event)
        device.voice.event(device.protocol, "final_end", "ok", conversation=conversation, head=head,
                           joined=item["joined"], read=item["read"], unread=item["unread"])


