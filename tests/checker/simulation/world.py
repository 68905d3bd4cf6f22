"""The simulated world: users, time, faults, changes of membership, and the final lists."""

import heapq
import itertools
import random

from simulation.device import Device, Draft
from simulation.server import Conversation, Server

FAULTS = ("kill-connection", "kill-routing", "stop-storage", "partition", "slow-disk")


class Simulation:
    def __init__(self, seed, users=8, groups=3, sends=400, rate=100.0, trouble=0.15, changes=True, faults=True):
        self.random = random.Random(seed)
        self.now, self.heap, self.order = 100.0, [], itertools.count()
        self.events = []
        self.trouble, self.usual_trouble, self.changes = trouble, trouble, changes
        self.ending = set()  # users whose logins are being ended or begun again
        self.answered = {}  # device name -> calls with an outcome
        self.server = Server(self)
        self.admin_calls = 0
        names = [f"u{n}" for n in range(users)]
        self.conversations = [Conversation(f"c{n}", False, self.random.sample(names, max(2, users * 2 // 3)))
                              for n in range(groups)]
        self.conversations += [Conversation(f"d{n}", True, pair) for n, pair in
                               enumerate(zip(names[::2], names[1::2]))]
        self.devices_by_user = {name: [Device(self, name, f"{name}-{kind}", kind) for kind in ("ws", "mqtt")]
                                for name in names}
        self.devices = [device for devices in self.devices_by_user.values() for device in devices]
        self.sends, self.rate, self.with_faults = sends, rate, faults

    # --- time

    def at(self, t, action, *arguments):
        heapq.heappush(self.heap, (t, next(self.order), action, arguments))

    def later(self, seconds, action, *arguments):
        self.at(self.now + seconds, action, *arguments)

    def delay(self):
        return self.random.expovariate(200.0) + 0.0005

    def emit(self, **event):
        self.now += 1e-6  # no two lines at once
        self.events.append({"t": round(self.now, 6), **event})

    def special(self, message):
        return {} if message.kind == "text" else {"kind": message.kind, "target": message.target}

    def devices_of(self, conversation):
        return [device for user in conversation.joined if conversation.serves(user)
                for device in self.devices_by_user[user]]

    def until_idle(self):
        while self.heap:
            t, _, action, arguments = heapq.heappop(self.heap)
            self.now = max(self.now, t)
            action(*arguments)

    # --- the run

    def run(self):
        for conversation in self.conversations:
            for user in conversation.joined:
                self.admin("member_at", subject=user, conversation=conversation.id, state="active", joined=0)
        for device in self.devices:
            device.connect()
        t = self.now
        for number in range(self.sends):
            t += self.random.expovariate(self.rate)
            self.at(t, self.send, number)
        ends = t
        for action, pause in ((self.mark, 0.1), (self.look, 0.2), (self.break_one, 1.0)) + \
                (((self.change, 0.4),) if self.changes else ()):
            t = self.now
            while (t := t + self.random.expovariate(1 / pause)) < ends:
                self.at(t, action)
        if self.with_faults:
            self.at(self.now + 1.0, self.fault, 1, ends)
        self.until_idle()
        self.heal()
        return self.events

    def admin(self, op, phase="ok", **members):
        self.emit(process="admin", user="admin", device="admin", protocol="rest", op=op, phase=phase, **members)

    def send(self, number):
        device = self.random.choice(self.devices)
        conversation = self.random.choice(self.conversations)
        if device.user not in conversation.joined and self.random.random() < 0.9:
            return
        kind, target = "text", None
        if conversation.log and self.random.random() < 0.15:
            about = self.random.choice(conversation.log)
            kind = self.random.choice(("edit", "recall", "react"))
            if about.kind != "text" or (kind != "react" and about.sender != device.user) \
                    or about.seq <= conversation.joined.get(device.user, 0):
                kind = "text"
            else:
                target = about.seq
        for burst in range(self.random.choice((1, 1, 1, 4))):  # pipelined
            identity = f"{number * 8 + burst:032x}"
            draft = Draft(conversation, identity, f"{self.random.getrandbits(64):016x}", kind, target)
            device.send(draft)

    def break_one(self):
        self.random.choice(self.devices).disconnect()

    # --- cursors

    def mark(self):
        device = self.random.choice(self.devices)
        conversation = self.random.choice(self.conversations)
        shown = device.view(conversation).shown
        if not shown or device.out or device.user not in conversation.joined or device.user in self.server.disabled \
                or shown <= conversation.joined[device.user]:
            return
        call, protocol = device.next_call(), self.random.choice(("rest", device.protocol))
        what = self.random.choice(({"read": shown}, {"delivered": shown}))
        device.emit("mark", "invoke", protocol, call=call, conversation=conversation.id, **what)
        lost = self.random.random() < self.trouble
        if protocol != "rest":  # taken, not stored
            device.emit("mark", "ok", protocol, call=call)
        self.later(self.delay(), self._mark_at_server, device, conversation, call, protocol, what, lost)

    def _mark_at_server(self, device, conversation, call, protocol, what, lost):
        if lost and self.random.random() < 0.5:
            moved = False
        else:
            moved = self.server.mark(conversation, device.user, what.get("read", 0), what.get("delivered", 0))
        if protocol == "rest":
            phase = "info" if lost else "ok" if conversation.serves(device.user) else "fail"
            self.later(self.delay(), lambda: device.emit("mark", phase, protocol, call=call, **what))
        if moved:
            for other in self.devices_of(conversation):
                if other.online and other.user != device.user:
                    self.later(self.delay(), self._receipt, other, device.user, conversation, what)

    @staticmethod
    def _receipt(device, subject, conversation, what):
        if device.online:
            device.emit("receipt", subject=subject, conversation=conversation.id, **what)

    def look(self):
        """A device asks for a list of cursors."""
        device = self.random.choice(self.devices)
        conversation = self.random.choice(self.conversations)
        if device.out or not conversation.serves(device.user):
            return
        subject = self.random.choice(sorted(conversation.joined))
        self.later(self.delay(), self._look_at_server, device, conversation, subject, self.now)

    def _look_at_server(self, device, conversation, subject, asked):
        if conversation.serves(subject) and conversation.serves(device.user):
            cursors = self.server.cursors(conversation, subject)
            self.later(self.delay(), lambda: device.emit("cursor", subject=subject, conversation=conversation.id,
                                                         asked=asked, **cursors))

    # --- memberships and logins

    def change(self):
        kind = self.random.random()
        if kind < 0.7:
            conversation = self.random.choice([c for c in self.conversations if not c.direct])
            subject = self.random.choice(list(self.devices_by_user))
            action = "remove" if subject in conversation.joined else "add"
            if action == "remove" and len(conversation.joined) < 3:
                return
            self._change(action, subject, conversation, self.random.choice((1, 1, 2)))
        elif kind < 0.85:
            conversation = self.random.choice([c for c in self.conversations if c.direct])
            actor = self.random.choice(sorted(conversation.joined))
            other = next(user for user in conversation.joined if user != actor)
            action = "unblock" if actor in conversation.blockers else "block"
            self._change(action, other, conversation, 1, actor)
        else:
            self._log_out_or_disable()

    def _change(self, action, subject, conversation, times, actor="admin"):
        self.admin_calls += 1
        call, unknown = self.admin_calls, self.random.random() < self.trouble
        members = {"process": "admin", "user": actor, "device": "admin", "protocol": "rest", "op": "member",
                   "call": call, "subject": subject, "action": action, "conversation": conversation.id}
        self.emit(**members, phase="invoke")
        done = self.random.random() < 0.5 if unknown else True
        slow = self.random.uniform(0.5, 2.0) if unknown else 0.0
        if done:
            self.later(self.delay() + slow, self._apply, action, subject, conversation, actor)
        self.later((0.4 if unknown else 0.05) + self.delay(), self._changed, members, unknown)

    def _changed(self, members, unknown):
        self.emit(**members, phase="info" if unknown else "ok")

    def _apply(self, action, subject, conversation, actor):
        if action == "add":
            conversation.joined.setdefault(subject, conversation.head)
            for device in self.devices_by_user[subject]:
                device.fetch(conversation)
        elif action == "remove":
            conversation.joined.pop(subject, None)
        elif action == "block":
            conversation.blockers.add(actor)
        else:
            conversation.blockers.discard(actor)

    def _log_out_or_disable(self):
        user = self.random.choice(list(self.devices_by_user))
        devices = self.devices_by_user[user]
        disable = self.random.random() < 0.3
        chosen = devices if disable else [self.random.choice(devices)]
        if sum(d.out for d in self.devices) > len(self.devices) // 3 or user in self.ending:
            return
        self.ending.add(user)
        self.admin_calls += 1
        call = self.admin_calls
        members = {"subject": user, "action": "disable" if disable else "logout"}
        if not disable:
            members["subject_device"] = chosen[0].name
        self.admin("member", "invoke", call=call, **members)
        for device in chosen:
            self.later(self.random.uniform(0.01, 1.5), self._end, device)
        self.later(self.delay(), lambda: self.admin("member", "ok", call=call, **members))
        if self.random.random() < 0.5:
            self.later(3.0, self._log_in, chosen, members, disable)

    @staticmethod
    def _end(device):
        if device.online:
            device.emit("revoked")
        device.out = True
        device.disconnect(again=False)

    def _log_in(self, devices, members, enable):
        self.admin_calls += 1
        members = {**members, "action": "enable" if enable else "login", "call": self.admin_calls}
        self.admin("member", "invoke", **members)
        for device in devices:
            device.out = False
            self.ending.discard(device.user)
            self.later(self.delay(), device.connect)
        self.later(self.delay(), lambda: self.admin("member", "ok", **members))

    # --- faults

    def fault(self, number, ends):
        if self.now > ends:
            return
        name = self.random.choice(FAULTS)
        seconds = self.random.uniform(0.1, 1.5)
        self.emit(process="nemesis", op="fault", phase="invoke", target="x-1", number=number, **{"class": name})
        self.trouble = 0.6
        for device in self.devices:
            if self.random.random() < 0.3:
                self.later(self.random.uniform(0, 0.2), device.disconnect)
        self.later(seconds, self._fault_ends, number, name)
        self.later(seconds + self.random.uniform(0.2, 3.0), self.fault, number + 1, ends)

    def _fault_ends(self, number, name):
        self.trouble = self.usual_trouble
        self.emit(process="nemesis", op="fault", phase="ok", target="x-1", number=number, **{"class": name})

    # --- the end

    def heal(self):
        self.now += 1.0
        self.emit(process="nemesis", op="heal", phase="ok")
        self.trouble = 0.0
        self.now += 20.0
        for device in self.devices:
            if device.out or device.user in self.server.disabled:
                continue
            for conversation in self.conversations:
                if conversation.serves(device.user):
                    self.final(device, conversation)

    def final(self, device, conversation):
        asked, effective = self.now, {}
        self.now += self.delay()
        for stored in conversation.log:
            if stored.kind in ("edit", "recall"):
                effective[stored.target] = "recalled" if stored.kind == "recall" else stored.hash
        for stored in conversation.visible(device.user, 0):
            device.emit("final", conversation=conversation.id, seq=stored.seq, id=stored.id, hash=stored.hash,
                        effective=effective.get(stored.seq, stored.hash), **self.special(stored))
        cursors = self.server.cursors(conversation, device.user)
        device.emit("final_end", conversation=conversation.id, asked=asked, **cursors)
