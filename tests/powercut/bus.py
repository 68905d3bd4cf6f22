"""Talks to a service's bus socket without any of Pipit's own code.

Three layers, each small: the contracts (proto/*.proto, read at run time, so nothing here repeats a field
number), the envelope (proto/envelope.h), and the scalability protocol's request side over a Unix socket (one
connection, many requests in flight, each with its own id: what a nng REQ socket with contexts sends).
"""

import pathlib
import re
import select
import socket
import struct
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVELOPE = struct.Struct("<BBHI")  # version, flags, type, unpacked bytes
REQUEST_HELLO = b"\0SP\0\x00\x30\0\0"
REPLY_HELLO = b"\0SP\0\x00\x31\0\0"
NUMBERS = {"uint32", "uint64", "bool"}


class Lost(Exception):
    """The connection or its process is gone: the outcome of open requests is unknown."""


# --- contracts


def _load_contracts():
    messages, enums = {}, {}
    for path in sorted((ROOT / "proto").glob("*.proto")):
        text = re.sub(r"//[^\n]*", "", path.read_text())
        for name, body in re.findall(r"\benum\s+(\w+)\s*\{([^}]*)\}", text):
            enums[name] = {key: int(value) for key, value in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
        for name, body in re.findall(r"\bmessage\s+(\w+)\s*\{([^}]*)\}", text):
            fields = re.findall(r"(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*;", body)
            messages[name] = [(int(number), field, kind, bool(many)) for many, kind, field, number in fields]
    for fields in messages.values():
        for index, (number, field, kind, many) in enumerate(fields):
            if kind in enums:
                kind = "uint64"
            assert kind in NUMBERS or kind in ("string", "bytes") or kind in messages, kind
            fields[index] = (number, field, kind, many)
    rows = re.findall(r"MESSAGE_ROW\((\w+), (\d+), pipit__(\w+)\)", (ROOT / "proto/message.def").read_text())
    types = {"".join(part.title() for part in snake.split("_")): int(number) for _, number, snake in rows}
    names = re.findall(r"ERR_ROW\((\w+), (\d+), .*?, (true|false)\)", (ROOT / "common/err.def").read_text())
    return messages, enums, types, names


MESSAGES, ENUMS, TYPES, _ERRORS = _load_contracts()
ERROR_NAMES = {int(number): name for name, number, _ in _ERRORS}
RETRYABLE = {name for name, _, again in _ERRORS if again == "true"}
BY_NUMBER = {name: {row[0]: row[1:] for row in rows} for name, rows in MESSAGES.items()}


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(name, value):
    """A dict as Protocol Buffers bytes; absent keys are absent fields."""
    out = []
    for number, field, kind, many in MESSAGES[name]:
        found = value.get(field)
        if found is None:
            continue
        for item in found if many else (found,):
            if kind in NUMBERS:
                out.append(_varint(number << 3) + _varint(int(item)))
                continue
            raw = item if kind == "bytes" else item.encode() if kind == "string" else encode(kind, item)
            out.append(_varint(number << 3 | 2) + _varint(len(raw)))
            out.append(raw)
    return b"".join(out)


def decode(name, raw):
    """Protocol Buffers bytes as a dict that has every field of the contract."""
    value = {field: [] if many else 0 if kind in NUMBERS else b"" if kind == "bytes" else
             "" if kind == "string" else None for _, field, kind, many in MESSAGES[name]}
    known, at, end = BY_NUMBER[name], 0, len(raw)
    while at < end:
        number, at = _read_varint(raw, at)
        wire, number = number & 7, number >> 3
        if wire == 0:
            item, at = _read_varint(raw, at)
        elif wire == 2:
            count, at = _read_varint(raw, at)
            item, at = raw[at : at + count], at + count
        else:
            raise ValueError(f"{name}: wire type {wire}")
        if number not in known:
            continue
        field, kind, many = known[number]
        if kind in NUMBERS and wire == 2:  # packed
            packed, inner = item, 0
            while inner < len(packed):
                item, inner = _read_varint(packed, inner)
                value[field].append(item)
            continue
        if kind == "string":
            item = item.decode()
        elif kind in MESSAGES:
            item = decode(kind, item)
        if many:
            value[field].append(item)
        else:
            value[field] = item
    return value


def _read_varint(raw, at):
    byte = raw[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value, shift = byte & 0x7F, 7
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def error_of(reply):
    return ERROR_NAMES.get(reply["error"], str(reply["error"]))


# --- the socket


class Bus:
    """One connection to the answering socket of a service at ipc://BASE."""

    def __init__(self, base):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.buffer = bytearray()
        self.next_id = 1
        self.open = {}  # request id -> reply's message name
        self.answered = {}  # request id -> (reply's message name, bytes) not yet asked for
        try:
            self.socket.settimeout(10)
            self.socket.connect(f"{base}.rep")
            self.socket.sendall(REQUEST_HELLO)
            hello = self._read_exactly(len(REPLY_HELLO))
        except OSError as error:
            self.close()
            raise Lost(str(error)) from None
        if hello != REPLY_HELLO:
            raise Lost(f"not a reply socket: {hello!r}")

    def close(self):
        self.socket.close()

    def fileno(self):
        return self.socket.fileno()

    def _read_exactly(self, count):
        out = b""
        while len(out) < count:
            part = self.socket.recv(count - len(out))
            if not part:
                raise Lost("closed")
            out += part
        return out

    def post(self, name, value, reply_name):
        """Sends a request and returns its number."""
        body = encode(name, value)
        number = self.next_id
        self.next_id += 1
        message = struct.pack(">I", number | 0x80000000) + ENVELOPE.pack(1, 0, TYPES[name], len(body)) + body
        self.open[number] = reply_name
        try:
            self.socket.sendall(b"\x01" + struct.pack(">Q", len(message)) + message)
        except OSError as error:
            raise Lost(str(error)) from None
        return number

    def replies(self, timeout):
        """Waits until something arrives; returns {number: reply} of all that is complete."""
        done = {number: self._decoded(number) for number in list(self.answered)}
        if done or not select.select([self.socket], [], [], timeout)[0]:
            return done
        try:
            part = self.socket.recv(1 << 20)
        except OSError as error:
            raise Lost(str(error)) from None
        if not part:
            raise Lost("closed")
        self.buffer += part
        self._split()
        return {number: self._decoded(number) for number in list(self.answered)}

    def _split(self):
        at = 0
        while len(self.buffer) - at >= 9:
            count = int.from_bytes(self.buffer[at + 1 : at + 9], "big")
            if len(self.buffer) - at - 9 < count:
                break
            message = bytes(self.buffer[at + 9 : at + 9 + count])
            at += 9 + count
            number = int.from_bytes(message[:4], "big") & 0x7FFFFFFF
            name = self.open.pop(number, None)
            if name is not None:
                self.answered[number] = (name, message[4:])
        del self.buffer[:at]

    def _decoded(self, number):
        name, message = self.answered.pop(number)
        version, flags, kind, _ = ENVELOPE.unpack_from(message)
        assert version == 1 and flags == 0, (version, flags)
        if kind != TYPES[name]:  # a request refused before its handler was known
            return {"error": decode("StatusReply", message[ENVELOPE.size :])["error"] or 2}
        return decode(name, message[ENVELOPE.size :])

    def call(self, name, value, reply_name, timeout=10.0):
        """One request, one reply; TimeoutError when none comes. For callers with nothing else in flight."""
        number = self.post(name, value, reply_name)
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no reply to {name} within {timeout} s")
            found = self.replies(left)
            if number in found:
                return found[number]
