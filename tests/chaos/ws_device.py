"""A device that speaks pipit.v1."""

import asyncio
import time

from device import Device
from history import Event
from wire_http import Unknown
from wire_ws import WsLink

REQUEST_PATIENCE = 4.0
SYNC_CONVERSATIONS_MAX = 200


class WsDevice(Device):
    protocol = "ws"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.requests = {}  # id: future
        self.pages = {}  # id of a sync: what takes its pages
        self.marks = {}  # call: what was marked

    # --- connection

    async def _open(self):
        token = await self.login.token()
        address = self.choose(self.campaign.world.ws_addresses())
        link = None

        def on_frame(frame):
            if link is None or link is self.link:
                self._on_frame(frame)

        link = await WsLink.connect(address, on_frame, lambda code: self.on_lost(link, code))
        self.link = link
        if link.lost:
            raise ConnectionResetError("closed at once")
        answer = await self.request("auth", {"token": token})
        if answer["t"] != "ok":
            self.login.spoil()
            raise Unknown(answer["d"]["code"])
        self.live = True
        self.campaign.note_open(self)
        for view in self.views.values():
            if not view.active:
                self.spawn(self.look_again(view))
        active = [view for view in self.views.values() if view.active]
        for start in range(0, len(active), SYNC_CONVERSATIONS_MAX):
            part = active[start:start + SYNC_CONVERSATIONS_MAX]
            for view in part:
                view.fetching = True
            self.spawn(self._catch_up(part))

    async def _catch_up(self, views):
        try:
            await self.sync({view.conversation: view.shown for view in views}, self._take_page)
        except Unknown:
            pass
        finally:
            for view in views:
                view.fetching = False

    def drop_requests(self):
        for future in self.requests.values():
            if not future.done():
                future.set_exception(Unknown("connection lost"))
                future.exception()  # nobody may be waiting any more
        self.requests.clear()
        self.pages.clear()
        for call in self.marks:
            self.voice.event("ws", "mark", "info", call=call)
        self.marks.clear()

    def _lost(self):
        self.drop_requests()
        super()._lost()

    def note_close(self, code):
        if code in (4100, 4101, 4102):
            self.login.spoil()

    def ping(self):
        self.link.send("ping", {})

    # --- requests

    async def request(self, kind, data, patience=REQUEST_PATIENCE, pages=None):
        number = self.voice.next_call()
        future = asyncio.get_running_loop().create_future()
        self.requests[number] = future
        if pages is not None:
            self.pages[number] = pages
        try:
            self.link.send(kind, data, number)
            return await asyncio.wait_for(future, patience)
        except (asyncio.TimeoutError, AttributeError):
            raise Unknown(f"{kind} was not answered") from None
        finally:
            self.requests.pop(number, None)
            self.pages.pop(number, None)

    async def sync(self, cursors, take_page, patience=10.0):
        answer = await self.request("sync", cursors, patience, take_page)
        if answer["t"] != "ok":
            raise Unknown(answer["d"]["code"])

    async def fetch(self, view):
        await self.sync({view.conversation: view.shown}, self._take_page)
        return True

    def _take_page(self, page):
        view = self.views.get(page["conversation"])
        if "err" in page:
            self.campaign.note_trouble(self.label, Unknown(f"sync: {page['err']['code']}"))
            if not page["err"]["retryable"] and view is not None:
                view.forget()
            elif view is not None:
                view.hole_since = view.hole_since or time.monotonic()
            return
        for item in page["items"]:
            self.take_event(Event(item["t"], item), "sync")
        if view is not None and not page["more"]:
            view.fetching = False

    # --- frames

    def _on_frame(self, frame):
        kind, data = frame["t"], frame["d"]
        if kind in ("msg", "edit", "recall", "react"):
            self.take_event(Event(kind, data), "live")
        elif kind in ("ok", "err"):
            self._on_answer(frame.get("id"), kind, data, frame)
        elif kind == "sync":
            if frame["id"] in self.pages:
                self.pages[frame["id"]](data)
        elif kind in ("mark", "presence", "conv", "member"):
            self.take_notice(kind, data)

    def _on_answer(self, number, kind, data, frame):
        if number in self.calls:
            message, _ = self.calls.pop(number)
            if kind == "ok":
                self.answered(number, message, data["seq"], "ws")
            else:
                pause = data.get("retry_ms")
                self.refused(number, message, data["code"], data["retryable"], "ws",
                             pause / 1000 if pause else None)
        elif number in self.requests:
            if not self.requests[number].done():
                self.requests[number].set_result(frame)
        elif number in self.marks:
            conversation, seq = self.marks.pop(number)
            phase = "ok" if kind == "ok" else "fail"
            self.voice.event("ws", "mark", phase, call=number, conversation=conversation, read=seq)

    # --- sending

    def can_carry(self, message):
        return self.live and not message.origin

    def transmit(self, message):
        call = self.voice.next_call()
        message.sent_at, message.retry_at = time.monotonic(), None
        message.attempts += 1
        self.voice.send_invoke("ws", call, message)
        self.calls[call] = (message, message.sent_at)
        data = {"conversation": message.conversation, "message": message.wire}
        if message.kind == "text":
            if message.to_user is not None:
                data["to"] = message.to_user
                del data["conversation"]
            self.link.send("send", {**data, "body": {"text": message.text}}, call)
            return
        data["seq"] = message.target
        if message.kind == "edit":
            data["body"] = {"text": message.text}
        elif message.kind == "react":
            data["emoji"] = message.text.rstrip("-")
            if message.text.endswith("-"):
                data["remove"] = True
        self.link.send(message.kind, data, call)

    def mark(self, view):
        call, seq = self.voice.next_call(), view.shown
        view.marked_read = seq
        self.voice.event("ws", "mark", "invoke", call=call, conversation=view.conversation, read=seq)
        self.marks[call] = (view.conversation, seq)
        self.link.send("mark", {"conversation": view.conversation, "read": seq}, call)

    # --- the end

    async def read_conversation(self, conversation):
        """(events, head), by sync from the beginning."""
        events, heads = [], []

        def take(page):
            if "err" in page:
                raise_later.append(page["err"]["code"])
                return
            events.extend(Event(item["t"], item) for item in page["items"])
            heads.append(page["head"])

        raise_later = []
        await self.sync({conversation: 0}, take, patience=60.0)
        if raise_later:
            raise Unknown(raise_later[0])
        return events, heads[-1]
