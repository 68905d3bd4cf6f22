"""Lines of a history become dicts, thousands at a time: one JSON parse a line costs twice as much.

What cannot be read is told as a Problem and never skipped in silence: a history with a hole proves nothing.
"""

import gzip
import heapq
import json
import sys

BATCH_BYTES = 1 << 19
PROBLEMS_TOLD = 10


class Problem(Exception):
    """Why a history is no evidence; str() is a readable line."""


def _refuse_constant(text):
    raise ValueError(f"{text} is no number")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def open_history(path):
    if path == "-":
        return sys.stdin.buffer
    if str(path).endswith(".gz"):
        return gzip.open(path, "rb")
    return open(path, "rb")


def _read_singly(lines, first, problems):
    """The slow way: finds the lines that cannot be read."""
    events = []
    for number, line in enumerate(lines, first):
        if not line.strip():
            events.append(None)
            continue
        try:
            event = _decode(line.decode())
            if not isinstance(event, dict):
                raise ValueError("not an object")
        except ValueError as error:
            problems.append(f"line {number} cannot be read: {error}: {line[:80]!r}")
            event = None
        events.append(event)
    return events


def read_batches(stream, problems):
    """Yields (number of the first line, [event or None, ...]). Appends to `problems` what is unreadable."""
    number = 1
    while True:
        try:
            lines = stream.readlines(BATCH_BYTES)
        except (OSError, EOFError) as error:  # a truncated or damaged .gz
            problems.append(f"after line {number - 1}: {error}")
            return
        if not lines:
            return
        if not lines[-1].endswith(b"\n"):
            problems.append(f"line {number + len(lines) - 1}, the last one, is truncated: no end of line")
            lines.pop()
        try:
            events = _decode("[" + b",".join(lines).decode() + "]") if lines else []
            if len(events) != len(lines) or not all(type(event) is dict for event in events):
                raise ValueError
        except ValueError:
            events = _read_singly(lines, number, problems)
        yield number, events
        number += len(lines)


def _events(path, problems):
    own = []
    with open_history(path) as stream:
        for first, events in read_batches(stream, own):
            for number, event in enumerate(events, first):
                if event is not None:
                    yield event.get("t", 0.0), number, event
    problems.extend(f"{path}: {problem}" for problem in own)


def read_merged(paths, problems):
    """Several files, each in the order of `t`, as one history; line numbers count the merged lines."""
    streams = [_events(path, problems) for path in paths]
    merged = heapq.merge(*streams, key=lambda item: item[0])
    batch, number = [], 1
    for _, _, event in merged:
        batch.append(event)
        if len(batch) == 4096:
            yield number, batch
            number, batch = number + len(batch), []
    if batch:
        yield number, batch


def read(paths, problems):
    """Yields (number of the first line, events) of one file, "-" (standard input) or several files."""
    if len(paths) > 1:
        yield from read_merged(paths, problems)
        return
    with open_history(paths[0]) as stream:
        yield from read_batches(stream, problems)
