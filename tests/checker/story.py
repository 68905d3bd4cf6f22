"""Short histories told line by line, for tests: a correct one, into which a test plants one violation.

A Story keeps what a correct server would: who is a member, the log, what each device was sent. The methods
write correct lines; `line` writes anything.
"""

from checks.engine import Engine
from checker import parse


def verdict(events, *arguments):
    """The Report on a list of events."""
    engine = Engine(parse(list(arguments)))
    engine.take(1, events)
    return engine.finish()


def violated(events, *arguments):
    """The set of checks that found a violation; a history that is no evidence fails the test."""
    report = verdict(events, *arguments)
    assert not report.problems, report.problems
    return {check for check, count in report.counts.items() if count}


class Story:
    def __init__(self, *users, conversation="c1"):
        self.t, self.events, self.conversation = 10.0, [], conversation
        self.log = []  # the send lines, in the order of seq
        self.members = dict.fromkeys(users, 0)
        self.calls = 0
        for user in users:
            self.line("boss", "member_at", subject=user, conversation=conversation, state="active", joined=0)

    def line(self, user, op, phase="ok", **members):
        self.t = round(self.t + 0.01, 6)
        event = {"t": self.t, "process": f"{user}-ws", "user": user, "device": f"{user}-d", "protocol": "ws",
                 "op": op, "phase": phase, **members}
        self.events.append(event)
        return event

    def wait(self, seconds):
        self.t += seconds

    # --- messages

    def invoke(self, user, identity=None, **members):
        """A send; returns its line."""
        self.calls += 1
        members = {"conversation": self.conversation, "hash": f"{self.calls:016x}", **members}
        return self.line(user, "send", "invoke", call=self.calls, id=identity or f"{self.calls:032x}", **members)

    def outcome(self, sent, phase="ok", seq=None):
        return self.line(sent["user"], "send", phase, call=sent["call"], protocol=sent["protocol"],
                         **({"seq": seq} if seq else {}))

    def store(self, sent):
        self.log.append(sent)
        return len(self.log)

    def deliver(self, user, seq, source="live", sent=None, **members):
        """What is at seq, or `sent` in its place."""
        sent = sent or self.log[seq - 1]
        special = {key: sent[key] for key in ("kind", "target") if key in sent}
        members = {"id": sent["id"], "hash": sent["hash"], "sender": sent["user"], **special, **members}
        return self.line(user, "deliver", conversation=self.conversation, seq=seq, source=source, **members)

    def all_reconnect(self):
        """Everybody is told of a gap: what came before need not come live any more."""
        for user in self.members:
            self.line(user, "gap")

    def show(self, user, seq):
        return self.line(user, "show", conversation=self.conversation, seq=seq, id=self.log[seq - 1]["id"])

    def say(self, user, to=None, **members):
        """One message from the keyboard to all screens; returns its seq."""
        sent = self.invoke(user, **members)
        seq = self.store(sent)
        self.outcome(sent, seq=seq)
        self.show(user, seq)
        for other in self.members if to is None else to:
            if other != user:
                self.deliver(other, seq)
                self.show(other, seq)
        return seq

    # --- members

    def change(self, action, subject, phase="ok", actor="boss", **members):
        """An invocation and its outcome."""
        self.calls += 1
        members = {"call": self.calls, "subject": subject, "action": action, **members}
        if action in ("add", "remove", "block", "unblock"):
            members["conversation"] = self.conversation
        self.line(actor, "member", "invoke", protocol="rest", **members)
        if action == "add":
            self.members[subject] = len(self.log)
        if action == "remove":
            self.members.pop(subject, None)
        return self.line(actor, "member", phase, protocol="rest", **members)

    def mark(self, user, phase="ok", protocol="rest", **members):
        self.calls += 1
        members = {"call": self.calls, "conversation": self.conversation, "protocol": protocol, **members}
        self.line(user, "mark", "invoke", **members)
        return self.line(user, "mark", phase, **members)

    def cursor(self, user, subject, **members):
        """A list that was asked for just now."""
        asked = round(self.t + 0.005, 6)
        return self.line(user, "cursor", subject=subject, conversation=self.conversation, asked=asked, **members)

    # --- the end

    def finish(self, without=(), read=None):
        """Heal, patience, the final lists; returns the events."""
        self.line("nemesis", "heal")
        self.wait(30)
        state = {}
        for sent in self.log:
            if sent.get("kind") in ("edit", "recall"):
                state[sent["target"]] = "recalled" if sent["kind"] == "recall" else sent["hash"]
        for user, joined in self.members.items():
            if user in without:
                continue
            asked = self.t
            for seq, sent in enumerate(self.log, 1):
                if seq > joined:
                    special = {key: sent[key] for key in ("kind", "target") if key in sent}
                    self.line(user, "final", conversation=self.conversation, seq=seq, id=sent["id"],
                              hash=sent["hash"], effective=state.get(seq, sent["hash"]), **special)
            was_read = (read or {}).get(user, joined)
            head = len(self.log)
            self.line(user, "final_end", conversation=self.conversation, head=head, joined=joined, read=was_read,
                      unread=head - max(was_read, joined), asked=asked)
        return self.events


def find(events, op, phase="ok", number=0, **members):
    """The index of the number-th such event (negative: from the end)."""
    return [index for index, event in enumerate(events) if event["op"] == op and event["phase"] == phase
            and all(event.get(key) == value for key, value in members.items())][number]


def without(events, op, phase="ok", **members):
    """The events but such ones; there must be some."""
    left = [event for event in events if not (event["op"] == op and event["phase"] == phase and all(
        event.get(key) == value for key, value in members.items()))]
    assert len(left) < len(events)
    return left


def edit(events, op, phase="ok", number=0, where=None, **changes):
    """Changes one event."""
    events[find(events, op, phase, number, **(where or {}))].update(changes)
    return events


def talk(messages=6):
    """Ann, Ben and Cat; everything right."""
    story = Story("ann", "ben", "cat")
    for number in range(messages):
        story.say(("ann", "ben", "cat")[number % 3])
    return story
