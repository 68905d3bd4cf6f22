"""H7 and H8: cursors never fall, unread is derived, and receipts are true.

What a device sees in a list must not be lower than what the same device saw in an earlier list, nor than any
mark that was durably ok before the list was asked for. A list whose `asked` is not told may be as old as the
history: clients have several requests under way. Marks of sockets are collected before they are written, so only the ok of
REST is durable. A change of membership may start cursors anew, so it ends every obligation from before.

A receipt (and a cursor in a list) names a seq that some device of that user had been sent, or the user sent. The
two clients' clocks are one, but a server may count as sent what is still on its way: `LAG_S` of patience.
"""

from bisect import bisect_left

LAG_S = 1.0


class Cursors:
    def __init__(self, state, report):
        self.state, self.report = state, report

    # --- marks

    def marked(self, client, conversation, event, phase, protocol):
        """The outcome of a mark."""
        if phase != "ok" or protocol != "rest":
            return
        read = min(event.get("read") or 0, conversation.top)
        delivered = max(min(event.get("delivered") or 0, conversation.top), read)
        pair = self.state.pair(client.device.user.name, conversation)
        if pair.floors is None:
            pair.floors = []
        if pair.floors:
            _, last_read, last_delivered = pair.floors[-1]
            read, delivered = max(read, last_read), max(delivered, last_delivered)
        pair.floors.append((event["t"], read, delivered))

    def membership_changed(self, pair):
        pair.epoch += 1
        pair.floors = None

    # --- lists

    def shown(self, client, subject, conversation, event, asked):
        """Cursors of `subject` in a list, or in the end of a final list."""
        pair = self.state.pair(subject, conversation)
        read, delivered = event.get("read"), event.get("delivered")
        self.report.examined["H7"] += 1
        where = f"(line {self.state.line}, t={event['t']:.3f})"
        self._arithmetic(client, pair, event, where)
        if not pair.unstable:
            self._against_earlier(client, pair, read, delivered, asked, where)
            self._against_marks(client, pair, read, delivered, asked, where)
        highest = max(read or 0, delivered or 0)
        if highest > pair.had:
            self._owe(pair, highest, event["t"], f"{client.process}'s list")

    def _arithmetic(self, client, pair, event, where):
        read, head, unread, joined = (event.get(k) for k in ("read", "head", "unread", "joined"))
        what = f"of {pair.user.name} in {pair.conversation.id}"
        if unread is not None and None not in (read, head, joined):
            derived = max(0, head - max(read, joined))
            if unread != derived:
                self._fell(pair, "unread", f"{client.process} was told unread {unread} {what}, but head {head} - "
                                           f"max(read {read}, joined {joined}) is {derived} {where}")
        delivered = event.get("delivered")
        if delivered is not None and read is not None and read > delivered:
            self._fell(pair, "order", f"read {read} is beyond delivered {delivered} {what} {where}")
        if head is not None and max(read or 0, delivered or 0) > head:
            self._fell(pair, "head", f"a cursor (read {read}, delivered {delivered}) {what} is beyond head {head} "
                                     f"{where}")

    def _fell(self, pair, what, text):
        self.report.violation("H7", (pair.user.name, pair.conversation.id, what, self.state.line), text)

    def _against_earlier(self, client, pair, read, delivered, asked, where):
        key = (pair.user.name, pair.conversation.id)
        earlier = client.reads.get(key)
        highest = [read or 0, delivered or 0, self.state.t, self.state.line, pair.epoch]
        if earlier is not None and earlier[4] == pair.epoch:
            in_order = asked is not None and asked >= earlier[2]
            for index, name, value in ((0, "read", read), (1, "delivered", delivered)):
                if in_order and value is not None and value < earlier[index]:
                    self._fell(pair, name, f"{client.process} saw the {name} cursor of {pair.user.name} in "
                                           f"{pair.conversation.id} fall from {earlier[index]} (line {earlier[3]}) "
                                           f"to {value} {where}")
                highest[index] = max(highest[index], earlier[index])
        client.reads[key] = highest

    def _against_marks(self, client, pair, read, delivered, asked, where):
        if not pair.floors or asked is None:
            return
        place = bisect_left(pair.floors, asked, key=lambda floor: floor[0])
        bound = pair.floors[place - 1] if place else None
        if bound is None:
            return
        for index, name, value in ((1, "read", read), (2, "delivered", delivered)):
            if value is not None and value < bound[index]:
                self._fell(pair, f"lost {name}", f"{pair.user.name}'s mark {name} {bound[index]} in "
                           f"{pair.conversation.id} was ok at t={bound[0]:.3f}, but {client.process} was told "
                           f"{value} {where}")

    # --- receipts

    def receipt(self, client, subject, conversation, event):
        pair = self.state.pair(subject, conversation)
        self.report.examined["H8"] += 1
        highest = max(event.get("read") or 0, event.get("delivered") or 0)
        if highest > pair.had:
            self._owe(pair, highest, event["t"], client.process)

    def _owe(self, pair, seq, t, who):
        if pair.owed is None:
            pair.owed = []
        pair.owed.append((seq, t, self.state.line, who))

    def had(self, pair, seq, t):
        """A device of the user got `seq`, or the user's message became `seq`: called when that is a new highest."""
        pair.had = seq
        if pair.owed:
            later = []
            for owed in pair.owed:
                if owed[0] > seq:
                    later.append(owed)
                elif t - owed[1] > LAG_S:
                    self._check(pair, owed, f"the user's devices got it at t={t:.3f} only")
            pair.owed = later

    def _check(self, pair, owed, why):
        seq, t, line, who = owed
        message = pair.conversation.at.get(seq)
        if message is not None and message.sender == pair.user.name and message.first_sent is not None \
                and message.first_sent <= t:
            return  # the user's own
        if pair.member is not None and (seq <= pair.member.floor or (
                message is not None and (message.first_sent or 0) <= pair.member.add_until)):
            return  # cursors begin at the joining, and it may have been stored before that
        self.report.violation("H8", (pair.user.name, pair.conversation.id, seq),
                              f"{who} was told at t={t:.3f} (line {line}) that {pair.user.name} has seq {seq} of "
                              f"{pair.conversation.id}, but {why}")

    def finish(self):
        for conversation in self.state.conversations.values():
            for pair in conversation.pairs.values():
                for owed in pair.owed or ():
                    self._check(pair, owed, "no device of the user ever got it")
