"""H2, H3, H4: which message is which.

Every proof that a message is stored (ok with a seq, delivery, show, final list) comes here. The first one fixes
where its id is and which id its seq has; each later one must agree, whoever tells it. An id that nobody has
invoked yet is kept until the end, so that lines with the same time in another order accuse nobody.
"""

from checks.state import Message

SAME_INSTANT = 0.002  # s: two processes' lines may be this much out of order


class Identity:
    def __init__(self, state, report):
        self.state, self.report = state, report
        self.strangers = {}  # id -> what was seen of it first, before any invocation

    # --- what is sent

    def invoked(self, event, client):
        """A send is invoked; returns its message."""
        state = self.state
        identity, conversation = event["id"], state.conversation(event["conversation"])
        message = state.messages.get(identity)
        if message is None:
            message = state.messages[identity] = Message(identity)
        if message.first_sent is None:
            t = event["t"]
            stranger = self.strangers.pop(identity, None)
            if stranger is not None and message.first_seen + SAME_INSTANT < t:
                self.report.violation("H2", identity, f"{stranger} but was first sent at t={t:.3f} "
                                                      f"(line {state.line})")
            message.first_sent = t
            kind = event.get("kind", "text")
            target = event.get("target") or None
            if stranger is not None:
                self._compare_late(message, event, conversation, kind, target)
            message.hash, message.kind, message.target = event.get("hash"), kind, target
            message.sender = client.device.user.name
            message.first_call = event["call"]
            message.origin = (client, event.get("protocol"))
            if message.conversation is None:
                message.conversation = conversation
        elif message.conversation is not conversation or message.hash != event.get("hash"):
            message.other_contents = (message.other_contents or set()) | {(conversation.id, event.get("hash"))}
        message.calls += 1
        message.calls_maybe += 1
        return message

    def _compare_late(self, message, event, conversation, kind, target):
        if message.conversation is not conversation or (message.hash or event.get("hash")) != event.get("hash") \
                or message.kind != kind:
            self.report.violation("H2", message.id, f"{self._name(message)} was delivered before it was sent, "
                                                    f"and with another content (line {self.state.line})")

    # --- what is stored

    def seen(self, conversation, identity, seq, t, what, client, event=None):
        """`what`, a line of `client`, proves that id is stored at (conversation, seq); `event` brings hash, kind,
        target and sender where the line has them. Returns the message."""
        message = self.state.messages.get(identity)
        if message is not None and message.seq == seq and message.conversation is conversation and (
                event is None or (message.hash == event.get("hash") and message.kind == "text"
                                  and "kind" not in event and event.get("sender", message.sender) == message.sender)):
            return message  # nearly always
        source = f"{what} {client.process}"
        if message is None:
            message = self._stranger(conversation, identity, seq, event, source)
        if message.seq != seq or message.conversation is not conversation:
            self._place(message, conversation, seq, t, source)
        if event is not None and message.first_sent is not None:
            found = event.get("hash", message.hash)
            sender = event.get("sender")
            if found != message.hash or (sender is not None and sender != message.sender) \
                    or event.get("kind", "text") != message.kind:
                self._wrong_content(message, event, source)
            elif message.target is not None and event.get("target", message.target) != message.target:
                self._wrong_content(message, event, source)
        return message

    def _stranger(self, conversation, identity, seq, event, source):
        if type(identity) is not str or not identity:
            raise ValueError(f"id {identity!r}")
        message = self.state.messages[identity] = Message(identity)
        self.strangers[identity] = (f"{identity} is at {conversation.id} seq {seq} in {source} "
                                    f"(line {self.state.line}, t={self.state.t:.3f})")
        if event is not None:
            message.hash, message.kind = event.get("hash"), event.get("kind", "text")
        return message

    def _place(self, message, conversation, seq, t, source):
        if type(seq) is not int or seq < 1:
            raise ValueError(f"seq {seq!r}")
        if message.seq is not None or message.conversation not in (None, conversation):
            others = message.other_contents
            if message.seq is None and others and any(other[0] == conversation.id for other in others):
                message.conversation = conversation  # the id was used for two conversations: either may win
            else:
                self._elsewhere(message, conversation, seq, source)
                self._take_place(message, conversation, seq, source)
                return
        message.conversation = conversation
        message.seq, message.seen_line = seq, self.state.line
        if message.first_seen is None:
            message.first_seen = t
        if seq > conversation.top:
            conversation.top = seq
        self._take_place(message, conversation, seq, source)

    def _take_place(self, message, conversation, seq, source):
        holder = conversation.at.setdefault(seq, message)
        if holder is not message:
            self.report.violation("H4", (conversation.id, seq, message.id),
                                  f"{conversation.id} seq {seq} is {holder.id} (line {holder.seen_line}) and "
                                  f"{message.id} in {source} (line {self.state.line}, t={self.state.t:.3f})")

    def _elsewhere(self, message, conversation, seq, source):
        was = f"seq {message.seq}" if message.seq is not None else "not yet seen"
        where = message.conversation.id if message.conversation is not None else "nowhere"
        self.report.violation("H3", (message.id, conversation.id, seq),
                              f"{message.id} sent to {where} ({was}, line {message.seen_line}) is also at "
                              f"{conversation.id} seq {seq} in {source} (line {self.state.line}, "
                              f"t={self.state.t:.3f})")

    def _name(self, message):
        where = message.conversation.id if message.conversation is not None else "?"
        return f"{message.id} ({where} seq {message.seq})"

    def _wrong_content(self, message, event, source):
        place = f"in {source} (line {self.state.line}, t={self.state.t:.3f})"
        kind, target = event.get("kind", "text"), event.get("target") or None
        sender = event.get("sender")
        if kind != message.kind or (message.target is not None and target not in (None, message.target)):
            self.report.violation("H9" if message.kind != "text" else "H2", (message.id, source, "kind"),
                                  f"{self._name(message)} was sent as {message.kind} of {message.target} and is "
                                  f"{kind} of {target} {place}")
            return
        if sender is not None and sender != message.sender:
            self.report.violation("H2", (message.id, "sender"), f"{self._name(message)} was sent by "
                                  f"{message.sender}, but {sender} is named {place}")
        found = event.get("hash", message.hash)
        if found != message.hash and not (message.kind == "recall" and not found):
            others = message.other_contents or ()
            if (message.conversation.id, found) in others:
                return
            self.report.violation("H2" if message.kind in ("text", "react") else "H9", (message.id, found),
                                  f"{self._name(message)} was sent with hash {message.hash} and has {found} {place}")

    # --- the end

    def finish(self):
        report = self.report
        for identity, stranger in self.strangers.items():
            report.violation("H2", identity, f"{stranger}, but nobody ever sent it")
        stored = 0
        for message in self.state.messages.values():
            if message.seq is None:
                continue
            stored += 1
            if message.calls and not message.calls_maybe:
                report.violation("H2", (message.id, "fail"), f"{self._name(message)} is stored (line "
                                 f"{message.seen_line}), but each of its {message.calls} sends was refused")
        report.examined["H2"] = report.examined["H3"] = stored
        report.examined["H4"] = sum(len(c.at) for c in self.state.conversations.values())
