"""The arithmetic of a report: rounds to medians, pairs of rounds to ratios, histograms to percentile curves, numbers
to text.

The two servers take turns, round by round, so that what the machine does beside (heat, other work) meets both alike.
Therefore a ratio is taken inside each pair of rounds and the median of these ratios is shown; the ratio of the
medians would compare rounds that were minutes apart. Nothing here knows HTML, SVG or the terminal.
"""

import math
import statistics

from report_input import LATENCIES, RELATIONS

STEPS_PER_NINE = 20  # points of a percentile curve between 90 % and 99 %
NINES_MAX = 4.0  # 99.99 %
MUST_BE_ZERO = ("lost", "duplicated", "reordered", "missing")
EVENTS = (("acked", "message"), ("back", "reconnection"), ("logins", "login"))  # what costs are divided by
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}


class Summary:
    """All rounds of one server in one scenario."""

    def __init__(self, server):
        self.server = server
        self.rounds = {}  # number -> result

    def results(self):
        return [self.rounds[number] for number in sorted(self.rounds)]

    def values(self, metric):
        """`metric` of every round that has it; a metric is a function of a result."""
        found = (metric(result) for result in self.results())
        return [value for value in found if value is not None]


class Group:
    """One scenario with one label: what may be compared with each other."""

    def __init__(self, scenario, label):
        self.scenario, self.label = scenario, label
        self.servers = {}  # name -> Summary, pipit first

    def any(self, metric):
        return any(summary.values(metric) for summary in self.servers.values())

    def ratios(self, metric):
        """pipit / mosquitto of `metric` for each round that both have."""
        if len(self.servers) < 2:
            return []
        ours, theirs = self.servers["pipit"].rounds, self.servers["mosquitto"].rounds
        pairs = ((metric(ours[number]), metric(theirs[number])) for number in sorted(ours.keys() & theirs.keys()))
        found = (ratio(first, second) for first, second in pairs)
        return [value for value in found if value is not None]


def groups(runs):
    """The runs by (scenario, label), in the order in which these first appear."""
    found = {}
    for run in runs:
        key = run["scenario"], run["label"]
        group = found.setdefault(key, Group(*key))
        summary = group.servers.setdefault(run["server"], Summary(run["server"]))
        summary.rounds[run["round"]] = run["result"]
    for group in found.values():
        group.servers = {name: group.servers[name] for name in sorted(group.servers, reverse=True)}
    return list(found.values())


def alike(found, columns):
    """[(columns, groups)]: groups that have the same of these columns, as what they measure differs by scenario."""
    parts = {}
    for group in found:
        used = tuple((name, metric) for name, metric in columns if group.any(metric))
        parts.setdefault(used, []).append(group)
    return list(parts.items())


def ratio(first, second):
    """first / second, or None when that says nothing."""
    if first is None or second is None or second == 0:
        return None
    try:
        found = first / second
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def spread(values):
    """(median, least, greatest), or None of nothing."""
    return (statistics.median(values), min(values), max(values)) if values else None


def holds(threshold):
    """Whether a threshold holds: what was recorded and what the numbers say must both agree."""
    value = threshold["value"]
    if value is None:
        return False
    return threshold["passed"] and RELATIONS[threshold["relation"]](value, threshold["limit"])


def contradicts(threshold):
    """Whether the recorded verdict is not what the numbers say."""
    value = threshold["value"]
    return threshold["passed"] != (value is not None and RELATIONS[threshold["relation"]](value, threshold["limit"]))


# --- metrics: functions of a result, None when it is not there

def field(name):
    return lambda result: result.get(name)


def of_messages(name):
    """A field that means something only where messages were sent; the generator tells 0 elsewhere."""
    return lambda result: result.get(name) if result.get("sent") != 0 else None


def idle_memory(result):
    """KiB per connection where connections were all there was: messages and logins leave memory of their own."""
    busy = any(result.get(name) for name in ("sent", "acked", "back", "logins"))
    return None if busy else result.get("pss_kib_per_connection")


def latency(kind, name):
    """One figure of a latency in milliseconds, from the generator or else from its histogram."""
    fraction = PERCENTILES.get(name)

    def metric(result):
        given = result.get(f"{kind}_ms", {})
        if given.get("count") == 0:
            return None
        if name in given:
            return given[name]
        return percentile_ms(result, kind, fraction) if fraction else None
    return metric


def logins_per_second(result):
    """Of a scenario that only logs in; in others a login is the way to something else."""
    return None if result.get("acked") else ratio(result.get("logins") or None, result.get("seconds"))


def wrong(result):
    """How many messages were lost, came twice or out of order, and users that did not get in; None if not told."""
    found = [abs(result[name]) for name in MUST_BE_ZERO if name in result]
    return sum(found) if found else None


def written(result):
    return _sum_of_services(result, "written_bytes")


def per_event(amount, result):
    """`amount` for each acknowledged message, or for each reconnection or login where no message was sent."""
    for name, _ in EVENTS:
        if result.get(name):
            return amount / result[name]
    return None


def written_per_event(result):
    total = written(result)
    return None if total is None else per_event(total, result)


def cpu_per_event(service):
    """Microseconds of CPU per event of the service of that name; instances of one service are added up."""
    def metric(result):
        total = _sum_of_services(result, "cpu_us", service)
        return None if total is None else per_event(total, result)
    return metric


def memory_of(service):
    return lambda result: _sum_of_services(result, "pss_kib_after", service)


def _sum_of_services(result, name, service=None):
    found = [entry[name] for entry in result.get("services", ()) if name in entry and service in (None, entry["name"])]
    return sum(found) if found else None


def service_names(found):
    """Names of all services of the groups, in order of appearance."""
    return list(dict.fromkeys(entry["name"] for group in found for summary in group.servers.values()
                              for result in summary.results() for entry in result.get("services", ())))


def event_name(group):
    """What CPU and bytes of a group are divided by."""
    for name, event in EVENTS:
        if any(any(summary.values(field(name))) for summary in group.servers.values()):
            return event
    return EVENTS[0][1]


def percentile_ms(result, kind, fraction):
    """The value that `fraction` of the samples do not exceed; None when there are too few to have one beyond it."""
    total = sum(count for _, count in result.get(f"{kind}_histogram", ()))
    return _at(result, kind, [fraction])[0] if total * (1 - fraction) > 1 - 1e-9 else None


def curve(result, kind):
    """[(nines, milliseconds)] with nines = -log10(1 - fraction), as far as the number of samples carries it."""
    total = sum(count for _, count in result.get(f"{kind}_histogram", ()))
    if total == 0:
        return [(nines_of(fraction), latency(kind, name)(result)) for name, fraction in PERCENTILES.items()
                if latency(kind, name)(result) is not None]
    last = min(NINES_MAX, math.log10(total))
    nines = [step / STEPS_PER_NINE for step in range(1, int(last * STEPS_PER_NINE + 1e-9) + 1)] or [0.0]
    return list(zip(nines, _at(result, kind, [1 - 10 ** -nine for nine in nines])))


def nines_of(fraction):
    return -math.log10(1 - fraction)


def _at(result, kind, fractions):
    """Values at rising fractions of the histogram, counted as loadtest/histogram.c does."""
    buckets = result.get(f"{kind}_histogram", ())
    total = sum(count for _, count in buckets)
    if total == 0:
        return []
    greatest = result.get(f"{kind}_ms", {}).get("max")
    found, seen, rest = [], 0, iter(buckets)
    upper = 0
    for fraction in fractions:
        wanted = max(1, int(fraction * total + 0.5))
        while seen < wanted:
            step = next(rest, None)
            if step is None:
                break
            upper, seen = step[0], seen + step[1]
        found.append(upper / 1000 if greatest is None else min(upper / 1000, greatest))
    return found


def median_curve(curves):
    """The median of several curves at the places that all of them reach."""
    places = [dict(points) for points in curves]
    shared = set(places[0]).intersection(*places[1:]) if places else ()
    return [(nine, statistics.median(points[nine] for points in places)) for nine in sorted(shared)]


def timeline(result, name):
    """[(second, count)]; the last second, when the run ended within it, would look like a fall and is left out."""
    points = [(point["t"], point[name]) for point in result.get("timeline", ()) if name in point]
    if len(points) > 1 and points[0][0] == 0 and points[-1][0] + 1 > result.get("seconds", math.inf):
        points.pop()
    return points


def thinned(points, limit=240):
    """A long timeline as means of neighbours, at most `limit` points."""
    step = -(-len(points) // limit)
    if step <= 1:
        return points
    parts = (points[start:start + step] for start in range(0, len(points), step))
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def kinds_of(group):
    """The latencies that a group has samples of."""
    return [kind for kind in LATENCIES
            if any(curve(result, kind) for summary in group.servers.values() for result in summary.results())]


# --- numbers as text

def figure(value):
    """Three digits that mean something, thousands apart; whole numbers in full below 10^15."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e15 or size < 1e-4:
        return f"{float(value):.3g}"
    if value == int(value) or size >= 99.95:
        return f"{round(value):,}"
    digits = 2 - math.floor(math.log10(float(f"{size:.2e}")))
    return f"{value:.{digits}f}"


def given(value):
    """A number as it was given, such as a limit or what is compared with it: 0.5999 is not shown as 0.6."""
    return figure(value) if value == int(value) else f"{value:,.6g}"


def ratio_text(value):
    """Three digits, also of a whole number: 1.00 was measured, 1 would be by definition."""
    return f"{value:.2f}" if 1 <= value < 9.995 else figure(value)


def short(value):
    """A figure for an axis: 12k, 1.5M."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if unit <= abs(value) < 1e15:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def bytes_text(value):
    size, unit = value, "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024:
            break
        size, unit = size / 1024, larger
    return f"{figure(size)} {unit}"


def memory_text(mib):
    return f"{figure(mib)} MiB" if mib < 1024 else f"{figure(mib / 1024)} GiB"


def range_text(found, text=figure):
    """'least–greatest' of a spread, '' when all rounds agree."""
    least, greatest = text(found[1]), text(found[2])
    return "" if least == greatest else f"{least}–{greatest}"
