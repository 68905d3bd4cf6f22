"""A device that speaks MQTT 3.1.1 or 5 at QoS 1, with a kept session."""

import json
import time

from device import Device
from history import Event
from wire_http import Unknown
from wire_mqtt import REASON_STRING, MqttLink, Refused

TOPICS = ("pipit/me/inbox", "pipit/me/events", "pipit/me/ctl")
PACKETS_MAX = 56  # below the server's receive maximum


class MqttDevice(Device):
    protocol = "mqtt"

    def __init__(self, campaign, user, label, login, version=5):
        super().__init__(campaign, user, label, login)
        self.version = version
        self.packets = {}  # packet id: call
        self.last_packet = 0

    async def _open(self):
        token = await self.login.token()
        address = self.choose(self.campaign.world.mqtt_addresses())
        link = None

        def on_publish(topic, payload, packet_id):
            if link is None or link is self.link:
                self._on_publish(topic, payload, packet_id)

        def on_puback(packet_id, code, properties):
            if link is self.link:
                self._on_puback(packet_id, code, properties)

        self.early = []
        try:
            link = await MqttLink.connect(address, self.version, self.label, self.user.name, token, TOPICS,
                                          on_publish, on_puback, lambda code: self.on_lost(link, code))
        except Refused as error:
            self.login.spoil()
            raise Unknown(str(error)) from None
        self.link = link
        if link.lost:
            raise ConnectionResetError("closed at once")
        for packet_id in self.early:
            link.puback(packet_id)
        self.packets.clear()
        self.live = True
        self.campaign.note_open(self)
        for view in self.views.values():
            if not view.active:
                self.spawn(self.look_again(view))
        for message in list(self.outbox.values()):
            if not message.origin:
                continue
            view = self.views.get(message.conversation)
            if view is not None and not view.active:
                self.outbox.pop(message.id)  # refused for good: MQTT 3.1.1 is told by the end of the connection
            else:
                self.transmit(message)  # the same packet with DUP=1, before anything new

    def note_close(self, code):
        if code in (0x87, 0x86):
            self.login.spoil()

    def ping(self):
        self.link.ping()

    # --- what arrives

    def _on_publish(self, topic, payload, packet_id):
        frame = json.loads(payload)
        kind, data = frame["t"], frame["d"]
        if kind in ("msg", "edit", "recall", "react"):
            self.take_event(Event(kind, data), "live")
        else:
            self.take_notice(kind, data)
        if packet_id:
            # What was missed comes before the subscription is granted, while the link is being made.
            self.early.append(packet_id) if self.link is None else self.link.puback(packet_id)

    def _on_puback(self, packet_id, code, properties):
        call = self.packets.pop(packet_id, None)
        if call is None or call not in self.calls:
            return
        message, _ = self.calls.pop(call)
        if code < 0x80:
            seq = properties.get("seq")
            self.answered(call, message, int(seq) if seq else None, "mqtt")
            return
        name, retryable = self.campaign.reasons.get(properties.get(REASON_STRING, ""), (f"0x{code:02x}", code != 0x87))
        self.refused(call, message, name, retryable, "mqtt")
        if message.origin and not message.done:
            self.link.abort()  # such a message is repeated on a new connection only

    # --- what is sent

    def can_carry(self, message):
        return (self.live and message.kind == "text" and len(self.packets) < PACKETS_MAX
                and (not message.origin or message.owner is self))

    def can_send(self):
        return super().can_send() and len(self.packets) < PACKETS_MAX

    def _packet_id(self):
        reserved = {m.packet_id for m in self.outbox.values()}
        while True:
            self.last_packet = self.last_packet % 65535 + 1
            if self.last_packet not in self.packets and self.last_packet not in reserved:
                return self.last_packet

    def transmit(self, message):
        call = self.voice.next_call()
        again = message.origin and message.packet_id != 0
        packet_id = message.packet_id if again else self._packet_id()
        if message.origin:
            message.packet_id = packet_id
            payload = message.text.encode()
        else:
            payload = json.dumps({"message": message.wire, "body": {"text": message.text}}).encode()
        message.sent_at, message.retry_at = time.monotonic(), None
        message.attempts += 1
        self.voice.send_invoke("mqtt", call, message)
        self.calls[call] = (message, message.sent_at)
        self.packets[packet_id] = call
        topic = (f"pipit/u/{message.to_user}/send" if message.to_user is not None
                 else f"pipit/c/{message.conversation}/send")
        self.link.publish(topic, payload, packet_id, dup=again)

    def mark(self, view):
        view.marked_read = view.shown
        self.spawn(self._mark_by_rest(view.conversation, view.shown))

    async def _mark_by_rest(self, conversation, seq):
        call = self.voice.next_call()
        try:
            token = await self.login.token()
        except Unknown:
            return
        self.voice.event("rest", "mark", "invoke", call=call, conversation=conversation, read=seq)
        phase = "info"
        try:
            answer = await self.http.call("PUT", f"/v1/conversations/{conversation}/read", {"seq": seq}, token)
            phase = "ok" if answer.ok else ("info" if answer.retryable else "fail")
            if answer.status == 401:
                self.login.spoil()
        except Unknown:
            pass
        finally:
            self.voice.event("rest", "mark", phase, call=call, conversation=conversation, read=seq)

    async def fetch(self, view):
        return await self.fetch_by_rest(view)

    async def read_conversation(self, conversation):
        return await self.read_all(conversation, 0)
