"""Reads the JSON of a benchmark and refuses what is not one, in one line that names the place.

A report is evidence, so nothing is guessed: a text where a number belongs, a negative count, NaN, a histogram that
does not rise, a key given twice or one round given twice is an error. What a scenario does not measure may be absent
or null, and keys that are not known here are left alone. Numbers may be as large as a double holds; text may hold
anything, so characters that do not print (terminal escapes, half surrogates, marks that turn the direction of
reading) are replaced here, once, and whoever shows text only has to escape it for its medium.
"""

import datetime
import json
import math

NUMBER_MAX = 1e300  # sums and scales of several such numbers stay finite
SERVERS = ("pipit", "mosquitto")
PROTOCOLS = ("mqtt", "ws", "rest", "mqtt+ws")
LATENCIES = ("ack", "delivery", "delivery_during_logins", "login", "back")
RELATIONS = {
    ">=": lambda value, limit: value >= limit,
    "<=": lambda value, limit: value <= limit,
    ">": lambda value, limit: value > limit,
    "<": lambda value, limit: value < limit,
    "==": lambda value, limit: value == limit,
}
COUNTS = ("clients", "idle", "window", "payload_bytes", "group_size", "sent", "acked", "received", "echoes",
          "duplicated", "reordered", "refused", "retried", "closed", "logins", "back", "missing")
QUANTITIES = ("rate", "seconds", "connect_seconds", "acked_per_second", "delivered_per_second",
              "server_cpu_us_per_message", "server_cpu_us_per_delivery", "server_cpu_us_per_second",
              "generator_cpu_us_per_message")
SIGNED = ("lost", "pss_kib_per_connection")  # more received than sent, memory given back
SERVICE_NUMBERS = ("pid", "cpu_us", "pss_kib_before", "pss_kib_after", "written_bytes")


class Malformed(Exception):
    """The input is no benchmark; the text says where and why, in one line."""


def load(path):
    """The checked document of the file at `path`. Raises Malformed, also when the file cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file, object_pairs_hook=_without_twins, parse_constant=_no_constant)
    except OSError as error:
        raise Malformed(error.strerror or str(error)) from None
    except RecursionError:
        raise Malformed("nested too deeply") from None
    except ValueError as error:  # JSON, UTF-8, and integers of too many digits
        raise Malformed(f"no JSON: {clean(str(error))}") from None
    return check(document)


def check(document):
    """Checks parsed JSON; returns it with nulls left out and text cleaned. Raises Malformed."""
    top = _object(document, "the document")
    version = _need(top, "pipit_bench", "the document")
    if isinstance(version, bool) or version != 1:
        raise Malformed("pipit_bench: must be 1, the version of the format")
    dirty = _need(top, "dirty", "the document")
    if not isinstance(dirty, bool):
        raise Malformed("dirty: must be true or false")
    runs = [_run(run, f"runs[{index}]") for index, run in enumerate(_list(_need(top, "runs", "the document"), "runs"))]
    if not runs:
        raise Malformed("runs: empty, nothing was measured")
    _no_round_twice(runs)
    thresholds = _list(_need(top, "thresholds", "the document"), "thresholds")
    return {
        "machine": _machine(_need(top, "machine", "the document")),
        "commit": _text(_need(top, "commit", "the document"), "commit"),
        "dirty": dirty,
        "date": _date(_need(top, "date", "the document")),
        "configuration": {clean(key): _shown(value) for key, value in
                          _object(_need(top, "configuration", "the document"), "configuration").items()},
        "runs": runs,
        "thresholds": [_threshold(entry, f"thresholds[{index}]") for index, entry in enumerate(thresholds)],
    }


def clean(text):
    """`text` on one line, what does not print replaced by U+FFFD."""
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "\N{REPLACEMENT CHARACTER}"
                   for letter in text)


def _without_twins(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = ", ".join(sorted(key for key, _ in pairs))
        raise Malformed(f"a key is given twice in one object: {clean(keys)[:200]}")
    return found


def _no_constant(name):
    raise Malformed(f"{name} is no number of JSON")


def _object(value, where):
    if not isinstance(value, dict):
        raise Malformed(f"{where}: must be an object")
    return value


def _list(value, where):
    if not isinstance(value, list):
        raise Malformed(f"{where}: must be a list")
    return value


def _need(owner, key, where):
    if key not in owner:
        raise Malformed(f"{where}: {key} is missing")
    return owner[key]


def _text(value, where):
    if not isinstance(value, str) or not value.strip():
        raise Malformed(f"{where}: must be a text that is not empty")
    return clean(value)


def _number(value, where, least=0, whole=False):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Malformed(f"{where}: must be a number")
    if not -NUMBER_MAX <= value <= NUMBER_MAX:
        raise Malformed(f"{where}: beyond {NUMBER_MAX:g}")
    if whole and value != math.floor(value):
        raise Malformed(f"{where}: must be a whole number")
    if least is not None and value < least:
        raise Malformed(f"{where}: must be at least {least}")
    if abs(value) < 1 / NUMBER_MAX:
        return 0
    return int(value) if whole else value


def _fields(owner, names, where, **rules):
    """The numbers of `owner` that are there, by name."""
    return {name: _number(owner[name], f"{where}.{name}", **rules) for name in names if owner.get(name) is not None}


def _shown(value):
    if isinstance(value, str):
        return clean(value)
    return clean(json.dumps(value, ensure_ascii=False))


def _date(value):
    text = _text(value, "date")
    try:
        date = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Malformed("date: must be a date and time as 2026-11-21T22:00:00Z") from None
    return date.isoformat(" ", "seconds").replace("+00:00", " UTC")


def _machine(value):
    machine = _object(value, "machine")
    known = {key: _text(machine[key], f"machine.{key}") for key in ("cpu", "kernel", "os")
             if machine.get(key) is not None}
    known.update(_fields(machine, ("cores",), "machine", least=1, whole=True))
    known.update(_fields(machine, ("memory_mib", "flush_ms"), "machine"))
    return known


def _threshold(value, where):
    entry = _object(value, where)
    name = _text(_need(entry, "name", where), f"{where}.name")
    relation = _need(entry, "relation", where)
    if not isinstance(relation, str) or relation not in RELATIONS:
        raise Malformed(f"{where}.relation: must be one of {' '.join(RELATIONS)}")
    passed = _need(entry, "passed", where)
    if not isinstance(passed, bool):
        raise Malformed(f"{where}.passed: must be true or false")
    measured = _need(entry, "value", where)
    unit = entry.get("unit") or ""
    if not isinstance(unit, str):
        raise Malformed(f"{where}.unit: must be a text")
    return {"name": name, "relation": relation, "passed": passed, "unit": clean(unit),
            "value": None if measured is None else _number(measured, f"{where}.value", least=None),
            "limit": _number(_need(entry, "limit", where), f"{where}.limit", least=None)}


def _run(value, where):
    run = _object(value, where)
    server = _need(run, "server", where)
    if server not in SERVERS:
        raise Malformed(f"{where}.server: must be {' or '.join(SERVERS)}")
    return {"scenario": _text(_need(run, "scenario", where), f"{where}.scenario"),
            "label": _text(_need(run, "label", where), f"{where}.label"),
            "server": server,
            "round": _number(_need(run, "round", where), f"{where}.round", whole=True),
            "result": _result(_need(run, "result", where), f"{where}.result")}


def _no_round_twice(runs):
    seen = set()
    for run in runs:
        key = (run["scenario"], run["label"], run["server"], run["round"])
        if key in seen:
            raise Malformed(f"runs: round {run['round']} of {run['server']}, {run['label']!r} is given twice")
        seen.add(key)


def _result(value, where):
    raw = _object(value, where)
    result = _fields(raw, COUNTS, where, whole=True)
    result.update(_fields(raw, QUANTITIES, where))
    result.update(_fields(raw, SIGNED, where, least=None))
    if raw.get("protocol") is not None:
        if raw["protocol"] not in PROTOCOLS:
            raise Malformed(f"{where}.protocol: must be one of {' '.join(PROTOCOLS)}")
        result["protocol"] = raw["protocol"]
    for kind in LATENCIES:
        if raw.get(f"{kind}_ms") is not None:
            there = f"{where}.{kind}_ms"
            summary = _object(raw[f"{kind}_ms"], there)
            result[f"{kind}_ms"] = _fields(summary, ("mean", "p50", "p90", "p99", "p999", "max"), there)
            result[f"{kind}_ms"].update(_fields(summary, ("count",), there, whole=True))
        if raw.get(f"{kind}_histogram") is not None:
            result[f"{kind}_histogram"] = _histogram(raw[f"{kind}_histogram"], f"{where}.{kind}_histogram")
    if raw.get("timeline") is not None:
        result["timeline"] = _timeline(raw["timeline"], f"{where}.timeline")
    if raw.get("services") is not None:
        result["services"] = [_service(entry, f"{where}.services[{index}]")
                              for index, entry in enumerate(_list(raw["services"], f"{where}.services"))]
    return result


def _histogram(value, where):
    """Pairs of (upper bound in microseconds, count), the bounds rising."""
    buckets, before = [], -1
    for index, pair in enumerate(_list(value, where)):
        there = f"{where}[{index}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise Malformed(f"{there}: must be [upper_us, count]")
        upper = _number(pair[0], there)
        if upper <= before:
            raise Malformed(f"{there}: the bounds must rise")
        buckets.append((upper, _number(pair[1], there, whole=True)))
        before = upper
    return buckets


def _timeline(value, where):
    points, before = [], -1
    for index, entry in enumerate(_list(value, where)):
        there = f"{where}[{index}]"
        time_s = _number(_need(_object(entry, there), "t", there), f"{there}.t")
        if time_s <= before:
            raise Malformed(f"{there}.t: the times must rise")
        points.append({"t": time_s, **_fields(entry, ("acked", "delivered", "logins"), there, whole=True)})
        before = time_s
    return points


def _service(value, where):
    entry = _object(value, where)
    return {"name": _text(_need(entry, "name", where), f"{where}.name"),
            **_fields(entry, SERVICE_NUMBERS, where, whole=True)}
