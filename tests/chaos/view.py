"""The reference client's view of one conversation: it shows each seq once and in order.

It knows own messages by their acknowledgements, holds back what is behind a hole, and asks for what is
missing. `shown` is the last seq shown; what is at or below it is never shown again.
"""

HOLE_PAUSE = 0.15  # an acknowledgement of an own message may be on its way


class View:
    __slots__ = ("conversation", "shown", "waiting", "active", "fetching", "hole_since", "rejoined", "marked_read",
                 "marked_delivered", "own", "texts", "group")

    def __init__(self, conversation, group):
        self.conversation, self.group = conversation, group
        self.shown, self.waiting = 0, {}
        self.active, self.fetching, self.rejoined = True, False, False
        self.hole_since = None
        self.marked_read = self.marked_delivered = 0
        self.own = []  # seqs of own texts, the newest last: targets of edits and recalls
        self.texts = 0  # a seq of somebody's text: target of reactions

    def note(self, seq, identity, now):
        """Takes a stored event; returns what is to be shown now: [(seq, id)]."""
        if seq <= self.shown:
            return ()
        self.waiting[seq] = identity
        out = []
        while (following := self.waiting.pop(self.shown + 1, None)) is not None:
            self.shown += 1
            out.append((self.shown, following))
        self.hole_since = None if not self.waiting else (self.hole_since or now)
        return out

    def restart(self, joined):
        """The user may see what is after `joined` only: a member again, or for the first time."""
        if joined > self.shown:
            self.shown = joined
            self.waiting = {seq: i for seq, i in self.waiting.items() if seq > joined}

    def forget(self):
        """Not a member any more."""
        self.active, self.waiting, self.hole_since = False, {}, None
        self.rejoined = True
        self.own.clear()

    def needs_fetch(self, now):
        if self.fetching or not self.active:
            return False
        return self.rejoined or (self.hole_since is not None and now - self.hole_since > HOLE_PAUSE)
