"""Accounts over REST and one person's WebSocket, for the users in locustfile.py.

What belongs to setting up (registering, groups, asking for the head at the end) goes past Locust's
statistics and waits whenever the server asks for it with 429 or 503 and Retry-After. What is
measured is reported through the `report` that a person is given.
"""

import json
import os
import time
import uuid

import gevent
import gevent.event
import gevent.lock
import requests
import websocket

from checker import Stream

SETUP_PATIENCE_S = 180  # password hashes take their time when hundreds register at once
REPLY_S = 10  # for one answer; then the same message id is sent again
SEND_PATIENCE_S = 30  # for one message with all its repetitions
ARRIVAL_S = 5  # after the end, for what is still on its way
INVITE_USES = 1000  # the most that the server allows


class Refused(Exception):
    """The server's answer was an error that waiting does not mend."""

    def __init__(self, what, status, text):
        super().__init__(f"{what}: {status} {text}")
        self.status = status


def call(method, url, body=None, token=None):
    """One REST call for setting up; returns the answer's JSON."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    deadline = time.monotonic() + SETUP_PATIENCE_S
    while True:
        answer = requests.request(method, url, json=body, headers=headers, timeout=60)
        if answer.status_code < 300:
            return answer.json() if answer.content else None
        if answer.status_code not in (429, 503) or time.monotonic() > deadline:
            raise Refused(f"{method} {url}", answer.status_code, answer.text)
        gevent.sleep(float(answer.headers.get("Retry-After", "1")))


def message_id():
    """A fresh UUID version 7 as text."""
    value = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


class Accounts:
    """Names for those who need one. With an invite they are registered when they are not there yet."""

    def __init__(self, rest, invite, password, prefix):
        self.rest, self.invite, self.password, self.prefix = rest, invite, password, prefix
        self._given = 0
        self._lock = gevent.lock.BoundedSemaphore()
        self._admin = None  # token of the one who makes invites
        self._uses_left = 0

    def claim(self):
        """Returns a name that nobody else of this run has."""
        self._given += 1
        name = f"{self.prefix}-{self._given}"
        if self.invite:
            self._register(name)
        return name

    def _register(self, name):
        with self._lock:
            invite = self._an_invite()
        body = {"invite": invite, "user": name, "password": self.password}
        try:
            call("POST", self.rest + "/v1/register", body)
        except Refused as refused:
            if refused.status != 409:  # there from an earlier run
                raise

    def _an_invite(self):
        """The first administrator's invite becomes an administrator; another one is used as it is."""
        if self._admin is None:
            self._admin = self._become_admin()
        if not self._admin:
            return self.invite
        if self._uses_left == 0:
            made = call("POST", self.rest + "/v1/admin/invites", {"uses": INVITE_USES}, self._admin)
            self._code, self._uses_left = made["invite"], INVITE_USES
        self._uses_left -= 1
        return self._code

    def _become_admin(self):
        body = {"user": "loadadmin", "password": self.password}
        try:
            session = call("POST", self.rest + "/v1/register", {"invite": self.invite, **body})
        except Refused as refused:
            if refused.status not in (403, 409):
                raise
            # Another run, or another worker of this one, has used it.
            session = call("POST", self.rest + "/v1/login", body)
        return session["access_token"] if session["user"]["admin"] else ""


class Person:
    """One user at one WebSocket. `report(name, ms, size, error)` takes what is to be counted."""

    def __init__(self, rest, ws, session, report):
        self.rest, self.ws, self.report = rest, ws, report
        self.id, self.name = session["user"]["id"], session["user"]["name"]
        self._take(session)
        self.streams = {}  # conversation -> Stream
        self._numbers = {}  # conversation -> number of the last own message
        self._socket, self._reader, self._sending = None, None, None
        self._replies, self._next_id = {}, 0

    def call(self, method, path, body=None):
        return call(method, self.rest + path, body, self.token)

    def follow(self, conversation, start):
        """From now on every message behind `start` is owed; before connect()."""
        self.streams[conversation] = Stream(start)

    # --- the connection

    def connect(self):
        """Opens the socket, authenticates and catches up with what came in the meantime."""
        self._socket = websocket.create_connection(self.ws, subprotocols=["pipit.v1"], timeout=REPLY_S,
                                                   enable_multithread=True)
        try:
            self._catch_up()
        except BaseException:
            self._socket.shutdown()
            self._socket = None
            raise
        self._socket.settimeout(None)
        self._reader = gevent.spawn(self._read, self._socket)

    def _catch_up(self):
        live = []
        self._post("auth", {"token": self.token})
        self._await_reply(live)
        self._post("sync", {conversation: stream.complete_to for conversation, stream in self.streams.items()})
        for page in self._await_reply(live):
            for item in page["items"]:
                self._arrived(item, "recovered")
        for data in live:
            self._arrived(data, "live")

    def close(self):
        if self._reader:
            self._reader.kill()
        if self._socket:
            self._socket.close(timeout=1)
        self._socket = None

    def _await_reply(self, live):
        """Reads until the answer to the last request; returns the sync pages that came before it."""
        pages = []
        while True:
            frame = json.loads(self._socket.recv())
            if frame["t"] == "sync":
                pages.append(frame["d"])
            elif frame["t"] in ("msg", "edit", "recall", "react"):
                live.append(frame["d"])
            elif frame.get("id") == self._next_id:
                if frame["t"] == "err":
                    raise Refused("connecting", frame["d"]["code"], frame["d"]["msg"])
                return pages

    def _read(self, connection):
        try:
            while True:
                opcode, data = connection.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    why = int.from_bytes(data[:2], "big") if len(data) >= 2 else "without a code"
                    break
                self._frame(json.loads(data))
        except (websocket.WebSocketException, OSError, ValueError) as error:
            why = error
        self._socket = None
        self.report("connection", 0, 0, f"closed: {why}")
        for reply in self._replies.values():
            reply.set(None)

    def _frame(self, frame):
        if frame["t"] in ("ok", "err"):
            reply = self._replies.get(frame.get("id"))
            if reply:
                reply.set(frame)
        elif frame["t"] in ("msg", "edit", "recall", "react"):
            self._arrived(frame["d"], "live")

    def _arrived(self, data, how):
        stream = self.streams.get(data["conversation"])
        if stream is None:
            return
        text = data.get("body", {}).get("text", "")
        number, sent_ns = parse_text(text)
        self._report_problems(getattr(stream, how)(data["seq"], data["from"], number))
        if how == "live" and sent_ns is not None:
            self.report("sent to received", (time.time_ns() - sent_ns) / 1e6, len(text), None)

    def _report_problems(self, problems):
        for problem in problems:
            self.report("check", 0, 0, problem)

    # --- requests

    def _post(self, kind, data):
        self._next_id += 1
        self._socket.send(json.dumps({"t": kind, "id": self._next_id, "d": data}))
        return self._next_id

    def _request(self, kind, data):
        """Returns the answer, or None when there was none in time or the connection ended."""
        reply = gevent.event.AsyncResult()
        number = self._next_id + 1
        self._replies[number] = reply
        try:
            self._post(kind, data)
            return reply.get(timeout=REPLY_S)
        except (gevent.Timeout, websocket.WebSocketException, OSError):
            return None
        finally:
            del self._replies[number]

    def _take(self, session):
        self.token, self._refresh = session["access_token"], session["refresh_token"]
        self._renew_at = time.monotonic() + session["expires_in_ms"] / 1000 * 0.6

    def _keep_logged_in(self):
        """Long runs outlive an access token; a connection that ended is opened again."""
        if time.monotonic() > self._renew_at:
            self._take(call("POST", self.rest + "/v1/token", {"refresh_token": self._refresh}))
            if self._socket:
                self._request("auth", {"token": self.token})
        if self._socket is None:
            self.connect()

    def send(self, conversation, size):
        """Sends the next text; returns after the server has it on disk, or after reporting a failure.
        Locust may end the greenlet that waits here; the message is then seen through all the same."""
        self._sending = gevent.spawn(self._send, conversation, size)
        self._sending.join()

    def finish_sending(self):
        """Waits for the message that is under way, if any."""
        if self._sending:
            self._sending.join()

    def _send(self, conversation, size):
        number = self._numbers[conversation] = self._numbers.get(conversation, 0) + 1
        message, started, wrong = message_id(), time.monotonic(), "no answer"
        text = make_text(number, size)
        data = {"conversation": conversation, "message": message, "body": {"text": text}}
        while time.monotonic() - started < SEND_PATIENCE_S:
            try:
                self._keep_logged_in()
            except (websocket.WebSocketException, requests.RequestException, OSError, Refused) as error:
                wrong = f"cannot connect: {error}"
                gevent.sleep(1)
                continue
            answer = self._request("send", data)
            if answer is None:
                continue
            if answer["t"] == "ok":
                self.report("sent to acknowledged", (time.monotonic() - started) * 1e3, len(text), None)
                self._report_problems(self.streams[conversation].own(answer["d"]["seq"], self.id, number))
                return
            wrong = answer["d"]["code"]
            if not answer["d"]["retryable"]:
                break
            gevent.sleep(answer["d"].get("retry_ms", 500) / 1000)
        self.report("sent to acknowledged", (time.monotonic() - started) * 1e3, len(text), wrong)

    def check_arrivals(self):
        """At the end: everything that the server has of the conversations must have come here."""
        if self._reader is None:
            return  # was stopped before it began
        for conversation, stream in self.streams.items():
            head = self.call("GET", f"/v1/conversations/{conversation}")["head"]
            started = time.monotonic()
            while (missing := stream.missing(head)) and time.monotonic() - started < ARRIVAL_S:
                gevent.sleep(0.02)
            some = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
            self.report("everything arrived", (time.monotonic() - started) * 1e3, 0,
                        f"lost: {len(missing)} of {head - stream.start} messages, seq {some}" if missing else None)


def make_text(number, size):
    """The sender's number and the time, filled up to `size` bytes."""
    return f"locust {number} {time.time_ns()} ".ljust(size, ".")


def parse_text(text):
    """Returns (number, time in ns), twice None for a text that make_text() did not make."""
    words = text.split(" ")
    if len(words) != 4 or words[0] != "locust":
        return None, None
    return int(words[1]), int(words[2])
