"""H5: the order of storing follows real time, and one connection's pipelined sends keep their order.

Real time: what was known to be stored before another message was first sent has the lower seq. "Known" is the
first ok or the first delivery to anybody; "first sent" the first invocation of the id by anybody. That is all
a correct system promises; overlapping sends may be stored either way.

Pipelined: of two messages of one client, protocol and conversation, both acknowledged by their first invocation,
the one invoked first has the lower seq. The second must not have been sent on any other way before its ok: that
copy may have overtaken. REST requests are no pipeline.
"""


class Order:
    def __init__(self, state, report, timelines):
        self.state, self.report, self.timelines = state, report, timelines

    def finish(self):
        for conversation in self.state.conversations.values():
            timeline = self.timelines.of(conversation)
            self._real_time(conversation, timeline)
            self._pipelines(conversation, timeline)
            self.report.examined["H5"] += max(0, len(timeline.seqs) - 1)

    def _real_time(self, conversation, timeline):
        latest_sent, later = -1.0, None
        for message in timeline.messages:
            if later is not None and message.first_seen < latest_sent:
                self.report.violation(
                    "H5", message.id,
                    f"{conversation.id}: {message.id} was stored by t={message.first_seen:.3f} (line "
                    f"{message.seen_line}) with seq {message.seq}, but {later.id}, first sent later at "
                    f"t={latest_sent:.3f}, has seq {later.seq}")
            if message.first_sent is not None and message.first_sent > latest_sent:
                latest_sent, later = message.first_sent, message

    def _pipelines(self, conversation, timeline):
        sent = [m for m in timeline.messages if m.first_ok and m.origin[1] != "rest"]
        sent.sort(key=lambda message: message.first_sent)
        highest = {}
        for message in sent:
            before = highest.get(message.origin)
            if before is not None and message.seq < before.seq:
                if message.sole_ok:
                    self.report.violation(
                        "H5", (message.id, "pipeline"),
                        f"{conversation.id}: {message.origin[0].process} sent {before.id} at "
                        f"t={before.first_sent:.3f} and then {message.id} at t={message.first_sent:.3f}, both were "
                        f"ok at once, but their seqs are {before.seq} and {message.seq}")
                continue
            highest[message.origin] = message
