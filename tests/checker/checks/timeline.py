"""When the messages of a conversation were stored, as narrow as the history tells.

Seqs are given in the order of storing. So message s was stored not before any message up to s was first sent
(`earliest`), and not after any message from s on was first seen (`latest`). Both never fall with s.
"""

from bisect import bisect_left, bisect_right

NEVER = float("inf")


class Timeline:
    def __init__(self, conversation):
        at = conversation.at
        self.seqs = sorted(seq for seq, message in at.items() if message.seq == seq)
        self.messages = [at[seq] for seq in self.seqs]
        self.earliest, self.latest = [], []
        bound = -NEVER
        for message in self.messages:
            if message.first_sent is not None and message.first_sent > bound:
                bound = message.first_sent
            self.earliest.append(bound)
        bound = NEVER
        for message in reversed(self.messages):
            if message.first_seen is not None and message.first_seen < bound:
                bound = message.first_seen
            self.latest.append(bound)
        self.latest.reverse()

    def stored_before(self, t):
        """The highest seq that was certainly stored before t; 0 when none was."""
        place = bisect_left(self.latest, t)
        return self.seqs[place - 1] if place else 0

    def bounds(self, seq):
        """(earliest, latest) t at which seq was stored."""
        place = bisect_left(self.seqs, seq)
        earliest = self.earliest[place - 1] if place else -NEVER
        if place < len(self.seqs):
            if self.seqs[place] == seq:
                earliest = self.earliest[place]
            return earliest, self.latest[place]
        return earliest, NEVER

    def known_between(self, after, upto):
        """Messages with after < seq <= upto."""
        return self.messages[bisect_right(self.seqs, after):bisect_right(self.seqs, upto)]


class Timelines:
    """One per conversation, made when first asked for: only after the whole history was read."""

    def __init__(self):
        self.made = {}

    def of(self, conversation):
        found = self.made.get(conversation.id)
        if found is None:
            found = self.made[conversation.id] = Timeline(conversation)
        return found
