"""H9: edits and recalls amount to the same on all devices.

That the lists agree on each edit's content and target is identity.py's. Here: what a device shows in the end
(`effective`) is what the changes in its own list amount to, the last by seq winning; a recalled body never
returns; and nobody edits what somebody else wrote.
"""

KINDS_OF_CHANGE = ("edit", "recall")


class Effective:
    """After finals.py, which gathers the lists."""

    def __init__(self, state, report, timelines):
        self.state, self.report, self.timelines = state, report, timelines

    def finish(self):
        for conversation in self.state.conversations.values():
            self._changes(conversation, self.timelines.of(conversation))

    def _changes(self, conversation, timeline):
        changes = {}
        for message in timeline.messages:
            if message.kind in KINDS_OF_CHANGE:
                self.report.examined["H9"] += 1
                self._target(conversation, message)
                changes.setdefault(message.target, []).append(message)
        for lines in conversation.lists:
            if lines.effective is not None:
                self._effective(lines, conversation, changes)

    def _target(self, conversation, change):
        target = conversation.at.get(change.target)
        if target is None or change.acked is None:
            return
        if change.kind == "edit" and target.sender is not None and target.sender != change.sender:
            self.report.violation("H9", (change.id, "author"),
                                  f"{change.id} by {change.sender} edits {conversation.id} seq {target.seq}, which "
                                  f"{target.sender} wrote, and was ok (line {change.acked_line})")
        if target.seq >= change.seq or target.kind != "text":
            self.report.violation("H9", (change.id, "target"),
                                  f"{change.id} ({conversation.id} seq {change.seq}) is ok as {change.kind} of seq "
                                  f"{target.seq}, which is a {target.kind} (line {change.acked_line})")

    def _effective(self, lines, conversation, changes):
        who = f"{lines.stream.client.device.name} of {lines.stream.pair.user.name}"
        seen = [seq for seq in set(changes) | set(lines.effective) if lines.joined < (seq or 0) < lines.next]
        for seq in seen:
            target = conversation.at.get(seq)
            if target is None:
                continue
            found = lines.effective.get(seq, target.hash)
            until = [c for c in changes.get(seq, ()) if c.seq < lines.next]
            allowed = {self._state(until[-1])} if until else {target.hash}
            if any(change.kind == "recall" for change in until):
                allowed.add("recalled")
            if found not in allowed:
                text = "the recalled body" if "recalled" in allowed and found == target.hash else found
                self.report.violation("H9", (who, conversation.id, seq),
                                      f"{who} shows {text} for {conversation.id} seq {seq}, whose state is "
                                      f"{' or '.join(sorted(map(str, allowed)))} (line {lines.line})")

    @staticmethod
    def _state(change):
        return "recalled" if change.kind == "recall" else change.hash
