"""H11: how long the last online member waits, by the fault that was there, and when service is back.

A device counts as online when it told of no gap since the ack. Figures, not verdicts: a machine may be slow.
Only `max_recovery_s` makes a violation of them: no send is answered for so long after a fault's end, although
somebody was sending.
"""

from bisect import bisect_right

QUIET = "none"
AFTERWARDS_S = 3.0  # a fault's class covers the messages that were acknowledged so soon after its end


def percentile(ordered, share):
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Latency:
    def __init__(self, state, report, faults, options):
        self.state, self.report, self.faults = state, report, faults
        self.max_recovery = options.max_recovery_s
        self.waiting = []  # faults that ended and had no answer yet
        self.back = {}  # fault -> seconds
        self.asked_since = None  # t of the oldest invocation since the last answer

    def ended(self, fault):
        self.waiting.append(fault)

    def answered(self, t):
        for fault in self.waiting:
            self.back[fault] = t - fault.end
            if self.max_recovery is not None and t - max(fault.end, self.asked_since or t) > self.max_recovery:
                self.report.violation("H11", fault, f"no send was ok for {t - fault.end:.1f} s after {fault.name} "
                                                    f"(line {fault.line}) ended at t={fault.end:.3f}")
        self.waiting.clear()

    def finish(self):
        faults = sorted((f for f in self.faults.all), key=lambda fault: fault.start)
        starts = [fault.start for fault in faults]
        longest = max((f.end - f.start for f in faults if f.end is not None), default=0.0) + AFTERWARDS_S
        delays, acks = {}, {}
        for message in self.state.messages.values():
            if message.acked is None or message.first_sent is None:
                continue
            name = self._class_at(faults, starts, longest, message.acked)
            acks.setdefault(name, []).append(message.acked - message.first_sent)
            if message.last_live is not None:
                delays.setdefault(name, []).append(max(0.0, message.last_live - message.acked))
                self.report.examined["H11"] += 1
        self._rows(faults, delays, acks)

    @staticmethod
    def _class_at(faults, starts, longest, t):
        """The class of the latest fault that was active at t or shortly before."""
        place = bisect_right(starts, t)
        while place and t - starts[place - 1] <= longest:
            place -= 1
            end = faults[place].end
            if end is None or t <= end + AFTERWARDS_S:
                return faults[place].name
        return QUIET

    def _rows(self, faults, delays, acks):
        names = [QUIET] + sorted({fault.name for fault in faults} | set(delays) - {QUIET})
        for name in names:
            seconds, ack = sorted(delays.get(name, ())), sorted(acks.get(name, ()))
            back = [self.back[fault] for fault in faults if fault.name == name and fault in self.back]
            self.report.latency.append({
                "class": name, "faults": sum(fault.name == name for fault in faults), "messages": len(seconds),
                "p50_ms": round(percentile(seconds, 0.5) * 1000, 2),
                "p99_ms": round(percentile(seconds, 0.99) * 1000, 2),
                "max_ms": round((seconds[-1] if seconds else 0.0) * 1000, 2),
                "ack_p99_ms": round(percentile(ack, 0.99) * 1000, 2),
                "back_s": round(max(back), 3) if back else None})
