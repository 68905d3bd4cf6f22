#!/usr/bin/python3
"""Checks a history (FORMAT.md) for H1 to H11 and says what is wrong with whom, when and where in the file.

Exit code: 0 clean, 1 violations, 2 the history cannot be read or proves nothing.
"""

import argparse
import gc
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from checks.engine import Engine  # noqa: E402
from checks.reader import read  # noqa: E402
from checks.report import CHECKS, INCOMPLETE  # noqa: E402


def parse(arguments):
    parser = argparse.ArgumentParser(prog="checker.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("history", nargs="*", default=["-"], help="JSON lines, plain or .gz; several are merged by t; - or none: stdin")
    add("--json", action="store_true", help="the verdict as one JSON object")
    add("--explain", type=int, default=5, metavar="N", help="violations explained per check (default 5)")
    add("--min-acked", type=int, default=1, metavar="N", help="fewer acknowledged sends prove nothing")
    add("--min-delivered", type=int, default=1, metavar="N", help="fewer deliveries prove nothing")
    add("--min-finals", type=int, default=1, metavar="N", help="fewer final lists prove nothing")
    add("--min-faults", type=int, default=0, metavar="N", help="fewer faults prove nothing")
    add("--require", type=lambda text: text.split(","), default=[], metavar="H1,H5",
        help="checks that must have examined something")
    add("--grace-s", type=float, default=2.0, metavar="S", help="until a removal or logout must have acted (I4)")
    add("--lag-s", type=float, default=0.5, metavar="S", help="how late the test clients may notice a delivery")
    add("--tail-s", type=float, default=5.0, metavar="S", help="until an online device must have got a message")
    add("--strict-deadlines", action="store_true", help="deadlines run during faults, too")
    add("--strict-live", action="store_true", help="a live stream must not jump, even when the client mends it")
    add("--max-recovery-s", type=float, default=None, metavar="S",
        help="no answer for so long after a fault's end is a violation of H11")
    options = parser.parse_args(arguments)
    unknown = [check for check in options.require if check not in CHECKS]
    if unknown:
        parser.error(f"--require: no such check: {', '.join(unknown)}")
    return options


def check(options):
    """Reads and checks; returns the Report."""
    engine, problems = Engine(options), []
    try:
        for first, events in read(options.history, problems):
            engine.take(first, events)
    except (OSError, EOFError) as error:
        problems.append(str(error))
    report = engine.finish()
    report.problems[:0] = problems[:10] + ([f"{len(problems) - 10} more unreadable lines"] if problems[10:] else [])
    return report


def main(arguments=None):
    options = parse(arguments)
    gc.disable()  # nothing here is cyclic garbage, and walking a million objects takes seconds
    started = time.perf_counter()
    report = check(options)
    report.numbers["checked in ms"] = int((time.perf_counter() - started) * 1000)
    print(report.as_json() if options.json else report.as_text())
    return report.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INCOMPLETE)
