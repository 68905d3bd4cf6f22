"""The workload: users with two devices each, in groups and direct conversations, who write, edit, recall,
react, mark, come and go, while the nemesis works. Everything random comes from the campaign's seed.
"""

import asyncio
import collections
import random
import time
import traceback

from account import Login, insist, load_reasons, register
from device import Message
from history import Voice
from mqtt_device import MqttDevice
from wire_http import Http, Unknown
from ws_device import WsDevice

WORDS = "tea rain river lamp stone bread cloud paper train window garden button winter market".split()
PROBLEMS_MAX = 50
EMOJI = ("👍", "🎉", "🙂", "❤️")


class User:
    def __init__(self, body):
        self.id, self.name = body["user"]["id"], body["user"]["name"]
        self.devices, self.generation = [], 0

    def sibling(self, device):
        return next((d for d in self.devices if d is not device), None)


class Conversation:
    def __init__(self, identity, group, owner, members):
        self.id, self.group, self.owner, self.members = identity, group, owner, members
        self.acked, self.busy = 0, False  # busy: one blocks the other for a while


class Watch:
    """Waits after a fault for the first new acknowledgement of every client and in every conversation."""

    def __init__(self, since, devices, conversations):
        self.since, self.devices, self.conversations = since, set(devices), set(conversations)
        self.asked = set()  # what a send was aimed at; who is not served by it is asked again in the next round
        self.slowest, self.times = 0.0, []
        self.done = asyncio.Event()
        self._check()

    def note(self, device, message, now):
        if message.born < self.since:
            return
        late = False
        if device.label in self.devices:
            self.devices.discard(device.label)
            late = True
        if message.conversation in self.conversations:
            self.conversations.discard(message.conversation)
            late = True
        if late:
            self.slowest = now - self.since
            self.times.append(self.slowest)
            self._check()

    def narrow(self, devices, conversations):
        """Who left, or may write nowhere any more, is not waited for."""
        self.devices &= devices
        self.conversations &= conversations
        self._check()

    def gain(self, device, conversation):
        """How much an acknowledgement to this device in this conversation would bring, 0 to 2."""
        return len({device, conversation} & (self.devices | self.conversations) - self.asked)

    def _check(self):
        if not self.devices and not self.conversations:
            self.done.set()


class Campaign:
    def __init__(self, world, history, seed, plan, plant=None):
        self.world, self.history, self.seed, self.plan = world, history, seed, plan
        self.plant, self.planted = plant, False
        self.rng = random.Random(f"{seed}/workload")
        self.reasons = load_reasons()
        self.http = Http(world.rest_addresses, self.rng)
        self.users, self.conversations, self.spares = [], {}, 0
        self.admin = self.watch = None
        self.sending = True
        self.problems, self.troubles = [], collections.Counter()
        self.refusals = collections.Counter()
        self.tasks, self.admin_tasks = [], set()
        self.acked = 0
        self.voices = {}

    # --- setting up

    async def setup(self):
        body = await register(self.http, self.world.invite(), "root")
        self.admin = Login(self.world.rest_addresses, "root", "first")
        self.admin.take(body)
        answer = await insist(self.http, "POST", "/v1/admin/invites", {"uses": 1000}, self.admin.access)
        self.invite = answer.body["invite"]
        self.users = list(await asyncio.gather(*(self._make_user(f"u{n:02d}") for n in range(self.plan.users))))
        await self._make_conversations()
        for user in self.users:
            for device in user.devices:
                device.start()
        await self.until_live(30)

    async def _make_user(self, name):
        user = User(await register(Http(self.world.rest_addresses, self.rng), self.invite, name))
        number = len(self.users) + int(name[1:])
        await self._add_device(user, WsDevice)
        if number % 3 == 2:
            await self._add_device(user, WsDevice)
        else:
            await self._add_device(user, MqttDevice, 5 if number % 4 else 3)
        return user

    async def _add_device(self, user, kind, *options):
        label = f"{user.name}{'abcdefghijklmnopqrstuvwxyz'[user.generation % 26]}{user.generation // 26 or ''}"
        user.generation += 1
        login = Login(self.world.rest_addresses, user.name, label)
        await login.login()
        device = kind(self, user, label, login, *options)
        user.devices.append(device)
        return device

    async def _make_conversations(self):
        rng, made = self.rng, []
        for number in range(self.plan.groups):
            members = rng.sample(self.users, min(len(self.users), rng.randint(3, self.plan.group_members)))
            made.append(self._begin({"kind": "group", "title": f"Group {number}", "id": f"c_g{number}",
                                     "members": [m.id for m in members[1:]]}, True, members))
        for _ in range(self.plan.directs):
            pair = rng.sample(self.users, 2)
            made.append(self._begin({"kind": "direct", "user": pair[1].id}, False, pair))
        await asyncio.gather(*made)

    async def _begin(self, body, group, members):
        token = await members[0].devices[0].login.token()
        answer = await insist(members[0].devices[0].http, "POST", "/v1/conversations", body, token)
        if not answer.ok:
            raise Unknown(f"conversation: {answer.code}")
        if answer.body["id"] in self.conversations:
            return
        conversation = Conversation(answer.body["id"], group, members[0], set(members))
        self.conversations[conversation.id] = conversation
        for member in members:
            self.voice_of(members[0]).event("rest", "member_at", "ok", subject=member.id, state="active", joined=0,
                                            conversation=conversation.id)
            for device in member.devices:
                device.see(conversation.id, group)

    def devices(self):
        return [device for user in self.users for device in user.devices]

    async def until_live(self, seconds):
        deadline = time.monotonic() + seconds
        while waiting := [d.label for d in self.devices() if not d.live]:
            if time.monotonic() > deadline:
                return waiting
            await asyncio.sleep(0.05)
        return []

    # --- what devices tell

    def note_ack(self, device, message, now):
        self.acked += 1
        self.history.acked = self.acked
        if (conversation := self.conversations.get(message.conversation)) is not None:
            conversation.acked += 1
        if self.watch is not None:
            self.watch.note(message.owner, message, now)
        if self.sending and self.rng.random() < self.plan.duplicates:
            device.spawn(self._duplicate(device, message))

    async def _duplicate(self, device, message):
        """The same id again on purpose, although it was answered: at once or a little later, on any way."""
        await asyncio.sleep(self.rng.choice((0.0, 0.05, 0.5)))
        other = device.user.sibling(device) if self.rng.random() < 0.5 else device
        if message.origin:
            return
        if other is not None and self.rng.random() < 0.5 and other.live and other.can_carry(message):
            other.transmit(message)
        else:
            await device.send_by_rest(message)

    def note_refusal(self, device, message, code):
        self.refusals[code] += 1
        if code not in ("not_member", "blocked", "forbidden", "not_found", "token_revoked", "disabled"):
            self.problems.append(f"{device.label}: {message.kind} to {message.conversation} refused: {code}")

    def note_open(self, device):
        pass

    def note_trouble(self, label, error):
        self.troubles[f"{type(error).__name__}: {error}"[:80]] += 1

    def broken(self, label, error):
        """A client's own failure: the campaign proves nothing then."""
        text = "".join(traceback.format_exception(error)[-4:]) if error is not None else ""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(f"client {label} failed: {text}")

    async def insist(self, device, method, path):
        return await insist(device.http, method, path, token=await device.login.token(), seconds=60)

    # --- sending

    def begin(self):
        self.tasks = [asyncio.create_task(self._pace()), asyncio.create_task(self._change_members())]

    async def _pace(self):
        credit, last = 0.0, time.monotonic()
        while self.sending:
            await asyncio.sleep(0.02)
            now = time.monotonic()
            credit = min(credit + (now - last) * self.plan.rate, self.plan.rate / 2)
            last = now
            devices = self.devices()
            while credit >= 1:
                aim = self._aim() if self.rng.random() < self.plan.aimed else None
                count = 1 if aim else self.rng.choice((1, 1, 1, 2, 3, 6))
                device = aim[0] if aim else self.rng.choice(devices)
                view = aim[1] if aim else self.rng.choice(self._open_views(device) or [None])
                credit -= count
                if view is not None:
                    self._write(device, view, count)

    def _open_views(self, device):
        return [view for view in device.views.values() if view.active and not view.rejoined]

    def _aim(self):
        """(device, view) for a send that the watch waits for, in rounds; None when it waits for nothing that can be
        sent. Left to chance, the last client or conversation has its turn seconds after it was served again."""
        watch = self.watch
        if watch is None or watch.done.is_set():
            return None
        ways = [(device, view) for device, view in self._served() if device.can_send()]
        for _ in range(2):
            gains = [(watch.gain(device.label, view.conversation), device, view) for device, view in ways]
            most = max((gain for gain, _, _ in gains), default=0)
            if most > 0:
                device, view = self.rng.choice([(d, v) for gain, d, v in gains if gain == most])
                watch.asked |= {device.label, view.conversation}
                return device, view
            watch.asked.clear()
        return None

    def _write(self, device, view, count):
        for _ in range(count):
            if device.can_send():
                message = self._compose(device, view)
                if (not message.origin and self.rng.random() < 0.04) or not device.can_carry(message):
                    device.outbox[message.id] = message
                    device.spawn(device.send_by_rest(message))
                else:
                    device.submit(message)

    def _compose(self, device, view):
        rng, draw = self.rng, self.rng.random()
        if draw < 0.05 and view.own:
            return Message(device, view.conversation, "edit", f"edited {rng.choice(WORDS)}", rng.choice(view.own))
        if draw < 0.07 and view.own:
            return Message(device, view.conversation, "recall", "", view.own.pop(rng.randrange(len(view.own))))
        if draw < 0.12 and view.texts:
            sign = rng.choice(("", "", "-"))
            return Message(device, view.conversation, "react", rng.choice(EMOJI) + sign, view.texts)
        text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 12)))
        origin = device.protocol == "mqtt" and rng.random() < 0.2
        to_user = None
        if rng.random() < 0.2:
            to_user = self._peer(device, view)
        return Message(device, view.conversation, "text", text, origin=origin, to_user=to_user)

    def _peer(self, device, view):
        conversation = self.conversations.get(view.conversation)
        if conversation is None or conversation.group:
            return None
        return next((m.id for m in conversation.members if m is not device.user), None)

    # --- who belongs to what

    def voice_of(self, user):
        """Who speaks for a user in matters of membership."""
        if user.id not in self.voices:
            self.voices[user.id] = Voice(self.history, f"admin-{user.name}", user.id, f"admin-{user.name}")
        return self.voices[user.id]

    async def _member(self, actor, login, http, method, path, body, seconds=30, **what):
        """One change, repeated until it has a definite answer; True when it was `ok`."""
        voice, deadline = self.voice_of(actor), time.monotonic() + seconds
        while True:
            call = voice.next_call()
            voice.event("rest", "member", "invoke", call=call, **what)
            code = None
            try:
                answer = await http.call(method, path, body, await login.token())
                if answer.status == 401 and what["action"] == "logout":
                    phase = "ok"  # an earlier call, whose answer was lost, has ended this login
                else:
                    phase = "ok" if answer.ok else ("info" if answer.retryable or answer.status == 401 else "fail")
                code = None if phase == "ok" else answer.code
                if phase == "info" and answer.status == 401:
                    login.spoil()
            except Unknown:
                phase = "info"
            voice.event("rest", "member", phase, call=call, code=code, **what)
            if phase != "info":
                return phase == "ok"
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.2)

    async def _change_members(self):
        while self.sending:
            await asyncio.sleep(self.rng.uniform(0.5, 1.5) * self.plan.member_pause)
            if not self.sending:
                break
            change = self.rng.choices((self._come_and_go, self._leave, self._block, self._logout, self._disable),
                                      (8, 3, 3, 2, 1))[0]
            task = asyncio.create_task(change())
            self.admin_tasks.add(task)
            task.add_done_callback(self._admin_done)

    def _admin_done(self, task):
        self.admin_tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            if isinstance(task.exception(), Unknown):
                self.troubles[f"admin: {task.exception()}"[:80]] += 1
            else:
                self.broken("admin", task.exception())

    def _pick_group(self):
        groups = [c for c in self.conversations.values() if c.group and len(c.members) > 2
                  and c.owner in self.users]
        if not groups:
            return None, None
        group = self.rng.choice(groups)
        others = [m for m in group.members if m is not group.owner]
        return group, self.rng.choice(others)

    async def _come_and_go(self):
        group, user = self._pick_group()
        if group is None:
            return
        group.members.discard(user)
        owner = group.owner.devices[0]
        path = f"/v1/conversations/{group.id}/members/{user.id}"
        await self._member(group.owner, owner.login, owner.http, "DELETE", path, None,
                           subject=user.id, action="remove", conversation=group.id)
        await asyncio.sleep(self.rng.uniform(0.5, 5.0))
        await self._add_member(group, user)

    async def _add_member(self, group, user):
        owner = group.owner.devices[0]
        path = f"/v1/conversations/{group.id}/members/{user.id}"
        if await self._member(group.owner, owner.login, owner.http, "PUT", path, {},
                              subject=user.id, action="add", conversation=group.id):
            group.members.add(user)

    async def _leave(self):
        group, user = self._pick_group()
        if group is None:
            return
        group.members.discard(user)
        device = user.devices[0]
        await self._member(user, device.login, device.http, "DELETE", f"/v1/conversations/{group.id}/members/me", None,
                           subject=user.id, action="remove", conversation=group.id)
        await asyncio.sleep(self.rng.uniform(0.5, 5.0))
        await self._add_member(group, user)

    async def _block(self):
        directs = [c for c in self.conversations.values() if not c.group and len(c.members) == 2
                   and not c.busy and all(m in self.users for m in c.members)]
        if not directs:
            return
        direct = self.rng.choice(directs)
        direct.busy = True
        try:
            actor, subject = self.rng.sample(sorted(direct.members, key=lambda m: m.id), 2)
            device, path = actor.devices[0], f"/v1/me/blocks/{subject.id}"
            await self._member(actor, device.login, device.http, "PUT", path, None,
                               subject=subject.id, action="block", conversation=direct.id)
            await asyncio.sleep(self.rng.uniform(0.5, 4.0))
            await self._member(actor, device.login, device.http, "DELETE", path, None,
                               subject=subject.id, action="unblock", conversation=direct.id)
        finally:
            direct.busy = False

    async def _logout(self):
        """A device logs out and another one takes its place."""
        user = self.rng.choice(self.users)
        device = user.devices[-1]
        if len(user.devices) < 2 or device.login.ended:
            return
        token, http = await device.login.token(), Http(self.world.rest_addresses, self.rng)
        login = Login(self.world.rest_addresses, user.name, device.label)
        login.access, login.expires = token, time.monotonic() + 60
        user.devices.remove(device)
        device.login.ended = True
        done = await self._member(user, login, http, "POST", "/v1/logout", None, subject=user.id, action="logout",
                                  subject_device=device.label)
        await self._see_off([device], done)
        http.close()
        options = (device.version,) if isinstance(device, MqttDevice) else ()
        fresh = await self._add_device(user, type(device), *options)
        for conversation in self.conversations.values():
            if user in conversation.members:
                fresh.see(conversation.id, conversation.group).rejoined = True
        fresh.start()

    async def _see_off(self, devices, done):
        """The server closes the sockets of whom it logged out; those that stay open are a finding."""
        deadline = time.monotonic() + 12
        while done and any(d.live for d in devices) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for device in devices:
            if done and device.live:
                self.problems.append(f"{device.label} was logged out and its socket stayed open for 12 s")
            await device.stop()

    async def _disable(self):
        """A spare user, made for it, joins a group and is disabled."""
        self.spares += 1
        user = await self._make_user(f"s{self.spares:03d}")
        group, _ = self._pick_group()
        if group is None:
            return
        await self._add_member(group, user)
        for device in user.devices:
            device.see(group.id, True).rejoined = True
            device.start()
        await asyncio.sleep(self.rng.uniform(1.0, 4.0))
        group.members.discard(user)
        for device in user.devices:
            device.login.ended = True
        done = await self._member(user, self.admin, self.http, "PATCH", f"/v1/admin/users/{user.id}",
                                  {"disabled": True}, subject=user.id, action="disable")
        await self._see_off(user.devices, done)

    # --- recovery

    def _served(self):
        """[(device, view)] where a device may write, as far as the campaign knows."""
        return [(device, view) for device in self.devices() for view in self._open_views(device)
                if view.conversation in self.conversations and not self.conversations[view.conversation].busy]

    def _awaited(self):
        """Labels of the devices that may write somewhere, and where they may."""
        served = self._served()
        return {device.label for device, _ in served}, {view.conversation for _, view in served}

    async def recovered(self, since, limit):
        """Waits until every client and conversation is served again; returns the watch, done or not."""
        self.watch = watch = Watch(since, *self._awaited())
        deadline = time.monotonic() + limit
        while not watch.done.is_set() and time.monotonic() < deadline:
            try:
                await asyncio.wait_for(watch.done.wait(), 0.5)
            except asyncio.TimeoutError:
                watch.narrow(*self._awaited())
        self.watch = None
        return watch
