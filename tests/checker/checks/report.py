"""Collects what was found: violations by check with the first explanations, problems, notes; prints the verdict."""

import json

TITLES = {
    "H1": "acknowledged messages are in every final list",
    "H2": "nothing that was not sent, nothing changed on the way",
    "H3": "one id, one seq, once",
    "H4": "one seq, one message; final lists are dense",
    "H5": "order of time and of pipelined sends",
    "H6": "members, open logins and unblocked users only",
    "H7": "cursors never fall; unread is derived",
    "H8": "receipts only for what was sent",
    "H9": "edits and recalls",
    "H10": "live and sync without a silent hole; shown once, in order",
    "H11": "time from ack to the last online member",
}
CHECKS = tuple(TITLES)
CLEAN, VIOLATED, INCOMPLETE = 0, 1, 2


class Report:
    def __init__(self, explain=5):
        self.explain = explain
        self.counts = dict.fromkeys(CHECKS, 0)
        self.examined = dict.fromkeys(CHECKS, 0)
        self.explanations = {check: [] for check in CHECKS}
        self.known = {check: set() for check in CHECKS}
        self.problems = []  # why the history is no evidence
        self.notes = []
        self.numbers = {}  # events, acked, ...
        self.latency = []  # rows of H11

    def violation(self, check, key, text):
        """One violation; `key` tells it from others of the check, so that it counts once."""
        known = self.known[check]
        if key in known:
            return
        known.add(key)
        self.counts[check] += 1
        if self.counts[check] <= self.explain:
            self.explanations[check].append(text)

    @property
    def exit_code(self):
        if any(self.counts.values()):
            return VIOLATED
        return INCOMPLETE if self.problems else CLEAN

    def verdict(self):
        return {CLEAN: "CLEAN", VIOLATED: "VIOLATED", INCOMPLETE: "INCOMPLETE"}[self.exit_code]

    def status(self, check):
        if self.counts[check]:
            return "violated"
        return "ok" if self.examined[check] else "not exercised"

    def as_json(self):
        checks = {check: {"status": self.status(check), "examined": self.examined[check],
                          "violations": self.counts[check], "first": self.explanations[check]}
                  for check in CHECKS}
        return json.dumps({"verdict": self.verdict(), "exit": self.exit_code, "counts": self.numbers,
                           "checks": checks, "problems": self.problems, "notes": self.notes,
                           "latency": self.latency}, indent=1)

    def as_text(self):
        lines = [", ".join(f"{value:,} {name}" for name, value in self.numbers.items()), ""]
        for check in CHECKS:
            count = self.counts[check]
            found = f"{count:,} violation{'s' if count != 1 else ''}" if count else self.status(check)
            lines.append(f"{check:>3}  {found:<16} {self.examined[check]:>11,} examined  {TITLES[check]}")
            lines += [f"       {text}" for text in self.explanations[check]]
            if count > len(self.explanations[check]):
                lines.append(f"       ... and {count - len(self.explanations[check]):,} more")
        lines += self._latency_lines()
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"no evidence: {problem}" for problem in self.problems]
        lines.append(f"verdict: {self.verdict()}")
        return "\n".join(line.rstrip() for line in lines)

    def _latency_lines(self):
        if not self.latency:
            return []
        head = f"{'fault class':<22}{'faults':>7}{'messages':>10}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}" \
               f"{'ack p99 ms':>12}{'back in s':>11}"
        rows = ["", "ack to the last online member, by the fault that was there:", head]
        for row in self.latency:
            back = "-" if row["back_s"] is None else f"{row['back_s']:.2f}"
            rows.append(f"{row['class']:<22}{row['faults']:>7}{row['messages']:>10,}{row['p50_ms']:>9.1f}"
                        f"{row['p99_ms']:>9.1f}{row['max_ms']:>9.1f}{row['ack_p99_ms']:>12.1f}{back:>11}")
        return rows + [""]
