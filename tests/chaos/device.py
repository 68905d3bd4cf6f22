"""A recording client: one device of one user. It keeps a connection to whichever instance takes it, records
every send and every delivery as they are, and runs the reference client on top (view.py).

Protocols differ in WsDevice and MqttDevice; both repeat what had no answer with the same id, through
another instance, over REST or through the user's other device.
"""

import asyncio
import os
import random
import time
import uuid
from urllib.parse import quote

from history import Event, Voice, body_hash
from view import View
from wire_http import Http, Unknown

ANSWER_PATIENCE, PATIENCE_MAX = 2.0, 8.0  # without an answer for so long, doubled each time, a send is repeated
REFUSED_PAUSE, PAUSE_MAX = 0.1, 2.0  # after a refusal, doubled each time
SILENCE_MAX = 2.5  # a connection that says nothing for so long, though it is asked, is given up
PING_AFTER = 0.8
MARK_INTERVAL = 1.0
CALL_LIFE = 12.0  # an answer later than this is not waited for


def uuid7(wall=None):
    wall_ms = int((time.time() if wall is None else wall) * 1000)
    value = (wall_ms << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=value))


class Message:
    """Something to be stored once, however often it is sent."""

    __slots__ = ("wire", "id", "kind", "conversation", "target", "text", "hash", "born", "sent_at",
                 "attempts", "retry_at", "seq", "origin", "packet_id", "done", "to_user", "owner")

    def __init__(self, owner, conversation, kind, text, target=0, origin=False, to_user=None):
        self.owner = owner
        self.wire = uuid7()
        self.id = self.wire.replace("-", "")
        self.kind, self.conversation, self.target = kind, conversation, target
        self.text = (f"~{self.id} " if origin else "") + text
        self.hash = body_hash(self.text if kind != "recall" else "")
        self.origin, self.to_user = origin, to_user
        self.born = self.sent_at = time.monotonic()
        self.attempts, self.retry_at, self.seq, self.packet_id = 0, None, 0, 0
        self.done = False

    def patience(self):
        return min(PATIENCE_MAX, ANSWER_PATIENCE * 2 ** max(0, min(self.attempts, 4) - 1))

    def rest(self):
        """(method, path, body, headers) that do the same over REST."""
        base = f"/v1/conversations/{self.conversation}/messages/"
        if self.kind == "text":
            return "PUT", base + self.wire, {"body": {"text": self.text}}, None
        if self.kind == "edit":
            return "PATCH", f"{base}{self.target}", {"message": self.wire, "body": {"text": self.text}}, None
        key = {"Idempotency-Key": self.wire}
        if self.kind == "recall":
            return "DELETE", f"{base}{self.target}", None, key
        method = "DELETE" if self.text.endswith("-") else "PUT"
        return method, f"{base}{self.target}/reactions/{quote(self.text.rstrip('-'))}", None, key


class Device:
    protocol = None

    def __init__(self, campaign, user, label, login):
        self.campaign, self.user, self.label, self.login = campaign, user, label, login
        self.rng = random.Random(f"{campaign.seed}/{label}")
        self.voice = Voice(campaign.history, label, user.id, label)
        self.rest_voice = self.voice
        self.http = Http(campaign.world.rest_addresses, self.rng)
        self.views, self.outbox = {}, {}
        self.calls = {}  # on this connection, call: (message, since when)
        self.link = self.address = None
        self.live = False  # connected, authenticated and told of what was missed
        self.stopping = False
        self.tasks = set()
        self.closed = asyncio.Event()
        self.presence = {}
        self.reconnects = 0
        self.close_codes = {}

    # --- life

    def start(self):
        for work in (self._run(), self._tick()):
            self.spawn(work)

    def spawn(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.campaign.broken(self.label, task.exception())

    async def stop(self):
        self.stopping = True
        if self.link is not None:
            self.link.abort()
        for task in list(self.tasks):
            task.cancel()
        self.forget_calls()
        self.http.close()
        self.login.close()

    def see(self, conversation, group):
        if conversation not in self.views:
            self.views[conversation] = View(conversation, group)
        return self.views[conversation]

    async def _run(self):
        pause = 0.05
        while not self.stopping and not self.login.ended:
            self.closed.clear()
            try:
                await self._open()
                pause = 0.05
                await self.closed.wait()
                await asyncio.sleep(self.rng.uniform(0.0, 0.1))
            except (OSError, TimeoutError, Unknown) as error:
                self.campaign.note_trouble(self.label, error)
                if self.link is not None:
                    self.link.abort()
                await asyncio.sleep(self.rng.uniform(0.3, 1.0) * pause)
                pause = min(1.0, pause * 2)
            self._lost()

    def _lost(self):
        """Nothing more comes from the old connection: what it owed is unknown, and deliveries have a hole."""
        self.voice.event(self.protocol, "gap", "ok")
        self.live, self.link = False, None
        self.forget_calls()

    def forget_calls(self):
        for call, (message, _) in self.calls.items():
            self.voice.send_result(self.protocol, call, message, "info")
            if not message.done and message.retry_at is None:
                message.retry_at = time.monotonic()
        self.calls.clear()

    def on_lost(self, link, code):
        if link is self.link:
            self.live = False
            self.reconnects += 1
            self.drop_requests()
            self.close_codes[code] = self.close_codes.get(code, 0) + 1
            if self.login.ended:
                self.voice.event(self.protocol, "revoked", "ok")
            else:
                self.note_close(code)
            self.closed.set()

    def choose(self, addresses):
        """Another instance than last time, when there is one."""
        others = [a for a in addresses if a != self.address] or addresses
        if not others:
            raise Unknown("no connection instance")
        self.address = self.rng.choice(others)
        return self.address

    def drop_requests(self):
        """Nobody will answer what was asked on this connection."""

    def note_close(self, code):
        """What the server's reason asks of the client."""

    # --- what arrives

    def take_event(self, event, source):
        """A stored event, live or from history."""
        view = self.views.get(event.conversation)
        if view is None:
            view = self.see(event.conversation, True)
        self.voice.deliver(self.protocol, event, source)
        if event.kind == "text" and event.sender != self.user.id:
            view.texts = event.seq
        self.note_stored(view, event.seq, event.id)

    def note_stored(self, view, seq, identity):
        if view.rejoined:
            view.waiting[seq] = identity  # until it is known from where on the user may see
            return
        for shown, name in view.note(seq, identity, time.monotonic()):
            self.voice.show(self.protocol, view.conversation, shown, name)

    def take_notice(self, kind, data):
        if kind == "mark" and data.get("user") != self.user.id:
            self.voice.event(self.protocol, "receipt", "ok", subject=data["user"],
                             conversation=data["conversation"], read=data.get("read"),
                             delivered=data.get("delivered"))
        elif kind == "presence":
            self.presence[data["user"]] = data["status"]
        elif kind == "member":
            view = self.views.get(data["conversation"])
            for member in data.get("members", ()):
                if member["user"] == self.user.id and view is not None:
                    if member["state"] == "active" and not view.active:
                        view.active = True
                    elif member["state"] != "active":
                        view.forget()
        elif kind == "conv":
            view = self.see(data["conversation"], data.get("kind") != "direct")
            if not view.active:
                view.active = True

    # --- what is sent

    def can_send(self):
        return self.live and len(self.outbox) < self.campaign.plan.outstanding

    def submit(self, message):
        self.outbox[message.id] = message
        self.transmit(message)

    def answered(self, call, message, seq, protocol):
        """An `ok`: stored. seq is None where the protocol does not tell it."""
        now = self.voice.send_result(protocol, call, message, "ok", seq)
        if not message.done:
            message.done = True
            message.owner.outbox.pop(message.id, None)
            self.campaign.note_ack(self, message, now)
        if seq:
            message.seq = seq
            view = self.views.get(message.conversation)
            if view is not None:
                self.note_stored(view, seq, message.id)
                if message.kind == "text" and not message.origin:
                    view.own.append(seq)
                    del view.own[:-8]

    def refused(self, call, message, code, retryable, protocol, pause=None):
        phase = "info" if retryable or code in ("token_expired", "not_authenticated") else "fail"
        self.voice.send_result(protocol, call, message, phase, code=code)
        if message.done:
            return
        if phase == "fail":
            message.done = True
            message.owner.outbox.pop(message.id, None)
            self.campaign.note_refusal(self, message, code)
            if code in ("not_member", "blocked", "forbidden") and message.conversation in self.views:
                self.spawn(self.look_again(self.views[message.conversation]))
        else:
            longest = min(PAUSE_MAX, REFUSED_PAUSE * 2 ** min(message.attempts, 8))
            message.retry_at = time.monotonic() + (pause or self.rng.uniform(0.05, longest))

    def repeat(self, message):
        """The same id once more: here, over REST, or through the user's other device."""
        message.retry_at = None
        way = self.rng.random()
        if message.origin:
            return  # only the same client may repeat it, on a new connection
        if way < 0.25:
            self.spawn(self.send_by_rest(message))
        elif way < 0.4 and (sibling := self.user.sibling(self)) is not None and sibling.can_carry(message):
            sibling.transmit(message)
        elif self.live and self.can_carry(message):
            self.transmit(message)
        else:
            self.spawn(self.send_by_rest(message))

    async def send_by_rest(self, message):
        message.sent_at = time.monotonic()
        message.attempts += 1
        try:
            token = await self.login.token()
        except Unknown:
            message.retry_at = time.monotonic() + 0.5
            return
        call = self.voice.next_call()
        method, path, body, headers = message.rest()
        self.voice.send_invoke("rest", call, message)
        try:
            answer = await self.http.call(method, path, body, token, headers)
        except (Unknown, asyncio.CancelledError) as error:
            self.voice.send_result("rest", call, message, "info")
            message.retry_at = time.monotonic()
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        if answer.ok:
            self.answered(call, message, answer.body["seq"], "rest")
        else:
            if answer.status == 401:
                self.login.spoil()
            self.refused(call, message, answer.code, answer.retryable or answer.status == 401, "rest")

    # --- housekeeping

    async def _tick(self):
        marked = 0.0
        while not self.stopping:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            self._expire_calls(now)
            for message in list(self.outbox.values()):
                if message.retry_at is not None and now >= message.retry_at:
                    self.repeat(message)
                elif message.retry_at is None and now - message.sent_at > message.patience():
                    self.repeat(message)
            if not self.live:
                continue
            self.mind_connection(now)
            for view in self.views.values():
                if view.needs_fetch(now):
                    view.fetching = True
                    self.spawn(self.catch_up(view))
            if now - marked > MARK_INTERVAL and self.campaign.sending:
                marked = now
                self._mark()

    def _expire_calls(self, now):
        for call, (message, started) in list(self.calls.items()):
            if now - started > CALL_LIFE:
                del self.calls[call]
                self.voice.send_result(self.protocol, call, message, "info")

    def mind_connection(self, now):
        quiet = now - self.link.heard
        if quiet > SILENCE_MAX:
            self.link.abort()
        elif quiet > PING_AFTER:
            self.ping()

    def _mark(self):
        for view in self.views.values():
            if view.active and view.shown > view.marked_read and not view.rejoined and self.rng.random() < 0.3:
                self.mark(view)

    async def catch_up(self, view):
        """Closes the hole behind view.shown; a hole that history has too is a later joining."""
        try:
            if view.rejoined:
                await self.learn_joined(view)
            self.voice.event(self.protocol, "gap", "ok", conversation=view.conversation)
            before = view.shown
            if view.active and await self.fetch(view) and view.hole_since is not None and view.shown == before:
                await self.learn_joined(view)
        except Unknown:
            await asyncio.sleep(0.3)
        finally:
            view.fetching = False

    async def learn_joined(self, view):
        answer = await self.http.call("GET", f"/v1/conversations/{view.conversation}",
                                      token=await self.login.token())
        if not answer.ok:
            if answer.code in ("not_member", "not_found", "blocked", "forbidden"):
                view.forget()
            elif answer.status == 401:
                self.login.spoil()
            raise Unknown(answer.code)
        if answer.body["state"] != "active":
            view.forget()
            raise Unknown(answer.body["state"])
        view.active = True
        view.restart(answer.body["joined"])
        view.rejoined = False
        waiting, view.waiting = sorted(view.waiting.items()), {}
        for seq, identity in waiting:
            self.note_stored(view, seq, identity)

    async def look_again(self, view):
        """Asks what the user is in this conversation, and reads what came meanwhile."""
        if not view.fetching:
            view.fetching = view.rejoined = True
            await self.catch_up(view)

    async def fetch_by_rest(self, view):
        while True:
            after = view.shown
            path = f"/v1/conversations/{view.conversation}/messages?after={after}&limit=100"
            answer = await self.http.call("GET", path, token=await self.login.token())
            if not answer.ok:
                if answer.status == 401:
                    self.login.spoil()
                raise Unknown(answer.code)
            for item in answer.body["items"]:
                self.take_event(Event(item["kind"], item), "sync")
            if not answer.body["has_more"] or view.shown == after:
                return True

    async def read_all(self, conversation, after):
        """The conversation's whole history as this device may read it, by pages."""
        events = []
        while True:
            path = f"/v1/conversations/{conversation}/messages?after={after}&limit=100"
            answer = await self.campaign.insist(self, "GET", path)
            if not answer.ok:
                raise Unknown(f"{conversation}: {answer.code}")
            events += [Event(item["kind"], item) for item in answer.body["items"]]
            if not answer.body["has_more"]:
                return events, answer.body["head"]
            after = events[-1].seq

