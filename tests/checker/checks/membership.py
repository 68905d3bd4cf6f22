"""What the history allows to be believed about one user's membership in one conversation.

A change takes effect somewhere between its invocation and its ok, and one of unknown outcome at any later time
or never (a stopped server may wake up and do it). So a user is certainly in, certainly out, or possibly either;
only certainty is used against a system.
"""

NEVER = float("inf")
IN, OUT, UNKNOWN = "in", "out", "unknown"


class Membership:
    __slots__ = ("base", "adds_open", "removes_open", "last_add", "last_remove", "floor", "floor_known", "out_t",
                 "out_calm", "out_line", "before_floor", "certain", "add_sent", "add_ok", "lowest", "add_until",
                 "top_at_add", "changed", "early")

    def __init__(self):
        self.base = None  # None: nothing was ever said of this user here
        self.adds_open = self.removes_open = 0  # on their way, or of unknown outcome
        self.last_add = self.last_remove = -NEVER  # t of the last ok
        self.floor = 0  # only what is behind it may be seen in the current membership
        self.floor_known = False  # the server said `joined`
        self.out_t = self.out_calm = None  # since when certainly out
        self.out_line = 0
        self.before_floor = 0  # of the membership before
        self.certain = []  # [from t, to t]: certainly in
        self.add_sent = self.add_ok = None  # t of the add that began the current membership
        self.add_until = -NEVER  # t until which an add may have been done
        self.top_at_add = 0  # highest seq that was seen when it was invoked
        self.lowest = None  # (seq, line, t, source): the lowest that was delivered in this membership
        self.changed = False  # a change was ever invoked
        self.early = None  # deliveries before anything was said: [count, lowest seq, line, t, what]

    @property
    def possibly_in(self):
        return self.base in (IN, UNKNOWN) or self.adds_open > 0

    @property
    def certainly_in(self):
        return self.base == IN and self.removes_open == 0

    @property
    def certainly_out(self):
        return self.base == OUT and self.adds_open == 0

    def _certain_from(self, t):
        if self.certainly_in and (not self.certain or self.certain[-1][1] != NEVER):
            self.certain.append([t, NEVER])

    def _certain_until(self, t):
        if self.certain and self.certain[-1][1] == NEVER:
            self.certain[-1][1] = t

    def begins(self, t, joined=None):
        """A membership that was there from the start, as the server said it."""
        self.base = IN
        self.floor, self.floor_known = joined or 0, joined is not None
        self._certain_from(t)

    def add_invoked(self, t, top):
        self.changed = True
        if self.base == OUT and self.adds_open == 0 or self.base is None:
            self.before_floor = self.floor
            self.floor, self.floor_known, self.lowest = top, False, None
            self.add_sent, self.add_ok, self.top_at_add = t, None, top
        self.adds_open += 1
        self.add_until = NEVER

    def add_ok_at(self, t, invoked):
        self.adds_open -= 1
        self.base = UNKNOWN if self.last_remove > invoked else IN
        self.last_add = t
        self._adds_until(t)
        if self.add_ok is None:
            self.add_ok = t
        if self.base == IN:
            self.out_t = None
            self._certain_from(t)

    def _adds_until(self, t):
        if self.adds_open == 0:
            self.add_until = t

    def add_failed(self, t):
        self.adds_open -= 1
        self._adds_until(t)
        if self.adds_open == 0 and self.base in (OUT, None):
            self.floor = self.before_floor

    def remove_invoked(self, t):
        self.changed = True
        self._certain_until(t)
        self.removes_open += 1

    def remove_ok_at(self, t, invoked, calm, line):
        self.removes_open -= 1
        if self.last_add > invoked:
            self.base = UNKNOWN
        else:
            if self.base != OUT or self.out_t is None:
                self.out_t, self.out_calm, self.out_line = t, calm, line
            self.base = OUT
        self.floor_known, self.lowest, self.add_ok = False, None, None  # what comes is another membership
        self.add_sent = self.add_sent or invoked
        self.last_remove = t

    def remove_failed(self, t):
        self.removes_open -= 1
        self._certain_from(t)

    def was_certain(self, earliest, latest):
        """Certainly in while a message that was stored between the two times was stored."""
        return any(start < earliest and latest < end for start, end in self.certain)
