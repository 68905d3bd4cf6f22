"""The HTML of a report: one file that needs nothing else, no script, no network, no font.

Order: does it hold, on what machine, the overview, then each scenario with its plots and all its numbers, then CPU and
memory across scenarios. All text of the input goes through html.escape; a policy in the head lets the browser load
nothing even if a way around it were found.
"""

import html

import report_plots as plots
from report_numbers import (MUST_BE_ZERO, alike, bytes_text, contradicts, cpu_per_event, curve, event_name, field,
                            figure, given, groups, holds, idle_memory, kinds_of, latency, logins_per_second,
                            median_curve, memory_of, memory_text, of_messages, range_text, ratio_text, service_names,
                            spread, thinned, timeline, written, written_per_event, wrong)
from report_style import FILLS, STYLE

KINDS = {"ack": "Send to acknowledgement", "delivery": "Send to delivery", "login": "Connect to login",
         "delivery_during_logins": "Send to delivery, while others log in", "back": "Cut to back online"}
FROM = {"ack": "counted from the intended send time", "delivery": "counted from the intended send time",
        "delivery_during_logins": "counted from the intended send time", "login": "counted from the intended start",
        "back": "counted from the moment when all connections were cut"}
COUNTS = ("sent", "acked", "received", "echoes", "lost", "duplicated", "reordered", "refused", "retried", "closed",
          "logins", "back", "missing")
SHARES = (("p50", "50 %"), ("p90", "90 %"), ("p99", "99 %"), ("p999", "99.9 %"), ("p9999", "99.99 %"))
RELATION_SIGNS = {">=": "≥", "<=": "≤", "==": "="}
COLUMNS = (  # of the overview
    ("acked/s", of_messages("acked_per_second")), ("delivered/s", of_messages("delivered_per_second")),
    ("ack p50, ms", latency("ack", "p50")), ("ack p99, ms", latency("ack", "p99")),
    ("delivery p50, ms", latency("delivery", "p50")), ("delivery p99, ms", latency("delivery", "p99")),
    ("logins/s", logins_per_second), ("login p99, ms", latency("login", "p99")),
    ("back p50, ms", latency("back", "p50")), ("back max, ms", latency("back", "max")),
    ("CPU, µs/message", of_messages("server_cpu_us_per_message")), ("KiB/connection", idle_memory))
METHOD = (
    "Latency counts from the intended send time: with a rate (open loop), message k is due at start + k / rate, "
    "whatever happened to those before it, so the time that a message waits because the server or the generator is "
    "late counts, too (no coordinated omission). Saturated runs send whenever a place in a client's window is free; "
    "that moment is the intended time.")
ROUNDS = (
    "Rounds of one scenario and server are summarised by their median; small figures under it, whiskers and thin lines "
    "show the rounds themselves, least to greatest. The ratio pipit / mosquitto is taken inside each pair of "
    "alternating rounds; the median of these ratios is shown, which need not be the ratio of the two medians.")


def page(document):
    """The whole report of a checked document."""
    found = groups(document["runs"])
    looks = _looks(found)
    parts = [_header(document), _thresholds(document["thresholds"]), _setting(document), _overview(found)]
    parts.append('<h2 id="scenarios">Scenarios</h2>' + _p(METHOD) + _p(ROUNDS))
    parts += [_scenario(f"g{index}", group) for index, group in enumerate(found)]
    parts += [_cpu(found, looks), _memory(found)]
    title = html.escape(f"Pipit benchmark {document['commit']}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part) + "\n</main>\n</body>\n</html>\n")


# --- small pieces

def _p(text, look=""):
    return f'<p class="{look or "muted"}">{html.escape(text)}</p>'


def _facts(pairs):
    rows = (f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{"".join(rows)}</dl>'


def _table(name, head, rows, look="wide"):
    """A table in a frame of its own that scrolls sideways, also by keyboard."""
    return (f'<div class="scroll" role="region" aria-label="{html.escape(name)}" tabindex="0"><table class="{look}">'
            f'<thead><tr>{"".join(head)}</tr></thead>{"".join(rows)}</table></div>')


def _column(name, look=""):
    return f'<th scope="col"{f" class={chr(34)}{look}{chr(34)}" if look else ""}>{html.escape(name)}</th>'


def _cell(found, text=figure, must_be_zero=False, unit=""):
    """The median of a spread with its range below; "–" of nothing."""
    if found is None:
        return '<td class="muted">–</td>'
    between = range_text(found, text)
    shown, look = text(found[0]) + unit, ""
    if must_be_zero and any(found):
        shown, look = f"⚠ {'up to ' if between else ''}{text(max(found, key=abs))}", ' class="bad"'
        between = between and f"{between}, median {text(found[0])}"
    below = f'<span class="range">{html.escape(between)}</span>' if between else ""
    return f"<td{look}>{html.escape(shown)}{below}</td>"


def _ratio_cell(found):
    return _cell(found, ratio_text, unit=" ×")


def _figure(drawing, name, caption, below="", level="h4"):
    return (f"<figure><{level}>{html.escape(name)}</{level}>{drawing}<figcaption>{html.escape(caption)}</figcaption>"
            f"{below}</figure>")


# --- the head of the report

def _header(document):
    dirty = ", with changes that are not committed" if document["dirty"] else ""
    bad = [entry for entry in document["thresholds"] if not holds(entry)]
    count = len(document["thresholds"])
    if not count:
        verdict = '<p class="verdict muted">No thresholds were set</p>'
    elif bad:
        verdict = f'<p class="verdict bad">✗ {len(bad)} of {count} thresholds fail{"s" if len(bad) == 1 else ""}</p>'
    else:
        held = f"All {count} thresholds hold" if count > 1 else "The threshold holds"
        verdict = f'<p class="verdict good">✓ {held}</p>'
    return (f'<h1>Pipit benchmark</h1>\n<p class="muted">Commit <code>{html.escape(document["commit"])}</code>'
            f'{dirty}; {html.escape(document["date"])}</p>\n{verdict}')


def _thresholds(thresholds):
    if not thresholds:
        return ""
    rows = []
    for entry in thresholds:
        unit = f' {entry["unit"]}' if entry["unit"] else ""
        value = "not measured" if entry["value"] is None else given(entry["value"]) + unit
        look, state = ("good", "✓ pass") if holds(entry) else ("bad", "✗ FAIL")
        relation, note = RELATION_SIGNS.get(entry["relation"], entry["relation"]), ""
        if contradicts(entry):
            recorded = "pass" if entry["passed"] else "fail"
            note = f'<br><span class="bad">recorded as a {recorded}, which the numbers do not say</span>'
        rows.append(f'<tr><th scope="row">{html.escape(entry["name"])}{note}</th>'
                    f'<td class="verdict-cell {look}">{state}</td><td>{html.escape(value)}</td>'
                    f'<td>{html.escape(relation)} {html.escape(given(entry["limit"]) + unit)}</td></tr>')
    head = [_column("threshold", "text"), _column("verdict"), _column("value"), _column("limit")]
    table = _table("Thresholds", head, rows, "wide wrap")
    return f'<h2 id="thresholds">Thresholds</h2>\n<div class="card">{table}</div>'


def _setting(document):
    machine = document["machine"]
    names = (("cpu", "CPU", str), ("cores", "cores", str), ("memory_mib", "memory", memory_text),
             ("flush_ms", "a disk flush takes", lambda value: f"{given(value)} ms"), ("kernel", "kernel", str),
             ("os", "system", str))
    facts = [(name, text(machine[key])) for key, name, text in names if key in machine]
    out = '<h2 id="machine">Machine and configuration</h2>\n'
    out += f'<div class="card"><h3>Machine</h3>{_facts(facts) if facts else _p("Not recorded.")}</div>'
    if document["configuration"]:
        out += f'<div class="card"><h3>Configuration</h3>{_facts(document["configuration"].items())}</div>'
    return out


def _overview(found):
    """The main figures, in a table for each kind of scenario, which is to say for each set of columns."""
    tables = "".join(f'<div class="card">{_overview_table(used, part, found)}</div>'
                     for used, part in alike(found, COLUMNS))
    return f'<h2 id="overview">Overview</h2>\n{tables}'


def _overview_table(used, found, all_groups):
    checked = any(group.any(wrong) for group in found)
    columns = 1 + len(used) + checked
    bodies = []
    for group in found:
        rows = []
        for server, summary in group.servers.items():
            cells = "".join(_cell(spread(summary.values(metric))) for _, metric in used)
            rows.append((server, cells + (_cell(spread(summary.values(wrong)), must_be_zero=True) if checked else "")))
        if len(group.servers) > 1:
            cells = "".join(_ratio_cell(spread(group.ratios(metric))) for _, metric in used)
            rows.append(("ratio", cells + ("<td></td>" if checked else "")))
        link = f'<a href="#g{all_groups.index(group)}">{html.escape(group.label)}</a>'
        name = f'<th scope="rowgroup" class="group" colspan="{columns}">{link}</th>'
        bodies.append(f"<tbody><tr>{name}</tr>" + "".join(f'<tr><th scope="row">{server}</th>{cells}</tr>'
                                                          for server, cells in rows) + "</tbody>")
    head = [_column("server", "text")] + [_column(name) for name, _ in used]
    if checked:
        head.append(_column("lost, twice, out of order, missing"))
    return _table("Overview: " + ", ".join(name for name, _ in used), head, bodies)


# --- one scenario

def _scenario(ident, group):
    figures = [_latency_figure(f"{ident}-{kind}", group, kind) for kind in kinds_of(group)]
    figures += [_time_figure(f"{ident}-{name}", group, name, title) for name, title in
                (("acked", "Acked per second"), ("delivered", "Delivered per second"), ("logins", "Logins per second"))]
    body = "".join(part for part in figures if part)
    return (f'<section class="card" id="{ident}" aria-labelledby="{ident}-h">'
            f'<h3 id="{ident}-h">{html.escape(group.label)}</h3>{_p(_load(group))}'
            + (f'<div class="figures">{body}</div>' if body else "")
            + f'<details open><summary>All numbers</summary><div class="blocks">{_numbers(group)}</div></details>'
            "</section>")


def _load(group):
    """What was offered, in words."""
    first = next(iter(group.servers.values())).results()[0]
    words = [group.scenario]
    names = {"mqtt": "MQTT", "ws": "WebSocket", "rest": "REST", "mqtt+ws": "MQTT and WebSocket"}
    if "protocol" in first:
        words.append(names[first["protocol"]])
    if "clients" in first:
        words.append(f"{figure(first['clients'])} clients")
    if first.get("idle"):
        words.append(f"{figure(first['idle'])} of them only listening")
    if first.get("rate"):
        words.append(f"{figure(first['rate'])} {event_name(group)}s a second offered")
    elif "rate" in first and first.get("sent"):
        words.append("saturated" + (f" with a window of {figure(first['window'])}" if "window" in first else ""))
    if "payload_bytes" in first and first.get("sent"):
        words.append(f"{figure(first['payload_bytes'])} bytes each")
    if first.get("group_size") and "group" in group.scenario:
        words.append(f"groups of {figure(first['group_size'])}")
    if "seconds" in first:
        words.append(f"{given(round(first['seconds'], 1))}\N{NO-BREAK SPACE}s")
    rounds = " and ".join(f"{len(summary.rounds)} round{'s' if len(summary.rounds) != 1 else ''} of {server}"
                          for server, summary in group.servers.items())
    return ", ".join(words) + f"; {rounds}"


def _latency_figure(ident, group, kind):
    lines, said = [], []
    for server, summary in group.servers.items():
        curves = [points for points in (curve(result, kind) for result in summary.results()) if points]
        if not curves:
            continue
        lines.append(plots.Line(server, curves, median_curve(curves)))
        words = ((name, spread(summary.values(latency(kind, key)))) for key, name in SHARES)
        said.append(f"{server}: " + ", ".join(f"{name} {figure(found[0])} ms" for name, found in words if found))
    title = f"{KINDS[kind]}, {group.label}"
    description = "Latency by percentile, medians of the rounds. " + "; ".join(said)
    drawing = plots.percentile_plot(ident, title, description, lines)
    return _figure(drawing, KINDS[kind], f"Milliseconds, {FROM[kind]}; a line ends where the samples do.")


def _time_figure(ident, group, name, title):
    lines, said = [], []
    for server, summary in group.servers.items():
        rounds = [timeline(result, name) for result in summary.results()]
        rounds = [thinned(points) for points in rounds if points]
        if not rounds:
            continue
        lines.append(plots.Line(server, rounds))
        found = spread([value for points in rounds for _, value in points])
        said.append(f"{server}: median {figure(found[0])}, {figure(found[1])} to {figure(found[2])}")
    if not any(value for line in lines for points in line.rounds for _, value in points):
        return ""
    drawing = plots.time_plot(ident, f"{title}, {group.label}", f"{title} over the run. " + "; ".join(said), lines)
    return _figure(drawing, title, "One line for each round; an unfinished last second is left out.")


def _numbers(group):
    """Everything measured, a table for each subject."""
    event = event_name(group)
    blocks = [("Messages", "count", [(name, field(name), figure, name in MUST_BE_ZERO, False) for name in COUNTS])]
    blocks.append(("Rates and times", "", [
        ("acked per second", of_messages("acked_per_second"), figure, False, True),
        ("delivered per second", of_messages("delivered_per_second"), figure, False, True),
        ("logins per second", logins_per_second, figure, False, True),
        ("seconds", field("seconds"), figure, False, False),
        ("seconds to connect", field("connect_seconds"), figure, False, True)]))
    for kind, title in KINDS.items():
        names = (("mean", "mean"), *SHARES, ("max", "greatest"))
        blocks.append((title, "ms", [(name, latency(kind, key), figure, False, True) for key, name in names]))
    costs = [("server CPU, µs per message", of_messages("server_cpu_us_per_message"), figure, False, True),
             ("server CPU, µs per delivery", of_messages("server_cpu_us_per_delivery"), figure, False, True),
             ("server CPU, µs per second", field("server_cpu_us_per_second"), figure, False, True),
             ("generator CPU, µs per message", of_messages("generator_cpu_us_per_message"), figure, False, False),
             ("memory grown, KiB per connection", field("pss_kib_per_connection"), figure, False, True),
             ("bytes written", written, bytes_text, False, True),
             (f"bytes written per {event}", written_per_event, bytes_text, False, True)]
    for service in service_names([group]):
        costs.append((f"{service}: memory after", memory_of(service), lambda kib: bytes_text(kib * 1024), False, False))
    blocks.append(("Cost", "", costs))
    return "".join(_block(group, *block) for block in blocks)


def _block(group, title, unit, rows):
    """One subject as a table, or nothing where nothing of it was measured."""
    both = len(group.servers) > 1 and any(compared for *_, compared in rows)
    lines = []
    for name, metric, text, must_be_zero, compared in rows:
        if not group.any(metric):
            continue
        cells = "".join(_cell(spread(summary.values(metric)), text, must_be_zero) for summary in group.servers.values())
        if both:
            cells += _ratio_cell(spread(group.ratios(metric))) if compared else "<td></td>"
        lines.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    if not lines:
        return ""
    head = [_column(unit, "text")] + [_column(server) for server in group.servers]
    head += [_column("ratio")] if both else []
    table = _table(f"{title}, {group.label}", head, [f"<tbody>{''.join(lines)}</tbody>"])
    return f"<div><h4>{html.escape(title)}</h4>{table}</div>"


# --- across scenarios

def _looks(found):
    """The colour class of each service, the same in all figures."""
    ours = [name for name in service_names(found) if name != "mosquitto"]
    looks = {name: f"fill{min(index, FILLS - 1)}" for index, name in enumerate(ours)}
    return {**looks, "mosquitto": "mosquitto"}


def _cpu(found, looks):
    figures = [part for part in (_cpu_figure(f"cpu{index}", group, looks) for index, group in enumerate(found)) if part]
    if not figures:
        return ""
    return ('<h2 id="cpu">CPU per service</h2>' + _p("Microseconds of CPU time, user and system, for each acknowledged "
            "message (for each login or reconnection where nothing is sent). Each scenario has a scale of its own; a "
            "service is the median of its rounds, instances of one service added up; the whisker is the total of the "
            "rounds, least to greatest.") + f'<div class="card figures">{"".join(figures)}</div>')


def _cpu_figure(ident, group, looks):
    names = service_names([group])
    bars, said, table = [], [], {name: [] for name in names}
    for server, summary in group.servers.items():
        parts = []
        for name in names:
            middle = spread(summary.values(cpu_per_event(name)))
            table[name].append(_cell(middle))
            if middle:
                parts.append((name, middle[0], looks[name]))
        if not parts:
            continue
        total = spread(summary.values(cpu_per_event(None)))
        bars.append(plots.Bar(server, parts, f"{figure(sum(value for _, value, _ in parts))} µs", total[1], total[2]))
        said.append(f"{server}: " + ", ".join(f"{name} {figure(value)} µs" for name, value, _ in parts))
    if not bars:
        return ""
    title = f"CPU per {event_name(group)} by service, {group.label}"
    drawing = plots.bar_plot(ident, title, "; ".join(said), bars)
    rows = [f'<tr><th scope="row">{plots.swatch(looks[name])}{html.escape(name)}</th>{"".join(cells)}</tr>'
            for name, cells in table.items()]
    head = [_column("service", "text")] + [_column(server) for server in group.servers]
    below = _table(title, head, rows)
    return _figure(drawing, group.label, f"Microseconds per {event_name(group)}.", below, "h3")


def _memory(found):
    bars, said = [], []
    names = {"mqtt": "MQTT", "ws": "WebSocket", "rest": "REST", "mqtt+ws": "MQTT and WebSocket", None: "protocol not recorded"}
    for group in found:
        for server, summary in group.servers.items():
            found_kib = spread(summary.values(idle_memory))
            if found_kib is None:
                continue
            protocol = names[summary.results()[0].get("protocol")]
            text = f"{figure(found_kib[0])} KiB"
            bars.append(plots.Bar(f"{protocol}, {server}: {group.label}", [(server, found_kib[0], server)], text,
                                  found_kib[1], found_kib[2]))
            said.append(f"{protocol}, {server}, {group.label}: {text}")
    if not bars:
        return ""
    drawing = plots.bar_plot("memory-plot", "Memory per connection", "; ".join(said), bars)
    return ('<h2 id="memory">Memory per connection</h2><div class="card">' + _figure(
        drawing, "KiB per connection, by protocol",
        "What all processes of the server grew by (proportional set size) for each client that connected and then "
        "stayed idle; the whisker is the least and greatest round.", level="h3") + "</div>")
