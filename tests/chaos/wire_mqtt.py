"""The client's side of MQTT 3.1.1 and 5, as little as recording clients need: raw, no duplicate is hidden."""

import asyncio

CONNECT_TIMEOUT = 1.5
CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 9, 13, 14
# MQTT 5.0 table 2-4: how long each property's value is; "s" a string or binary, "p" a pair, "v" a varint.
PROPERTY_SHAPES = {0x01: 1, 0x02: 4, 0x03: "s", 0x08: "s", 0x09: "s", 0x0B: "v", 0x11: 4, 0x12: "s", 0x13: 2,
                   0x15: "s", 0x16: "s", 0x17: 1, 0x18: 4, 0x19: 1, 0x1A: "s", 0x1C: "s", 0x1F: "s", 0x21: 2,
                   0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1, 0x26: "p", 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
REASON_STRING, USER_PROPERTY = 0x1F, 0x26


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def varint(number):
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def take_varint(data, at):
    """(value, where it ends) or None while it is incomplete."""
    value = shift = 0
    for place in range(at, min(at + 4, len(data))):
        value |= (data[place] & 0x7F) << shift
        if data[place] < 0x80:
            return value, place + 1
        shift += 7
    return None


def take_properties(data, at):
    """({user property or id: value}, where they end)."""
    length, at = take_varint(data, at)
    end, found = at + length, {}
    while at < end:
        shape, kind = PROPERTY_SHAPES[data[at]], data[at]
        at += 1
        if shape == "v":
            found[kind], at = take_varint(data, at)
        elif isinstance(shape, int):
            found[kind] = int.from_bytes(data[at:at + shape], "big")
            at += shape
        else:
            values = []
            for _ in range(2 if shape == "p" else 1):
                size = int.from_bytes(data[at:at + 2], "big")
                values.append(data[at + 2:at + 2 + size])
                at += 2 + size
            found[values[0].decode() if shape == "p" else kind] = values[-1].decode(errors="replace")
    return found, end


class Refused(Exception):
    def __init__(self, code):
        super().__init__(f"CONNACK {code:#x}")
        self.code = code


class MqttLink(asyncio.Protocol):
    """on_publish(topic, payload, packet_id), on_puback(packet_id, code, properties), on_lost(code)."""

    def __init__(self, version, on_publish, on_puback, on_lost):
        loop = asyncio.get_running_loop()
        self.version, self.on_publish, self.on_puback, self.on_lost = version, on_publish, on_puback, on_lost
        self.transport, self.buffer = None, bytearray()
        self.connected, self.granted = loop.create_future(), loop.create_future()
        self.lost = False
        self.code, self.heard, self.clock = None, 0.0, loop.time
        self.session_present = False

    @classmethod
    async def connect(cls, address, version, client_id, user, password, topics, *handlers):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT * 2):
            async with asyncio.timeout(CONNECT_TIMEOUT):
                transport, link = await loop.create_connection(lambda: cls(version, *handlers), *address)
            try:
                link._send_connect(client_id, user, password)
                await link.connected
                properties = b"\x00" if version == 5 else b""
                link._write(0x82, b"\x00\x01" + properties + b"".join(text(t) + b"\x01" for t in topics))
                await link.granted
            except BaseException:
                transport.abort()
                raise
        return link

    def _send_connect(self, client_id, user, password):
        # Session kept (clean off), user name and password; MQTT 5: session expiry 3600 s, receive maximum 200.
        properties = b""
        if self.version == 5:
            properties = b"\x08\x11" + (3600).to_bytes(4, "big") + b"\x21" + (200).to_bytes(2, "big")
        level = 5 if self.version == 5 else 4
        self._write(0x10, text("MQTT") + bytes((level, 0xC0)) + (60).to_bytes(2, "big") + properties
                    + text(client_id) + text(user) + text(password))

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.lost = True
        error = error or ConnectionResetError("closed")
        waiting = [f for f in (self.connected, self.granted) if not f.done()]
        for future in waiting:
            future.set_exception(error)
            future.exception()  # nobody may be waiting any more
        if not waiting:
            self.on_lost(self.code)

    def data_received(self, data):
        self.heard = self.clock()
        buffer = self.buffer
        buffer += data
        at = 0
        while len(buffer) >= at + 2 and (taken := take_varint(buffer, at + 1)) is not None:
            length, start = taken
            if len(buffer) < start + length:
                break
            first, body = buffer[at], bytes(buffer[start:start + length])
            at = start + length
            self._take(first, body)
        del buffer[:at]

    def _take(self, first, body):
        kind, v5 = first >> 4, self.version == 5
        if kind == PUBLISH:
            size = int.from_bytes(body[:2], "big")
            topic, at = body[2:2 + size].decode(), 2 + size
            packet_id = 0
            if first & 0x06:
                packet_id, at = int.from_bytes(body[at:at + 2], "big"), at + 2
            if v5:
                length, at = take_varint(body, at)
                at += length
            self.on_publish(topic, body[at:], packet_id)
        elif kind == PUBACK:
            code = body[2] if len(body) > 2 else 0
            properties = take_properties(body, 3)[0] if len(body) > 3 else {}
            self.on_puback(int.from_bytes(body[:2], "big"), code, properties)
        elif kind == CONNACK:
            self.session_present = bool(body[0] & 1)
            if body[1] != 0:
                self.connected.set_exception(Refused(body[1]))
                self.transport.close()
            else:
                self.connected.set_result(None)
        elif kind == SUBACK:
            codes = body[2:] if not v5 else body[take_properties(body, 2)[1]:]
            if any(code >= 0x80 for code in codes):
                self.granted.set_exception(Refused(max(codes)))
                self.transport.close()
            elif not self.granted.done():
                self.granted.set_result(None)
        elif kind == DISCONNECT:
            self.code = body[0] if body else 0
            self.transport.close()

    def _write(self, first, body):
        if not self.transport.is_closing():  # else connection_lost is about to tell
            self.transport.write(bytes((first,)) + varint(len(body)) + body)

    def publish(self, topic, payload, packet_id, dup=False):
        properties = b"\x00" if self.version == 5 else b""
        self._write(0x32 | (8 if dup else 0), text(topic) + packet_id.to_bytes(2, "big") + properties + payload)

    def puback(self, packet_id):
        self._write(0x40, packet_id.to_bytes(2, "big"))

    def ping(self):
        self._write(0xC0, b"")

    def abort(self):
        self.transport.abort()
