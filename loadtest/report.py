#!/usr/bin/env python3
"""Turns the JSON of a benchmark into one self-contained HTML page and a short table on the terminal.

Exit code: 0 every threshold holds, 1 one does not, 2 wrong usage, or the input cannot be read.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from report_input import Malformed, clean, load  # noqa: E402
from report_numbers import (alike, contradicts, figure, given, groups, holds, idle_memory, latency,  # noqa: E402
                            logins_per_second, of_messages, range_text, ratio_text, spread, wrong)
from report_page import page  # noqa: E402

PASSED, FAILED, UNREADABLE = 0, 1, 2
COLUMNS = (("acked/s", of_messages("acked_per_second")), ("delivered/s", of_messages("delivered_per_second")),
           ("ack p50", latency("ack", "p50")), ("ack p99", latency("ack", "p99")),
           ("dlv p50", latency("delivery", "p50")), ("dlv p99", latency("delivery", "p99")),
           ("logins/s", logins_per_second), ("login p99", latency("login", "p99")),
           ("back p50", latency("back", "p50")), ("back max", latency("back", "max")),
           ("µs/msg", of_messages("server_cpu_us_per_message")), ("KiB/conn", idle_memory))
LEGEND = """medians of the rounds; latency in ms from the intended send time (ack: acknowledgement, dlv: delivery)
ratio: median of pipit / mosquitto in each pair of rounds; wrong: most lost, duplicated, reordered,
missing (not let in, not back) in a round"""


def parse(arguments):
    parser = argparse.ArgumentParser(prog="report.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", help="the JSON of a benchmark")
    parser.add_argument("--html", metavar="FILE", help="where the page goes; without it only the table is printed")
    return parser.parse_args(arguments)


def table(document):
    """The lines for the terminal."""
    dirty = " with uncommitted changes" if document["dirty"] else ""
    machine = document["machine"]
    facts = [text for key, text in (("cpu", machine.get("cpu")), ("cores", f"{machine.get('cores')} cores"),
                                    ("kernel", f"kernel {machine.get('kernel')}"),
                                    ("flush_ms", f"flush {given(machine.get('flush_ms', 0))} ms")) if key in machine]
    lines = [f"pipit {document['commit']}{dirty}, {document['date']}"] + ([", ".join(facts)] if facts else []) + [""]
    for used, found in alike(groups(document["runs"]), COLUMNS):
        lines += _block(used, found) + [""]
    lines.append(LEGEND)
    return lines + _threshold_lines(document["thresholds"])


def _block(used, found):
    """The table of groups that have the same columns."""
    rows = [["", "rounds", *(name for name, _ in used), "wrong"]]
    for group in found:
        rows.append([group.label])
        for server, summary in group.servers.items():
            bad = spread(summary.values(wrong))
            rows.append([f"  {server}", str(len(summary.rounds)),
                         *(_middle(spread(summary.values(metric))) for _, metric in used),
                         figure(bad[2]) if bad else "-"])
            rates = spread(summary.values(COLUMNS[0][1]))
            if rates and range_text(rates):
                rows[-1][2] += f" ({range_text(rates)})"
        if len(group.servers) > 1:
            rows.append(["  ratio", str(len(group.ratios(lambda result: 1))),
                         *(_middle(spread(group.ratios(metric)), ratio_text) for _, metric in used), ""])
    return _aligned(rows)


def _middle(found, text=figure):
    return "-" if found is None else text(found[0])


def _threshold_lines(thresholds):
    lines = [""]
    width = max((len(entry["name"]) for entry in thresholds), default=0)
    for entry in thresholds:
        unit = f" {entry['unit']}" if entry["unit"] else ""
        value = "not measured" if entry["value"] is None else given(entry["value"]) + unit
        odd = "  (recorded otherwise)" if contradicts(entry) else ""
        lines.append(f"{'pass' if holds(entry) else 'FAIL'}  {entry['name']:<{width}}  {value:>14}  "
                     f"{entry['relation']} {given(entry['limit'])}{unit}{odd}")
    bad = sum(not holds(entry) for entry in thresholds)
    return lines + [f"{bad} of {len(thresholds)} thresholds do not hold" if bad else
                    "every threshold holds" if thresholds else "no thresholds were set"]


def _aligned(rows):
    """Columns to the right, the first to the left; a row of one cell is a heading and widens nothing."""
    full = [row for row in rows if len(row) > 1]
    widths = [max(len(row[index]) for row in full) for index in range(len(full[0]))]
    return [row[0] if len(row) == 1 else
            "  ".join(cell.ljust(width) if index == 0 else cell.rjust(width)
                      for index, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def main(arguments=None):
    options = parse(arguments)
    try:
        document = load(options.bench)
    except Malformed as error:
        print(f"report.py: {clean(options.bench)}: {error}", file=sys.stderr)
        return UNREADABLE
    if options.html:
        try:
            with open(options.html, "w", encoding="utf-8") as file:
                file.write(page(document))
        except OSError as error:
            print(f"report.py: {clean(options.html)}: {error.strerror or error}", file=sys.stderr)
            return UNREADABLE
    sys.stdout.reconfigure(errors="replace")
    print("\n".join(table(document)))
    return PASSED if all(holds(entry) for entry in document["thresholds"]) else FAILED


if __name__ == "__main__":
    sys.exit(main())
