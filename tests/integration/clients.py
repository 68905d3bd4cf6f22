"""Clients for behaviour tests, on libraries that nobody here wrote."""

import collections
import json
import os
import queue
import socket
import threading
import time
import uuid

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
import requests
import websocket

from stack import SLOW, wait_until

# Debian 12's websocket-client does not know the registered codes 1012 and 1013 (IANA registry).
websocket._abnf.VALID_CLOSE_STATUS = (*websocket._abnf.VALID_CLOSE_STATUS, 1012, 1013)

PASSWORD = "quiet-otter-lamp"


def uuid7(wall_ms=None):
    """A fresh UUIDv7 as text."""
    wall_ms = int(time.time() * 1000) if wall_ms is None else wall_ms
    value = (wall_ms << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=value))


class Person:
    """One user and one device, logged in over REST."""

    def __init__(self, stack, answer, password=PASSWORD):
        self.stack, self.password = stack, password
        self.take(answer)

    def take(self, answer):
        self.token = answer["access_token"]
        self.refresh = answer["refresh_token"]
        self.id = answer["user"]["id"]
        self.name = answer["user"]["name"]
        self.device = answer["device"]["id"]

    def call(self, method, path, body=None, **options):
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return requests.request(
            method, self.stack.rest_url + path, json=body, headers=headers, timeout=20 * SLOW, **options
        )

    def ok(self, method, path, body=None, **options):
        answer = self.call(method, path, body, **options)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def another_device(self, name="second"):
        return login(self.stack, self.name, self.password, name)

    def send(self, conversation, text, message=None):
        message = message or uuid7()
        return self.ok(
            "PUT", f"/v1/conversations/{conversation}/messages/{message}", {"body": {"text": text}}
        )

    def direct(self, other):
        return self.ok("POST", "/v1/conversations", {"kind": "direct", "user": other.id})["id"]

    def group(self, title, *members):
        body = {"kind": "group", "title": title, "members": [m.id for m in members]}
        return self.ok("POST", "/v1/conversations", body)["id"]

    def history(self, conversation, after=0):
        items = []
        while True:
            page = self.ok("GET", f"/v1/conversations/{conversation}/messages?after={after}&limit=100")
            items += page["items"]
            if not page["has_more"]:
                return items
            after = items[-1]["seq"]

    def ws(self, **options):
        return Ws(self.stack, self.token, **options)

    def mqtt(self, **options):
        return Mqtt(self.stack, self, **options)


def login(stack, name, password=PASSWORD, device="test"):
    body = {"user": name, "password": password, "device": {"name": device, "platform": "test"}}
    answer = requests.post(stack.rest_url + "/v1/login", json=body, timeout=60 * SLOW)
    assert answer.status_code == 200, answer.text
    return Person(stack, answer.json(), password)


class People:
    """Registers users by name; the first one is the administrator."""

    def __init__(self, stack):
        self.stack, self.admin = stack, None

    def register(self, name, invite, password=PASSWORD):
        body = {"invite": invite, "user": name, "password": password}
        body["device"] = {"name": "first", "platform": "test"}
        answer = requests.post(self.stack.rest_url + "/v1/register", json=body, timeout=60 * SLOW)
        assert answer.status_code == 201, answer.text
        return Person(self.stack, answer.json(), password)

    def make(self, *names):
        if self.admin is None:
            self.admin = self.register("root", self.stack.admin_invite)
        made = []
        for name in names:
            invite = self.admin.ok("POST", "/v1/admin/invites", {})["invite"]
            made.append(self.register(name, invite))
        return made[0] if len(made) == 1 else made


class Ws:
    """pipit.v1 over the websocket-client library; a thread collects what arrives."""

    def __init__(self, stack, token=None, url=None, **options):
        self.socket = websocket.create_connection(
            url or stack.ws_url, subprotocols=["pipit.v1"], timeout=20 * SLOW, **options
        )
        self.next_id = 0
        self.replies = {}
        self.events = collections.deque()
        self.all = []
        self.closed = None  # (code, reason text)
        self.lock = threading.Condition()
        self.hello = json.loads(self.socket.recv())
        assert self.hello["t"] == "hello", self.hello
        self.socket.settimeout(None)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        self.auth_reply = None
        if token is not None:
            self.auth_reply = self.request("auth", {"token": token})

    def _read(self):
        code, reason = None, ""
        try:
            while True:
                opcode, data = self.socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    code = int.from_bytes(data[:2], "big") if len(data) >= 2 else None
                    reason = data[2:].decode()
                    break
                frame = json.loads(data)
                with self.lock:
                    self.all.append(frame)
                    if frame.get("id") is not None and frame["t"] in ("ok", "err", "sync"):
                        self.replies.setdefault(frame["id"], []).append(frame)
                    else:
                        self.events.append(frame)
                    self.lock.notify_all()
        except (websocket.WebSocketException, OSError, ValueError):
            pass
        with self.lock:
            self.closed = (code, reason)
            self.lock.notify_all()

    def wait(self, condition, timeout=10.0, what="frame"):
        deadline = time.monotonic() + timeout * SLOW
        with self.lock:
            while True:
                value = condition()
                if value:
                    return value
                left = deadline - time.monotonic()
                if left <= 0 or self.closed:  # nothing more comes
                    raise AssertionError(f"no {what}; closed={self.closed}; got {self.all[-5:]}")
                self.lock.wait(left)

    def post(self, kind, data=None, with_id=True):
        self.next_id += 1
        frame = {"t": kind, "d": data or {}}
        if with_id:
            frame["id"] = self.next_id
        self.socket.send(json.dumps(frame))
        return self.next_id

    def reply(self, number, timeout=10.0):
        def final():
            for frame in self.replies.get(number, []):
                if frame["t"] in ("ok", "err"):
                    return frame
            return None

        return self.wait(final, timeout, f"reply to {number}")

    def request(self, kind, data=None, timeout=10.0):
        return self.reply(self.post(kind, data), timeout)

    def send(self, conversation, text, message=None, **extra):
        data = {"conversation": conversation, "message": message or uuid7(), "body": {"text": text}}
        return self.request("send", {**data, **extra})

    def sync(self, cursors):
        """Returns {conversation: [items]} and the final reply."""
        number = self.post("sync", cursors)
        final = self.reply(number)
        items = {}
        for frame in self.replies[number]:
            if frame["t"] == "sync":
                items.setdefault(frame["d"]["conversation"], []).extend(frame["d"]["items"])
        return items, final

    def event(self, kind, timeout=10.0, where=lambda d: True):
        """Takes the first event of the kind that satisfies `where`; leaves the others."""

        def find():
            for frame in self.events:
                if frame["t"] == kind and where(frame["d"]):
                    self.events.remove(frame)
                    return frame
            return None

        return self.wait(find, timeout, f"{kind} event")

    def messages(self):
        with self.lock:
            return [f["d"] for f in self.all if f["t"] == "msg"]

    def wait_closed(self, timeout=10.0):
        self.wait(lambda: self.closed, timeout, "close")
        return self.closed

    def close(self):
        """Says goodbye and waits a second for the answer; a server that is frozen gives none."""
        raw = self.socket.sock
        try:
            self.socket.send_close()
        except (OSError, websocket.WebSocketException):
            pass
        self.thread.join(1)
        try:
            raw.shutdown(socket.SHUT_RDWR)  # wakes the reader, which holds the library's lock
        except (OSError, AttributeError):
            pass
        self.thread.join(5)
        self.socket.shutdown()


class Mqtt:
    """paho-mqtt (MQTT 5 unless told otherwise) subscribed to the chat topics."""

    def __init__(self, stack, person, client_id=None, version=5, clean=True, expiry=3600,
                 subscribe=("pipit/me/inbox", "pipit/me/events"), qos=1, password=None, connect=True,
                 manual_ack=False, properties=None):
        protocol = paho.MQTTv5 if version == 5 else paho.MQTTv311
        self.stack, self.version = stack, version
        self.client_id = client_id or f"t-{uuid.uuid4().hex[:12]}"
        options = {} if version == 5 else {"clean_session": clean}
        self.client = paho.Client(self.client_id, protocol=protocol, **options)
        self.client.username_pw_set(person.name, person.token if password is None else password)
        self.client.max_inflight_messages_set(1000)
        self.inbox = queue.Queue()
        self.all = []
        self.connected = queue.Queue()
        self.disconnected = queue.Queue()
        self.granted = queue.Queue()
        self.acks = {}
        self.client.on_connect = lambda c, u, flags, rc, props=None: self.connected.put((flags, rc, props))
        self.client.on_disconnect = lambda c, u, rc, props=None: self.disconnected.put((rc, props))
        self.client.on_subscribe = lambda c, u, mid, codes, props=None: self.granted.put(codes)
        self.client.on_message = self._message
        self.client.on_publish = lambda c, u, mid: self.acks.__setitem__(mid, True)
        self.clean, self.expiry, self.topics, self.qos = clean, expiry, subscribe, qos
        if connect:
            self.connect()

    def _message(self, client, user, message):
        entry = (message.topic, json.loads(message.payload), message)
        self.all.append(entry)
        self.inbox.put(entry)

    def connect(self):
        if self.version == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if self.clean else self.expiry
            self.client.connect("127.0.0.1", self.stack.mqtt_port, keepalive=60,
                                clean_start=self.clean, properties=properties)
        else:
            self.client.connect("127.0.0.1", self.stack.mqtt_port, keepalive=60)
        self.client.loop_start()
        self.flags, self.code, self.properties = self.connected.get(timeout=10 * SLOW)
        if self.topics and int(getattr(self.code, "value", self.code)) == 0:
            self.client.subscribe([(topic, self.qos) for topic in self.topics]
                                  if self.version != 5 else
                                  [(topic, SubscribeOptions(qos=self.qos)) for topic in self.topics])
            self.grants = self.granted.get(timeout=10 * SLOW)

    def publish(self, topic, payload, qos=1, wait=True, properties=None):
        info = self.client.publish(topic, payload, qos=qos, properties=properties)
        if wait and qos > 0:
            wait_until(lambda: self.acks.get(info.mid), 10, f"acknowledgement of {topic}")
        return info

    def message(self, timeout=10.0, topic="pipit/me/inbox", where=lambda d: True):
        """Takes the next message of the topic that satisfies where; drops the others."""
        deadline = time.monotonic() + timeout * SLOW
        while True:
            try:
                entry = self.inbox.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no message on {topic}; got {[e[:2] for e in self.all[-5:]]}") from None
            if entry[0] == topic and where(entry[1]["d"]):
                return entry[1]["d"]

    def received(self):
        return [entry[1]["d"] for entry in list(self.all) if entry[0] == "pipit/me/inbox"]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def drop(self):
        """Ends the TCP connection without a DISCONNECT."""
        self.client.loop_stop()
        sock = self.client.socket()
        if sock is not None:
            sock.close()
