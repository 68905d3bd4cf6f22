"""H1 and the dense lists of H4: what every device can read in the end.

A list must be whole: each seq behind `joined` up to `head`, and `head` at least what was stored before the list
was asked for. Lists that are whole and agree on each seq (identity.py) are one history; it must have every
acknowledged message. Every device that ever got something owes a list of every conversation whose certain
member its user is, unless its login was ended.
"""


class FinalList:
    """One conversation as one client listed it."""

    __slots__ = ("stream", "first", "next", "holes", "late", "head", "joined", "asked", "line", "effective", "count")

    def __init__(self, stream, seq, t, line):
        self.stream, self.first, self.next = stream, seq, seq
        self.holes = []  # [(first, last)]
        self.late = set()  # seqs that came after higher ones
        self.head = self.joined = None
        self.asked, self.line = t, line
        self.effective = None  # seq -> what the client shows for it in the end, where that is not the body
        self.count = 0

    def beyond(self, seq):
        """Takes a line that is not the next one; False: the seq was listed before."""
        if seq > self.next:
            self.holes.append((self.next, seq - 1))
            self.next = seq + 1
            return True
        if seq < self.first:
            self.holes.insert(0, (seq + 1, self.first - 1))
            self.first = seq
            return True
        if seq in self.late or not any(low <= seq <= high for low, high in self.holes):
            return False
        self.late.add(seq)
        return True

    def missing(self, limit):
        """Seqs between joined and head that were not listed, `limit` at most."""
        ranges = list(self.holes)
        if self.count:
            ranges += [(self.joined + 1, self.first - 1), (self.next, self.head)]
        else:
            ranges.append((self.joined + 1, self.head))
        found = []
        for low, high in ranges:
            for seq in range(max(low, self.joined + 1), high + 1):
                if seq not in self.late:
                    found.append(seq)
                    if len(found) >= limit:
                        return found
        return found


class Finals:
    def __init__(self, state, report, members, timelines):
        self.state, self.report, self.members, self.timelines = state, report, members, timelines
        self.ended, self.healed = 0, 0.0
        self.unlisted = {}  # conversation id -> messages in no list
        self.lost = set()  # ids that were told as being in no list

    # --- reading

    def listed(self, stream, message, seq, event):
        lines = stream.list
        if lines is None:
            lines = stream.list = FinalList(stream, seq, event["t"], self.state.line)
        if seq == lines.next:
            lines.next = seq + 1
        elif not lines.beyond(seq):
            self.report.violation("H3", (stream.client.process, stream.conversation.id, seq, "listed"),
                                  f"{self._who(stream)} lists {stream.conversation.id} seq {seq} twice (line "
                                  f"{self.state.line})")
        lines.count += 1
        message.in_final = True
        effective = event.get("effective")
        if effective is not None:
            if lines.effective is None:
                lines.effective = {}
            if effective != message.hash:
                lines.effective[seq] = effective

    def ends(self, stream, event):
        """Returns the list that ended."""
        lines = stream.list or FinalList(stream, 1, event["t"], self.state.line)
        stream.list = None
        lines.head, lines.joined = event["head"], event.get("joined")
        if type(lines.head) is not int or type(lines.joined or 0) is not int:
            raise ValueError("head or joined is no number")
        lines.asked = event.get("asked", self.healed)  # without it: it was after the heal
        lines.line = self.state.line
        stream.lists_ended = lines
        self.ended += 1
        return lines

    def heal(self, t):
        """Lists from before do not count."""
        self.healed = t
        for client in self.state.clients.values():
            for stream in client.streams.values():
                stream.list = stream.lists_ended = None
        self.ended = 0

    # --- the end

    def finish(self):
        self.unlisted = self._unlisted()
        for conversation in self.state.conversations.values():
            self._finish_conversation(conversation)
        if self.ended:  # else there is no evidence at all
            self._missing_lists()

    def _finish_conversation(self, conversation):
        timeline = self.timelines.of(conversation)
        for client in self.state.clients.values():
            stream = client.streams.get(conversation.id)
            if stream is None:
                continue
            if stream.list is not None:
                self.report.problems.append(f"{self._who(stream)} began a final list of {conversation.id} at line "
                                            f"{stream.list.line} and did not end it")
            if stream.lists_ended is not None:
                conversation.lists.append(stream.lists_ended)
        self._in_no_list(conversation, timeline)
        for lines in conversation.lists:
            self._whole(lines, timeline)

    def _whole(self, lines, timeline):
        stream = lines.stream
        conversation, report, who = stream.conversation, self.report, self._who(stream)
        member = stream.pair.member
        if lines.joined is None:
            lines.joined = member.floor if member is not None and member.floor_known else lines.first - 1
        elif member is not None:
            self.members.listed(stream.pair, member, lines)
        stored = timeline.stored_before(lines.asked)
        report.examined["H1"] += max(0, stored - lines.joined)
        for seq in lines.missing(1000):
            message = conversation.at.get(seq)
            self._missing(lines, message, seq, "has a hole there")
        if member is None or not member.certainly_in or conversation.block_seen is not None:
            return  # the list may be of a time when the user was none any more
        for message in timeline.known_between(max(lines.head, lines.joined), stored)[:1000]:
            self._missing(lines, message, message.seq, f"ends at {lines.head}")
        last = lines.next - 1
        if lines.count and last > lines.head:
            report.violation("H4", (who, conversation.id, "head"), f"{who} lists {conversation.id} seq {last} beyond "
                                                                   f"its head {lines.head} (line {lines.line})")

    def _missing(self, lines, message, seq, why):
        stream = lines.stream
        who, conversation = self._who(stream), stream.conversation
        tail = f"is missing in the final list of {who}, which {why} (line {lines.line})"
        if message is not None and message.id in self.lost:
            return  # in nobody's list: told once
        if message is not None and message.acked is not None and message.acked < lines.asked:
            self.report.violation("H1", (who, conversation.id, seq),
                                  f"{message.id} was ok as {conversation.id} seq {seq} at t={message.acked:.3f} (line "
                                  f"{message.acked_line}) and {tail}")
        else:
            known = f"{message.id}, seen at line {message.seen_line}," if message is not None else "of unknown id"
            self.report.violation("H4", (who, conversation.id, seq), f"{conversation.id} seq {seq}, {known} {tail}")

    def _in_no_list(self, conversation, timeline):
        """Acknowledged or delivered, and in nobody's list although lists exist that go so far back."""
        if not conversation.lists:
            return
        asked = min(lines.asked for lines in conversation.lists)
        sees_from = min(lines.joined for lines in conversation.lists)
        for message in self.unlisted.get(conversation.id, ()):
            if message.seq is None:  # no protocol told it: certainly visible when sees_from was stored before
                visible = timeline.stored_before(message.first_sent or 0.0) >= sees_from
            else:
                visible = message.seq > sees_from
            if not visible:
                continue
            if message.acked is not None and message.acked < asked:
                self.lost.add(message.id)
                self.report.violation("H1", (message.id, "all"),
                                      f"{message.id} was ok as {conversation.id} seq {message.seq} at "
                                      f"t={message.acked:.3f} (line {message.acked_line}) and is in no final list")
            elif message.first_seen is not None and message.first_seen < asked:
                self.report.violation("H10", (message.id, "all"),
                                      f"{message.id} was delivered as {conversation.id} seq {message.seq} (line "
                                      f"{message.seen_line}, t={message.first_seen:.3f}) and is in no final list")

    def _unlisted(self):
        """conversation id -> its messages that are in no list, those without a known seq, too."""
        found = {}
        for message in self.state.messages.values():
            if message.conversation is not None and not message.in_final:
                found.setdefault(message.conversation.id, []).append(message)
        return found

    def _missing_lists(self):
        for user in self.state.users.values():
            for device in user.devices.values():
                if device.receives and not device.may_be_out:
                    self._lists_of(device)

    def _lists_of(self, device):
        have = {c.id for client in device.clients for c in
                (s.conversation for s in client.streams.values() if s.lists_ended is not None)}
        owed = [c for c in self.state.conversations.values()
                if (pair := c.pairs.get(device.user.name)) is not None and pair.member is not None
                and pair.member.certainly_in and c.block_seen is None and c.id not in have]
        if not owed:
            return
        if not have:
            self.report.violation("H1", (device.user.name, device.name, "lists"),
                                  f"{device.name} of {device.user.name} gave no final list at all after the heal")
            return
        for conversation in owed:
            self.report.violation("H1", (device.user.name, device.name, conversation.id, "list"),
                                  f"{device.name} of {device.user.name} gave no final list of {conversation.id}, "
                                  f"though its user is a member")

    def _who(self, stream):
        return f"{stream.client.device.name} of {stream.pair.user.name}"
