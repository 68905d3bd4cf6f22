"""Finds what was lost, came twice or came out of order in what one person saw of one conversation.

Two numbers are looked at. Pipit's `seq` is dense from 1 in a conversation, so each message has to
arrive once and with a greater seq than the one before it. That trusts the server's numbering; so
every sender of this load test also numbers its own messages in their text, and these numbers have
to be in steps of one when the messages are put in the order of seq. A sender has one message under
way at a time, hence a step of any other size is the server's doing.

Each method returns a list of sentences, one for each thing that was wrong.
"""


class Stream:
    """Owed to this person is every message with a seq greater than `start`."""

    def __init__(self, start):
        self.start = start
        self.complete_to = start  # nothing up to here is missing
        self._later = {}  # beyond that: seq -> (sender, number)
        self._recovered = set()  # known by a sync; the live copy may still come
        self._live_last = 0
        self._numbers = {}  # sender -> number of its last message

    def live(self, seq, sender=None, number=None):
        """A message that the server delivered by itself."""
        if seq <= self.start:
            return []  # was on its way when this stream began
        problems = []
        if seq < self._live_last:
            problems.append(f"out of order: seq {seq} after {self._live_last}")
        self._live_last = max(seq, self._live_last)
        if seq in self._recovered:
            self._recovered.remove(seq)
            return problems
        return problems + self._add(seq, sender, number)

    def own(self, seq, sender, number):
        """A message of this person's own that the server acknowledged; no live copy comes of it."""
        if seq in self._recovered:  # it was stored, and the connection ended before its acknowledgement
            self._recovered.remove(seq)
            return []
        return self._add(seq, sender, number)

    def recovered(self, seq, sender=None, number=None):
        """A message out of a sync after connecting."""
        if self._knows(seq):
            return []
        self._recovered.add(seq)
        return self._add(seq, sender, number)

    def missing(self, head):
        """The seqs up to `head` that have not come."""
        return [seq for seq in range(self.complete_to + 1, head + 1) if seq not in self._later]

    def _knows(self, seq):
        return seq <= self.complete_to or seq in self._later

    def _add(self, seq, sender, number):
        if self._knows(seq):
            return [f"duplicate: seq {seq} came twice"]
        self._later[seq] = (sender, number)
        problems = []
        while self.complete_to + 1 in self._later:
            self.complete_to += 1
            problems += self._step(*self._later.pop(self.complete_to))
        return problems

    def _step(self, sender, number):
        """The next message in the order of seq."""
        if number is None:
            return []
        last = self._numbers.get(sender)
        self._numbers[sender] = number
        if last is None or number == last + 1:
            return []
        if number > last:
            return [f"lost by the server: number {last + 1} of {sender} has no seq before number {number}"]
        return [f"out of order at the server: number {number} of {sender} has a seq after number {last}"]
