"""HTTP/1.1 to whichever auth instance answers. An exchange without a whole answer is Unknown, never a refusal."""

import asyncio
import json
import random

CONNECT_TIMEOUT = 1.5


class Unknown(Exception):
    """No answer: the request may have been carried out."""


class Answer:
    def __init__(self, status, body):
        self.status, self.body = status, body

    @property
    def ok(self):
        return self.status < 300

    @property
    def code(self):
        return (self.body or {}).get("code", str(self.status)) if isinstance(self.body, dict) else str(self.status)

    @property
    def retryable(self):
        return self.status >= 500 or (isinstance(self.body, dict) and bool(self.body.get("retryable")))


class Http:
    """One connection, kept open, to an address out of addresses(); the next failure goes to another one."""

    def __init__(self, addresses, rng=random):
        self.addresses, self.rng = addresses, rng
        self.address = self.reader = self.writer = None
        self.lock = asyncio.Lock()

    async def _open(self):
        choices = [a for a in self.addresses() if a != self.address] or list(self.addresses())
        if not choices:
            raise Unknown("no auth instance")
        self.address = self.rng.choice(choices)
        async with asyncio.timeout(CONNECT_TIMEOUT):
            self.reader, self.writer = await asyncio.open_connection(*self.address)

    def close(self):
        if self.writer is not None:
            self.writer.transport.abort()
            self.reader = self.writer = None

    async def _exchange(self, method, path, body, token, headers):
        idle_closed = self.reader is not None and self.reader.at_eof()  # by the server, while nothing was asked
        if self.writer is None or idle_closed or self.address not in self.addresses():
            self.close()
            await self._open()
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address[0]}\r\nContent-Length: {len(data)}\r\n"
        if body is not None:
            head += "Content-Type: application/json\r\n"
        if token:
            head += f"Authorization: Bearer {token}\r\n"
        for name, value in (headers or {}).items():
            head += f"{name}: {value}\r\n"
        self.writer.write(head.encode() + b"\r\n" + data)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        status = int(lines[0].split(" ")[1])
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        size = int(fields.get("content-length", 0))
        raw = await self.reader.readexactly(size) if size else b""
        if fields.get("connection") == "close":
            self.close()
        return Answer(status, json.loads(raw) if raw and "json" in fields.get("content-type", "") else None)

    async def call(self, method, path, body=None, token=None, headers=None, timeout=6.0):
        async with self.lock:
            try:
                async with asyncio.timeout(timeout):
                    return await self._exchange(method, path, body, token, headers)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, IndexError) as error:
                self.close()
                raise Unknown(f"{method} {path}: {type(error).__name__} {error}") from None
            except BaseException:
                self.close()
                raise
