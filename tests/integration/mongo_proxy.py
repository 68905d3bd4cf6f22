"""A proxy before a server of MongoDB's wire protocol that plays its bad days.

It passes whole messages, so it can answer for the server, change what the server says of itself, and
cut a connection exactly between a write and its answer. `mode` may change while connections are open:

  well          everything passes
  gone          connections are cut and refused
  frozen        connections are open, nothing passes (what waits passes later)
  stepping_down writes are refused by a server that has not told yet that it is no primary any more
  secondary     it has told so, and refuses reads, too
  full          writes are refused: no disk space
  no_majority   writes are carried out and answered with a write concern error
  cut           writes are carried out, their answer is lost with the connection

as_set: the server calls itself the primary of a replica set, as read concern and batches mind it.
"""

import socket
import struct
import threading

import bson

from ports import free_port

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
WRITES = ("insert", "update", "delete", "findAndModify", "createIndexes")
HELLO = ("hello", "isMaster", "ismaster")


class Message:
    def __init__(self, raw):
        self.raw = raw
        self.request_id, self.response_to, self.code = struct.unpack_from("<iii", raw, 4)

    @property
    def document(self):
        """The command or reply; what stands beside it in sections of its own is left out."""
        if self.code == OP_REPLY:
            return bson.decode(self.raw[36:])
        if self.code == OP_QUERY:
            start = self.raw.index(b"\0", 20) + 9
            return bson.decode(self.raw[start:start + struct.unpack_from("<i", self.raw, start)[0]])
        at = 20
        while self.raw[at] != 0:
            at += 1 + struct.unpack_from("<i", self.raw, at + 1)[0]
        return bson.decode(self.raw[at + 1:at + 1 + struct.unpack_from("<i", self.raw, at + 1)[0]])

    @property
    def command(self):
        return next(iter(self.document))

    def replied(self, document):
        """The same reply with another document."""
        body = bson.encode(document)
        if self.code == OP_REPLY:
            rest = self.raw[16:36] + body
        else:
            rest = b"\0\0\0\0\0" + body
        return struct.pack("<iiii", 16 + len(rest), self.request_id, self.response_to, self.code) + rest

    def answer(self, document):
        """A reply to this request."""
        rest = b"\0\0\0\0\0" + bson.encode(document)
        return struct.pack("<iiii", 16 + len(rest), self.request_id, self.request_id, OP_MSG) + rest


def read_message(peer):
    header = read_bytes(peer, 4)
    return Message(header + read_bytes(peer, struct.unpack("<i", header)[0] - 4))


def read_bytes(peer, count):
    parts = bytearray()
    while len(parts) < count:
        part = peer.recv(count - len(parts))
        if not part:
            raise ConnectionError("end")
        parts += part
    return bytes(parts)


class MongoProxy:
    def __init__(self, target_port, as_set=False):
        self.target_port, self.as_set = target_port, as_set
        self.port = free_port()
        self.mode = "well"
        self.changed = threading.Condition()
        self.commands = []  # names of all that came, with the mode of that moment
        self.open = set()
        self.listener = self.listen()
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def uri(self, database, options=""):
        return f"mongodb://127.0.0.1:{self.port}/{database}{options}"

    def listen(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        return listener

    def set(self, mode):
        with self.changed:
            self.mode = mode
            self.changed.notify_all()
        if mode == "gone":
            self._cut_all()

    def seen(self, command, mode):
        return (command, mode) in self.commands

    def close(self):
        self.closed = True
        self.set("gone")
        self.listener.close()

    def _cut_all(self):
        for peer in list(self.open):
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self):
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.mode == "gone":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()  # a reset, as from a machine without that process
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        server = socket.socket()
        peers = {client, server}
        self.open |= peers
        try:
            server.connect(("127.0.0.1", self.target_port))
            while True:
                request = read_message(client)
                with self.changed:
                    self.changed.wait_for(lambda: self.mode != "frozen")
                reply = self._exchange(request, server)
                if reply is None:
                    return
                client.sendall(reply)
        except (ConnectionError, OSError, ValueError):
            pass
        finally:
            self.open -= peers
            client.close()
            server.close()

    def _exchange(self, request, server):
        """The reply's bytes; None cuts the connection."""
        mode, command = self.mode, request.command
        self.commands.append((command, mode))
        if mode == "gone":
            return None
        refuses = command not in HELLO and command not in ("ping", "endSessions")
        if (mode == "secondary" and refuses) or (mode == "stepping_down" and command in WRITES):
            code, name = (10107, "NotWritablePrimary") if command in WRITES else (13435, "NotPrimaryNoSecondaryOk")
            return request.answer({"ok": 0.0, "code": code, "codeName": name, "errmsg": "not primary"})
        if mode == "full" and command in WRITES:
            return request.answer({"ok": 0.0, "code": 14031, "codeName": "OutOfDiskSpace", "errmsg": "no space"})
        server.sendall(request.raw)
        reply = read_message(server)
        if command in HELLO:
            return reply.replied(self._introduce(reply.document, mode))
        if command in WRITES and mode == "no_majority":
            document = reply.document
            document["writeConcernError"] = {"code": 64, "errmsg": "waiting for replication timed out",
                                             "errInfo": {"wtimeout": True}}
            return reply.replied(document)
        return None if command in WRITES and mode == "cut" else reply.raw

    def _introduce(self, document, mode):
        if self.as_set or mode == "secondary":
            writable = mode != "secondary"
            document.update({"setName": "rs0", "hosts": [f"127.0.0.1:{self.port}"], "me": f"127.0.0.1:{self.port}",
                             "ismaster": writable, "isWritablePrimary": writable, "secondary": not writable,
                             "setVersion": 1})
        return document
