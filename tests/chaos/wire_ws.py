"""The client's side of pipit.v1 over a WebSocket (RFC 6455), as little as recording clients need."""

import asyncio
import base64
import json
import os

CONNECT_TIMEOUT = 1.5


class WsLink(asyncio.Protocol):
    """on_frame(frame) for each frame, on_lost(code) once; code is the close code or None."""

    def __init__(self, on_frame, on_lost):
        self.on_frame, self.on_lost = on_frame, on_lost
        self.transport, self.buffer, self.fragments = None, bytearray(), bytearray()
        self.upgraded = asyncio.get_running_loop().create_future()
        self.lost = False
        self.code, self.heard = None, 0.0
        self.clock = asyncio.get_running_loop().time

    @classmethod
    async def connect(cls, address, on_frame, on_lost):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT):
            transport, link = await loop.create_connection(lambda: cls(on_frame, on_lost), *address)
            try:
                key = base64.b64encode(os.urandom(16)).decode()
                transport.write((f"GET /v1/ws HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n"
                                 "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                 f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                                 "Sec-WebSocket-Protocol: pipit.v1\r\n\r\n").encode())
                await link.upgraded
            except BaseException:
                transport.abort()
                raise
        return link

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.lost = True
        if not self.upgraded.done():
            self.upgraded.set_exception(error or ConnectionResetError("closed in the handshake"))
            self.upgraded.exception()  # nobody may be waiting any more
        else:
            self.on_lost(self.code)

    def data_received(self, data):
        self.heard = self.clock()
        self.buffer += data
        if not self.upgraded.done():
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self.buffer.startswith(b"HTTP/1.1 101"):
                self.transport.abort()
                return
            del self.buffer[: end + 4]
            self.upgraded.set_result(None)
        at, buffer = 0, self.buffer
        while (head := self._frame_at(at)) is not None:
            start, end = head
            first = buffer[at]
            payload = bytes(buffer[start:end])
            at = end
            self._take(first, payload)
        del buffer[:at]

    def _frame_at(self, at):
        buffer = self.buffer
        if len(buffer) < at + 2:
            return None
        length, start = buffer[at + 1] & 0x7F, at + 2
        if length >= 126:
            width = 2 if length == 126 else 8
            if len(buffer) < start + width:
                return None
            length = int.from_bytes(buffer[start:start + width], "big")
            start += width
        return (start, start + length) if len(buffer) >= start + length else None

    def _take(self, first, payload):
        opcode, final = first & 0x0F, first & 0x80
        if opcode <= 2:
            if not final or opcode == 0:
                self.fragments += payload
                if not final:
                    return
                payload, self.fragments = bytes(self.fragments), bytearray()
            self.on_frame(json.loads(payload))
        elif opcode == 8:
            self.code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self._write(0x88, payload[:2])
            self.transport.close()
        elif opcode == 9:
            self._write(0x8A, payload)

    def _write(self, first, payload):
        if self.transport.is_closing():
            return  # connection_lost is about to tell
        count = len(payload)
        if count < 126:
            head = bytes((first, 0x80 | count))
        else:
            head = bytes((first, 0x80 | 126)) + count.to_bytes(2, "big")
        mask = os.urandom(4)
        stream = (mask * (count // 4 + 1))[:count]
        masked = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
        self.transport.write(head + mask + masked.to_bytes(count, "big"))

    def send(self, kind, data, number=None):
        frame = {"t": kind, "d": data} if number is None else {"t": kind, "id": number, "d": data}
        self._write(0x81, json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode())

    def abort(self):
        self.transport.abort()
