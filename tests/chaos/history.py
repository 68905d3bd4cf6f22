"""The record of a campaign, one line an event (tests/checker/FORMAT.md), and counts for the progress line.

Lines are formatted by hand: a campaign writes millions of them on the processor that the services share.
"""

import hashlib
import json
import time


def body_hash(text):
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class History:
    def __init__(self, path):
        self.path = path
        self.file = open(path, "w", buffering=1 << 20)
        self.acked = self.delivered = self.shown = self.sent = 0

    def write(self, text):
        """`text` is the line's members but `t`; returns the time it was given."""
        now = time.monotonic()
        self.file.write(f'{{"t":{now:.6f},{text}}}\n')
        return now

    def event(self, process, op, phase, **members):
        members = {k: v for k, v in members.items() if v is not None}
        return self.write(json.dumps({"process": process, "op": op, "phase": phase, **members},
                                     separators=(",", ":"))[1:-1])

    def close(self):
        self.file.close()


class Voice:
    """Lines of one process: a device, or somebody who speaks for a user."""

    def __init__(self, history, process, user, device):
        self.history, self.calls = history, 0
        self.process, self.user, self.device = process, user, device
        self.head = f'"process":"{process}","user":"{user}","device":"{device}",'

    def next_call(self):
        self.calls += 1
        return self.calls

    def write(self, protocol, op, phase, rest):
        return self.history.write(f'{self.head}"protocol":"{protocol}","op":"{op}","phase":"{phase}"{rest}')

    def event(self, protocol, op, phase, **members):
        rest = "".join(f',"{k}":{json.dumps(v)}' for k, v in members.items() if v is not None)
        return self.write(protocol, op, phase, rest)

    def send_invoke(self, protocol, call, message):
        self.history.sent += 1
        special = "" if message.kind == "text" else f',"kind":"{message.kind}","target":{message.target}'
        return self.write(protocol, "send", "invoke",
                          f',"call":{call},"conversation":"{message.conversation}","id":"{message.id}",'
                          f'"hash":"{message.hash}"{special}')

    def send_result(self, protocol, call, message, phase, seq=None, code=None):
        rest = f',"call":{call},"conversation":"{message.conversation}","id":"{message.id}"'
        if seq:
            rest += f',"seq":{seq}'
        if code:
            rest += f',"code":"{code}"'
        return self.write(protocol, "send", phase, rest)

    def deliver(self, protocol, event, source):
        self.history.delivered += 1
        special = "" if event.kind == "text" else f',"kind":"{event.kind}","target":{event.target}'
        return self.write(protocol, "deliver", "ok",
                          f',"conversation":"{event.conversation}","seq":{event.seq},"id":"{event.id}",'
                          f'"hash":"{event.hash}","sender":"{event.sender}","source":"{source}"{special}')

    def show(self, protocol, conversation, seq, identity):
        self.history.shown += 1
        return self.write(protocol, "show", "ok",
                          f',"conversation":"{conversation}","seq":{seq},"id":"{identity}"')

    def final(self, protocol, event):
        special = "" if event.kind == "text" else f',"kind":"{event.kind}","target":{event.target}'
        return self.write(protocol, "final", "ok",
                          f',"conversation":"{event.conversation}","seq":{event.seq},"id":"{event.id}",'
                          f'"hash":"{event.hash}"{special}')


class Event:
    """A stored event as any protocol told it."""

    __slots__ = ("kind", "target", "conversation", "seq", "id", "hash", "sender")

    def __init__(self, kind, data):
        self.conversation, self.seq = data["conversation"], data["seq"]
        self.sender = data.get("from", "")
        self.target = data.get("target", 0)
        text = content(kind, data)
        # A message without an id of its own carries one in its text, so that copies can be told.
        self.id = text[1:33] if text[:1] == "~" else data["message"].replace("-", "")
        self.hash = body_hash(text)
        self.kind = "text" if kind == "msg" else kind


def content(kind, data):
    if kind in ("msg", "edit"):
        return data.get("body", {}).get("text", "")
    if kind == "react":
        return data.get("emoji", "") + ("-" if data.get("removed") else "")
    return ""
