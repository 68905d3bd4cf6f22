"""One pass over a history: each event goes to the checks it concerns, then the checks finish.

The order of the calls for a delivery is the order in which they rest on each other: which message it is
(identity), whether the user may have it (members), whether its stream is whole (streams).
"""

from checks.calls import Call, Calls
from checks.changes import Changes
from checks.cursors import Cursors
from checks.effective import Effective
from checks.faults import Faults
from checks.finals import Finals
from checks.identity import Identity
from checks.latency import Latency
from checks.members import Members
from checks.order import Order
from checks.report import Report
from checks.state import State
from checks.streams import Streams
from checks.timeline import Timelines

DISORDER_S = 0.005  # lines of several writers may be so much out of order
UNREADABLE_TOLD = 10


class Engine:
    def __init__(self, options):
        self.options = options
        self.state = state = State()
        self.report = report = Report(options.explain)
        timelines = Timelines()
        self.faults = Faults(options.strict_deadlines)
        self.identity = Identity(state, report)
        self.order = Order(state, report, timelines)
        self.members = Members(state, report, self.faults, options)
        self.finals = Finals(state, report, self.members, timelines)
        self.streams = Streams(state, report, self.faults, options, timelines)
        self.cursors = Cursors(state, report)
        self.changes = Changes(state, self.members, self.cursors)
        self.latency = Latency(state, report, self.faults, options)
        self.effective = Effective(state, report, timelines)
        self.calls = Calls(self._problem)
        self.problems = 0
        self.acked = self.delivered = self.live = self.shown = self.sends = self.events = self.fault_count = 0
        self.handlers = {name[4:]: getattr(self, name) for name in dir(self) if name.startswith("_on_")}

    # --- reading

    def take(self, first_line, events):
        """A batch of events; a line that is no event of the format makes the history no evidence."""
        state, handlers = self.state, self.handlers
        for line, event in enumerate(events, first_line):
            if event is None:
                continue
            state.line = line
            try:
                t = event["t"]
                if t > state.t:
                    state.t = t
                elif t < state.t - DISORDER_S:
                    self._problem(f"t goes back from {state.t} to {t}")
                handlers[event["op"]](event, t)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._problem(f"{type(error).__name__} {error} in {str(event)[:120]}")
        self.events += len(events) - events.count(None)

    def _problem(self, text):
        self.problems += 1
        if self.problems <= UNREADABLE_TOLD:
            self.report.problems.append(f"line {self.state.line}: {text}")

    # --- messages

    def _on_send(self, event, t):
        state = self.state
        client = state.client(event)
        if event["phase"] == "invoke":
            self._send_invoked(event, client, t)
            return
        call, was_unknown = self.calls.end(event)
        if call is None:
            return
        message = call.message
        if event["phase"] == "fail":
            message.calls_maybe -= 1
        elif event["phase"] == "ok":
            self._send_ok(event, client, call, message, t, was_unknown)

    def _send_invoked(self, event, client, t):
        message = self.identity.invoked(event, client)
        conversation = self.state.conversation(event["conversation"])
        other = event.get("to")
        if other is not None:
            for name in (client.device.user.name, other):
                pair = self.state.pair(name, conversation)
                if self.members.of(pair).base is None and not pair.member.adds_open:
                    pair.member.begins(t, 0)
        bar = self.members.bar(client, conversation, t)
        self.calls.begin(event, Call("send", t, None, message, bar))
        self.sends += 1
        if self.latency.asked_since is None:
            self.latency.asked_since = t

    def _send_ok(self, event, client, call, message, t, was_unknown):
        seq = event.get("seq")
        if message.acked is None:
            message.acked, message.acked_line = t, self.state.line
            self.acked += 1
            if message.first_seen is None:
                message.first_seen = t
        if event["call"] == message.first_call and client is message.origin[0] and not was_unknown:
            message.first_ok = True
            message.sole_ok = message.calls == 1
        if seq:
            conversation = message.conversation
            self.identity.seen(conversation, message.id, seq, t, "the ok to", client)
            stream = self.state.stream(client, conversation.id)
            self.streams.own(stream, seq)
            if seq > stream.pair.had:
                self.cursors.had(stream.pair, seq, t)
        if call.bar is not None:
            self.members.accepted(client, message, call.bar, call.t, t)
        if self.latency.waiting:
            self.latency.answered(t)
        self.latency.asked_since = None

    def _on_deliver(self, event, t):
        stream = self.state.streams.get((event["process"], event["user"], event["device"], event["conversation"])) \
            or self.state.stream_of(event)
        seq, source, pair = event["seq"], event["source"], stream.pair
        message = self.identity.seen(stream.conversation, event["id"], seq, t, "a delivery to", stream.client, event)
        if seq < pair.trusted_from or self.members.bans or stream.conversation.blockers:
            self.members.delivered(stream, message, seq, t, source)
        self.delivered += 1
        if seq == stream.shown_next:
            stream.next_came = seq
        if stream.protocol is None:
            stream.protocol = event.get("protocol", "ws")
            stream.client.device.receives = True
        if source == "live":
            self.live += 1
            if seq - 1 == stream.live and not stream.ahead:
                stream.live = seq
            else:
                self.streams.live_beyond(stream, message, seq, t)
            if message.acked is None or stream.client.last_gap < message.acked:
                message.last_live = t
            if message.origin is not None and message.origin[0] is stream.client:
                self.streams.own_came(message, stream, event)
        elif source == "sync":
            self.streams.synced(stream, seq)
        else:
            raise ValueError(f"source {source!r}")
        if seq > pair.had:
            self.cursors.had(pair, seq, t)

    def _on_show(self, event, t):
        stream = self.state.streams.get((event["process"], event["user"], event["device"], event["conversation"])) \
            or self.state.stream_of(event)
        seq = event["seq"]
        self.identity.seen(stream.conversation, event["id"], seq, t, "what was shown by", stream.client)
        self.shown += 1
        if seq == stream.shown_next:
            stream.shown_next = seq + 1
        else:
            stream.client.device.receives = True
            self.streams.shown_beyond(stream, seq, t)

    def _on_gap(self, event, t):
        client = self.state.client(event)
        client.device.receives = True
        self.streams.gap(client, event.get("conversation"), event.get("resumed", False), t)

    def _on_final(self, event, t):
        stream = self.state.streams.get((event["process"], event["user"], event["device"], event["conversation"])) \
            or self.state.stream_of(event)
        seq, pair = event["seq"], stream.pair
        message = self.identity.seen(stream.conversation, event["id"], seq, t, "the final list of", stream.client,
                                     event)
        if seq < pair.trusted_from or self.members.bans or stream.conversation.blockers:
            self.members.delivered(stream, message, seq, t, "in a final list")
        self.finals.listed(stream, message, seq, event)
        if seq > pair.had:
            self.cursors.had(pair, seq, t)

    def _on_final_end(self, event, t):
        client = self.state.client(event)
        stream = self.state.stream(client, event["conversation"])
        lines = self.finals.ends(stream, event)
        if event.get("read") is not None:
            self.cursors.shown(client, client.device.user.name, stream.conversation, event, lines.asked)

    # --- memberships

    def _on_member_at(self, event, t):
        self.members.told(event, event["phase"])

    def _on_member(self, event, t):
        if event["phase"] == "invoke":
            self.calls.begin(event, Call("member", t, self.changes.invoked(event, t), action=event["action"]))
            return
        call, _ = self.calls.end(event)
        if call is not None:
            self.changes.done(event, call, t)

    def _on_revoked(self, event, t):
        self.state.client(event).last_gap = t

    # --- cursors

    def _on_mark(self, event, t):
        client = self.state.client(event)
        if event["phase"] == "invoke":
            conversation = self.state.conversation(event["conversation"])
            self.calls.begin(event, Call("mark", t, conversation, dict(event)))
            return
        call, _ = self.calls.end(event)
        if call is not None:
            merged = {**call.message, **event}
            self.cursors.marked(client, call.subject, merged, event["phase"], merged.get("protocol"))

    def _on_cursor(self, event, t):
        client, conversation = self.state.client(event), self.state.conversation(event["conversation"])
        self.cursors.shown(client, event["subject"], conversation, event, event.get("asked"))

    def _on_receipt(self, event, t):
        client, conversation = self.state.client(event), self.state.conversation(event["conversation"])
        self.cursors.receipt(client, event["subject"], conversation, event)

    # --- faults

    def _on_fault(self, event, t):
        key = (event.get("process"), event.get("number", event.get("call")))
        if event["phase"] == "invoke":
            self.fault_count += 1
            self.faults.begin(key, event["class"], t, self.state.line)
        else:
            fault = self.faults.open.get(key)
            if not self.faults.end(key, t):
                self._problem("a fault ends that did not begin")
            else:
                self.latency.ended(fault)

    def _on_heal(self, event, t):
        self.state.heal = t
        self.faults.heal(t)
        self.finals.heal(t)

    # --- the end

    def finish(self):
        for check in (self.identity, self.members, self.order, self.finals, self.effective, self.streams, self.cursors,
                      self.latency):
            check.finish()
        self._evidence()
        return self.report

    def _evidence(self):
        """A history that proves nothing must not pass."""
        options, report = self.options, self.report
        report.examined["H6"] += self.delivered + self.acked
        report.examined["H10"] = self.live + self.shown
        if self.problems > UNREADABLE_TOLD:
            report.problems.append(f"{self.problems - UNREADABLE_TOLD} more unreadable lines")
        numbers = {"events": self.events, "faults": self.fault_count, "sends": self.sends, "acked": self.acked,
                   "delivered": self.delivered, "final lists": self.finals.ended}
        report.numbers = {**numbers, **report.numbers}
        if self.state.heal is None:
            report.problems.append("there is no heal: the final lists prove nothing")
        elif not self.finals.ended:
            report.problems.append("no final list ended after the heal")
        for name, least in (("faults", options.min_faults), ("acked", options.min_acked),
                            ("delivered", options.min_delivered), ("final lists", options.min_finals)):
            if numbers[name] < least:
                report.problems.append(f"{numbers[name]} {name}, at least {least} are needed")
        for check in options.require:
            if not report.examined.get(check):
                report.problems.append(f"{check} examined nothing, but is required")
