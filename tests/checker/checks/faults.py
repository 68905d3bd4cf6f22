"""When faults were active, and a clock that stands still meanwhile.

Invariants of content hold at any time. Deadlines (2 s from a logout to the last delivery) cannot hold while the
process that must act is stopped or cut off, so they are measured in calm time: time without an active fault and
without the seconds in which service may still be returning after one (I7: 3 s for a process, 15 s otherwise).
"""

from bisect import bisect_right

PROCESS_WORDS = ("kill", "stop", "pause", "freeze", "restart", "roll", "drain", "add", "scale", "crash", "exit")
SETTLE_PROCESS, SETTLE_MACHINE = 3.0, 15.0


def settle_seconds(fault_class):
    words = str(fault_class).lower()
    return SETTLE_PROCESS if any(word in words for word in PROCESS_WORDS) else SETTLE_MACHINE


class Fault:
    __slots__ = ("name", "start", "end", "line")

    def __init__(self, name, start, line):
        self.name, self.start, self.end, self.line = name, start, None, line


class Faults:
    def __init__(self, strict=False):
        self.strict = strict  # deadlines in real time
        self.all = []
        self.open = {}
        self.calm_from = 0.0  # t from which time counts again; None while a fault is active
        self.calm_at = 0.0  # calm seconds then
        self.marks_t, self.marks_calm, self.marks_runs = [], [], []

    def begin(self, key, name, t, line):
        fault = Fault(name, t, line)
        self.all.append(fault)
        if key in self.open:  # never undone: it is over when the next of its number begins
            self.end(key, t)
        if not self.strict:
            self.calm_at = self.calm(t)
            self._mark(t, self.calm_at, False)
        self.open[key] = fault
        self.calm_from = None

    def end(self, key, t):
        """False: there is no such fault."""
        fault = self.open.pop(key, None)
        if fault is None:
            return False
        fault.end = t
        if not self.open and not self.strict:
            self.calm_from = t + self._settled_after(t)
            self._mark(self.calm_from, self.calm_at, True)
        return True

    def heal(self, t):
        for key in list(self.open):
            self.end(key, t)

    def _settled_after(self, t):
        """Seconds from t until the faults that ended lately need no patience any more."""
        until = max((f.end + settle_seconds(f.name) for f in self.all[-20:] if f.end is not None), default=t)
        return max(0.0, until - t)

    def _mark(self, t, calm, runs):
        while self.marks_t and self.marks_t[-1] >= t:  # a calm that had not begun yet
            self.marks_t.pop(), self.marks_calm.pop(), self.marks_runs.pop()
        self.marks_t.append(t)
        self.marks_calm.append(calm)
        self.marks_runs.append(runs)

    def calm(self, t):
        """Calm seconds at t, which is not before any event so far."""
        if self.strict:
            return t
        if self.calm_from is None or t <= self.calm_from:
            return self.calm_at
        return self.calm_at + (t - self.calm_from)

    def calm_then(self, t):
        """The same for any t, after the whole history was read."""
        place = bisect_right(self.marks_t, t)
        if not place:
            return t
        place -= 1
        return self.marks_calm[place] + (t - self.marks_t[place] if self.marks_runs[place] else 0.0)
