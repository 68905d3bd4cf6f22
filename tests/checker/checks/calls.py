"""Invocations and their outcomes, by process and call number."""

OUTCOMES = ("ok", "fail", "info")


class Call:
    """An invocation that waits for its outcome, or got `info`, after which an ok or a fail may still come."""

    __slots__ = ("op", "t", "subject", "message", "bar", "action", "unknown")

    def __init__(self, op, t, subject=None, message=None, bar=None, action=None):
        self.op, self.t, self.subject, self.message, self.bar, self.action = op, t, subject, message, bar, action
        self.unknown = False


class Calls:
    def __init__(self, problem):
        self.problem = problem  # called with what is wrong with a line
        self.open = {}

    def begin(self, event, call):
        key = (event["process"], event["call"])
        if key in self.open and not self.open[key].unknown:
            self.problem(f"call {key[1]} of {key[0]} is invoked twice")
        self.open[key] = call

    def end(self, event):
        """(the call that the event ends, whether it was `info` before); (None, False) when there is nothing to do."""
        key, phase = (event["process"], event["call"]), event["phase"]
        if phase not in OUTCOMES:
            raise ValueError(f"phase {phase!r}")
        call = self.open.get(key)
        if call is None or call.op != event["op"]:
            self.problem(f"{event['op']} {phase} without its invocation, call {key[1]}")
            return None, False
        was_unknown = call.unknown
        if phase != "info":
            del self.open[key]
        elif was_unknown:
            return None, False
        call.unknown = True
        return call, was_unknown
