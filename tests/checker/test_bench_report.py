"""loadtest/report.py: what it computes, what it shows, what it refuses, and its exit status."""

import copy
import html.parser
import json
import pathlib
import re
import subprocess
import sys

import pytest

LOADTEST = pathlib.Path(__file__).resolve().parents[2] / "loadtest"
sys.path.append(str(LOADTEST))

import report_input  # noqa: E402
import report_numbers as numbers  # noqa: E402
import report_plots as plots  # noqa: E402

VOID = {"meta", "br"}  # HTML's tags without an end that a report has
REFERENCES = {"src", "srcset", "href", "xlink:href", "data", "action", "formaction", "poster", "background", "ping"}


def result(**changes):
    found = {
        "scenario": "direct", "protocol": "mqtt", "clients": 500, "rate": 0, "window": 8, "payload_bytes": 100,
        "seconds": 10.0, "connect_seconds": 0.4, "sent": 1000, "acked": 1000, "received": 998, "lost": 0,
        "duplicated": 0, "reordered": 0, "refused": 0, "closed": 0,
        "acked_per_second": 100.0, "delivered_per_second": 99.8,
        "ack_ms": {"count": 1000, "mean": 1.5, "p50": 1.25, "p90": 2.5, "p99": 5.125, "p999": 7.5, "max": 8.75},
        "ack_histogram": [[1250, 500], [2500, 400], [5125, 90], [7500, 9], [8750, 1]],
        "timeline": [{"t": float(second), "acked": 90 + second, "delivered": 80 + second} for second in range(1, 11)],
        "services": [{"name": "pipit-routing", "pid": 12, "cpu_us": 31000, "pss_kib_after": 9000, "written_bytes": 0},
                     {"name": "pipit-storage", "pid": 13, "cpu_us": 22000, "written_bytes": 2048000}],
        "server_cpu_us_per_message": 53.0, "generator_cpu_us_per_message": 9.0, "pss_kib_per_connection": 4.4,
    }
    found.update(changes)
    return {key: value for key, value in found.items() if value is not ...}


def run(server="pipit", number=1, label="one to one", scenario="direct", **changes):
    return {"scenario": scenario, "label": label, "server": server, "round": number, "result": result(**changes)}


def idle(kib, server="pipit", **changes):
    return {"scenario": "idle", "label": "only there", "server": server, "round": 1,
            "result": {"protocol": "ws", "sent": 0, "acked": 0, "acked_per_second": 0.0, "delivered_per_second": 0.0,
                       "server_cpu_us_per_message": 0.0, "pss_kib_per_connection": kib, **changes}}


def bench(*runs, **changes):
    found = {
        "pipit_bench": 1,
        "machine": {"cpu": "Cortex-A76", "cores": 4, "memory_mib": 8192, "kernel": "6.12.3", "os": "Debian 12",
                    "flush_ms": 0.09},
        "commit": "abc1234", "dirty": False, "date": "2026-11-21T22:00:00Z",
        "configuration": {"store": "sqlite, synchronous=FULL", "deep": {"instances": 2}},
        "runs": list(runs) or [run(), run("mosquitto", acked_per_second=200.0)],
        "thresholds": [threshold()],
    }
    found.update(changes)
    return found


def threshold(**changes):
    return {"name": "rate against mosquitto", "value": 0.76, "limit": 0.6, "relation": ">=", "unit": "x",
            "passed": True, **changes}


class Page(html.parser.HTMLParser):
    """Parses strictly: what is opened is closed, in order; collects ids, attributes, texts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts, self.errors = [], [], [], [], []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if len({name for name, _ in attrs}) != len(attrs):
            self.errors.append(f"an attribute twice in <{tag}> at {self.getpos()}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.errors.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def values(self, attribute):
        return [value for _, name, value in self.attributes if name == attribute]


def invoke(*arguments):
    return subprocess.run([sys.executable, "-B", str(LOADTEST / "report.py"), *map(str, arguments)], check=False,
                          capture_output=True, text=True, encoding="utf-8", timeout=120)


@pytest.fixture
def report(tmp_path):
    """Runs report.py on a document (or raw bytes); returns the process, and its page when one was written."""
    def make(document):
        source, target = tmp_path / "bench.json", tmp_path / "report.html"
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        source.write_bytes(raw)
        target.unlink(missing_ok=True)
        done = invoke(source, "--html", target)
        done.page = target.read_text(encoding="utf-8") if target.exists() else None
        return done
    return make


def faults(text):
    """What is wrong with a page as HTML and as one that needs nothing else."""
    page = Page(text)
    found = page.errors + [f"<{tag}> is never closed" for tag in page.open]
    ids = page.values("id")
    found += [f"id {ident} twice" for ident in set(ids) if ids.count(ident) > 1]
    for name in ("aria-labelledby", "aria-describedby"):
        found += [f"{name} {ident} is nowhere" for ident in page.values(name) if ident not in ids]
    for tag, name, value in page.attributes:
        if name in REFERENCES and not (value.startswith("#") and value[1:] in ids):
            found.append(f"<{tag} {name}={value}>")
        if name.startswith("on") or name == "style" or not re.fullmatch("[a-z][a-z0-9-]*", name):
            found.append(f"<{tag} {name}>")
    found += [f"<{tag}>" for tag in ("script", "link", "iframe", "object", "embed", "img", "base") if tag in page.tags]
    found += re.findall(r"https?:|url\(|@import|//[a-z]", text)
    return found


# --- the page

def test_page_is_valid_and_self_contained(report):
    done = report(bench())
    assert done.returncode == 0, done.stderr
    assert done.page.startswith("<!DOCTYPE html>\n<html lang=\"en\">")
    assert faults(done.page) == []
    page = Page(done.page)
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert "prefers-color-scheme: dark" in done.page and "tabular-nums" in done.page
    assert "width=device-width, initial-scale=1" in page.values("content")


@pytest.mark.parametrize("planted", [
    '<script>x</script>', '<img src="x.png">', '<a href="https://example.org/">x</a>', '<p>', '</div>',
    '<p id="machine"></p>', '<style>p { background: url(x.png) }</style>', '<a href="#nowhere">x</a>',
    '<p onclick="x()"></p>', '<link rel="stylesheet" href="x.css">', '<p aria-labelledby="nothing"></p>',
    '<p class="a"b"></p>'])
def test_the_faults_above_are_found(report, planted):
    assert faults(report(bench()).page.replace("</main>", planted + "</main>")) != []


def test_every_plot_has_a_title_and_a_description(report):
    page = report(bench(run(), run("mosquitto"), idle(4.4))).page
    drawings = re.findall(r'<svg class="plot".*?</svg>', page, re.S)
    assert len(drawings) == 5  # latency, acked, delivered, CPU, memory
    for drawing in drawings:
        assert 'role="img"' in drawing
        assert re.search(r"<title id=[^>]+>[^<]+</title><desc id=[^>]+>[^<]+</desc>", drawing)
        assert 'class="line' not in drawing or ("pipit" in drawing and "mosquitto" in drawing)
        assert not re.search(r"\b(nan|inf)\b", drawing)


def test_what_was_measured_is_shown(report):
    text = Page(report(bench(run(), run("mosquitto", acked_per_second=200.0), idle(4.4), dirty=True)).page).text
    for shown in ("Cortex-A76", "8 GiB", "6.12.3", "0.09 ms", "abc1234", "not committed", "2026-11-21 22:00:00 UTC",
                  "sqlite, synchronous=FULL", '{"instances": 2}', "one to one", "500 clients", "window of 8",
                  "intended send time", "1,000", "998", "99.8", "1.25", "2.50", "5.12", "7.50", "8.75",
                  "1.95 MiB", "2 KiB", "31", "22", "53", "4.40 KiB", "0.500 ×", "rate against mosquitto", "≥ 0.6 x",
                  "0.76 x", "✓ pass", "The threshold holds"):
        assert shown in text, shown


def test_table_on_the_terminal(report):
    lines = report(bench()).stdout.splitlines()
    assert lines[0] == "pipit abc1234, 2026-11-21 22:00:00 UTC"
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ")}
    assert rows["pipit"][:5] == ["1", "100", "99.8", "1.25", "5.12"]
    assert rows["mosquitto"][:2] == ["1", "200"] and rows["ratio"][:2] == ["1", "0.500"]
    assert any(re.fullmatch(r"pass +rate against mosquitto +0.76 x +>= 0.6 x", line) for line in lines)
    assert lines[-1] == "every threshold holds"


def test_a_loss_in_one_round_is_not_hidden_by_the_median(report):
    done = report(bench(run(number=1), run(number=2, lost=3, received=995), run(number=3)))
    assert "⚠ up to 3" in Page(done.page).text
    assert next(line for line in done.stdout.splitlines() if line.startswith("  pipit")).endswith(" 3")
    assert "⚠" not in report(bench()).page


# --- the numbers

def test_rounds_are_summarised_by_median_and_range(report):
    runs = [run(number=number, acked_per_second=rate) for number, rate in ((1, 111.0), (2, 131.0), (3, 120.0))]
    text = Page(report(bench(*runs)).page).text
    assert "120 111–131" in text
    assert numbers.spread([4, 1, 2, 3]) == (2.5, 1, 4)
    assert numbers.spread([]) is None


def test_ratio_is_the_median_of_the_ratios_of_pairs():
    ours, theirs = (100, 300, 240), (200, 400, 200)  # 0.5, 0.75, 1.2; the ratio of the medians would be 1.2
    runs = [run(number=number, acked_per_second=rate) for number, rate in enumerate(ours, 1)]
    runs += [run("mosquitto", number, acked_per_second=rate) for number, rate in enumerate(theirs, 1)]
    runs += [run("mosquitto", 9, acked_per_second=1)]  # has no partner
    group, = numbers.groups(runs)
    assert group.ratios(numbers.field("acked_per_second")) == [0.5, 0.75, 1.2]
    assert numbers.spread(group.ratios(numbers.field("acked_per_second")))[0] == 0.75
    assert group.ratios(numbers.field("absent")) == []


def test_labels_and_scenarios_are_kept_apart():
    found = numbers.groups([run(label="a"), run("mosquitto", label="b"), run(label="a", scenario="group")])
    assert [(group.scenario, group.label, list(group.servers)) for group in found] == [
        ("direct", "a", ["pipit"]), ("direct", "b", ["mosquitto"]), ("group", "a", ["pipit"])]
    assert found[0].ratios(numbers.field("acked")) == []


@pytest.mark.parametrize("first, second, expected", [(1, 2, 0.5), (0, 5, 0), (1, 0, None), (None, 1, None),
                                                     (1, None, None), (1e300, 1e-300, None), (10 ** 300, 1e-300, None)])
def test_ratio_of_odd_numbers(first, second, expected):
    assert numbers.ratio(first, second) == expected


def test_percentiles_of_a_histogram():
    sample = {"ack_histogram": [(1000, 50), (2000, 40), (3000, 9), (4000, 1)]}
    at = {part: numbers.percentile_ms(sample, "ack", part) for part in (0.5, 0.9, 0.99, 0.999)}
    assert at == {0.5: 1, 0.9: 2, 0.99: 3, 0.999: None}  # 100 samples have no 99.9 %
    line = numbers.curve(sample, "ack")
    assert line[-1] == (2.0, 3) and dict(line)[1.0] == 2 and line[0][0] < numbers.nines_of(0.5)
    capped = {**sample, "ack_ms": {"max": 2.5}}
    assert numbers.curve(capped, "ack")[-1] == (2.0, 2.5)
    assert numbers.curve({}, "ack") == [] and numbers.percentile_ms({}, "ack", 0.5) is None


def test_curve_without_histogram_has_the_generator_s_percentiles():
    line = numbers.curve({"ack_ms": {"p50": 1, "p99": 3}}, "ack")
    assert [value for _, value in line] == [1, 3]
    assert [round(nine, 6) for nine, _ in line] == [0.30103, 2]


def test_median_curve_ends_with_the_shortest():
    assert numbers.median_curve([[(0, 1), (1, 5)], [(0, 3), (1, 7), (2, 9)], [(0, 2), (1, 6)]]) == [(0, 2), (1, 6)]


def test_cpu_and_bytes_are_per_message_or_else_per_login():
    services = [{"name": "a", "cpu_us": 30, "written_bytes": 5}, {"name": "b", "cpu_us": 10},
                {"name": "a", "cpu_us": 20}]
    assert numbers.cpu_per_event("a")({"acked": 10, "services": services}) == 5
    assert numbers.cpu_per_event(None)({"acked": 10, "logins": 3, "services": services}) == 6
    assert numbers.cpu_per_event("a")({"acked": 0, "logins": 5, "services": services}) == 10
    assert numbers.cpu_per_event("a")({"services": services}) is None
    assert numbers.written_per_event({"acked": 2, "services": services}) == 2.5


@pytest.mark.parametrize("value, text", [(0, "0"), (1, "1"), (5.0, "5"), (0.0312, "0.0312"), (1.234, "1.23"),
                                         (9.996, "10.0"), (99.96, "100"), (12345.6, "12,346"), (-3, "-3"),
                                         (999999999999999, "999,999,999,999,999"), (10 ** 300, "1e+300"),
                                         (1e-9, "1e-09")])
def test_figures(value, text):
    assert numbers.figure(value) == text


def test_a_value_just_below_its_limit_does_not_look_like_it():
    assert numbers.given(0.5999) == "0.5999" and numbers.given(0.6) == "0.6" and numbers.given(20) == "20"


@pytest.mark.parametrize("low, high", [(1, 1), (1.5, 1.5), (0.001, 0.001), (0.9, 1.1), (3, 400), (0.001, 1e300),
                                       (5, 5.0001)])
def test_log_ticks_enclose_the_values(low, high):
    ticks = plots.log_ticks(low, high)
    assert ticks[0] <= low * 1.0001 and ticks[-1] >= high * 0.9999
    assert 2 <= len(ticks) <= 9 and ticks == sorted(set(ticks))


@pytest.mark.parametrize("high", [0, 1e-300, 0.7, 1, 10, 99, 101, 1e300])
def test_linear_ticks_enclose_the_values(high):
    ticks = plots.linear_ticks(high)
    assert ticks[0] == 0 and ticks[-1] >= high * 0.9999 and 2 <= len(ticks) <= 7


def test_long_timelines_are_thinned_to_means():
    points = [(second, float(second % 2)) for second in range(1, 10001)]
    thin = numbers.thinned(points)
    assert len(thin) <= 240 and thin[-1][0] == 10000 and {value for _, value in thin} == {0.5}
    assert numbers.thinned(points[:240]) == points[:240]


def test_an_unfinished_last_second_is_left_out():
    points = [{"t": 0, "acked": 5}, {"t": 1, "acked": 6}, {"t": 2, "acked": 1}]
    assert numbers.timeline({"timeline": points, "seconds": 2.01}, "acked") == [(0, 5), (1, 6)]
    assert numbers.timeline({"timeline": points, "seconds": 3}, "acked") == [(0, 5), (1, 6), (2, 1)]
    assert numbers.timeline({"timeline": points}, "acked")[-1] == (2, 1)
    assert numbers.timeline({"timeline": points[:1], "seconds": 0.5}, "acked") == [(0, 5)]
    assert numbers.timeline({"timeline": points}, "logins") == numbers.timeline({}, "acked") == []


def test_rates_of_messages_and_memory_of_connections_are_shown_where_they_mean_something(report):
    page = Page(report(bench(idle(4.4), idle(3.1, "mosquitto", protocol="mqtt"))).page).text
    assert "WebSocket, pipit: only there" in page and "MQTT, mosquitto: only there" in page
    assert "4.40 KiB" in page and "3.10 KiB" in page and "1.42 ×" in page
    assert "acked/s" not in page and "acked per second" not in page and "CPU, µs" not in page
    assert "Memory per connection" not in Page(report(bench()).page).text


# --- thresholds

@pytest.mark.parametrize("contradicted, changes", [
    (False, {"value": 0.5, "passed": False}), (False, {"value": None, "passed": False}),
    (False, {"value": 3, "limit": 0, "relation": "==", "passed": False}),
    (True, {"value": 0.5}), (True, {"value": None}), (True, {"passed": False})])
def test_a_threshold_that_does_not_hold_is_status_1(report, contradicted, changes):
    done = report(bench(thresholds=[threshold(), threshold(name="the other", **changes)]))
    assert done.returncode == 1
    text = Page(done.page).text
    assert "✗ FAIL" in text and "✗ 1 of 2 thresholds fails" in text and "FAIL  the other" in done.stdout
    assert ("recorded as a" in text) == contradicted


def test_no_threshold_is_status_0_but_said(report):
    done = report(bench(thresholds=[]))
    assert done.returncode == 0
    assert "No thresholds were set" in done.page and done.stdout.endswith("no thresholds were set\n")


# --- strange but right

def test_empty_parts(report):
    bare = {"scenario": "idle", "label": "idle", "server": "pipit", "round": 1, "result": {}}
    done = report(bench(bare, machine={}, configuration={}))
    assert done.returncode == 0, done.stderr
    assert faults(done.page) == [] and "<svg" not in done.page
    nothing = dict.fromkeys(result(), None)
    assert report(bench({**bare, "result": nothing}, machine={"cpu": None})).returncode == 0
    hollow = result(ack_ms={}, ack_histogram=[], timeline=[], services=[], sent=0, acked=0)
    assert report(bench({**bare, "result": hollow})).returncode == 0


@pytest.mark.parametrize("missing", sorted(result().keys() - {"scenario"}))
def test_any_field_may_be_absent(report, missing):
    done = report(bench(run(**{missing: ...}), run("mosquitto")))
    assert done.returncode == 0 and faults(done.page) == [], done.stderr


@pytest.mark.parametrize("size", [0, 1, 2 ** 64, 1e300, 1e-300, 5e-324])
def test_numbers_of_any_size(report, size):
    whole = int(size)
    changes = {key: size if isinstance(value, float) else whole for key, value in result().items()
               if isinstance(value, (int, float))}
    changes["ack_ms"] = {"count": whole, "p50": size, "p99": size, "max": size}
    changes["ack_histogram"] = [[size, whole]]
    changes["timeline"] = [{"t": size, "acked": whole}]
    changes["services"] = [{"name": "pipit-routing", "cpu_us": whole, "pss_kib_after": whole, "written_bytes": whole}]
    for other in ({}, changes):
        done = report(bench(run(**changes), run(number=2, **changes), run("mosquitto", **other)))
        assert done.returncode == 0, done.stderr
        assert faults(done.page) == [] and not re.search(r"\b(nan|inf)\b", done.page)


def test_less_than_nothing_lost_and_memory_given_back(report):
    done = report(bench(run(lost=-2), idle(-0.5)))
    assert done.returncode == 0 and "⚠ -2" in done.page and "-0.500 KiB" in done.page
    assert 'width="-' not in done.page


def test_text_is_escaped_and_harmless(report):
    bad = '</title></style><script>alert("1")</script>&amp;\'\x1b[31m\u202e\x00\ud800 é漢'
    runs = [run(label=bad, scenario=bad, services=[{"name": bad, "cpu_us": 5}])]
    done = report(bench(*runs, machine={"cpu": bad, "kernel": bad, "os": bad}, commit=bad, configuration={bad: bad},
                        thresholds=[threshold(name=bad, unit=bad)]))
    assert done.returncode == 0, done.stderr
    assert faults(done.page) == []
    for letter in "\x1b\u202e\x00\ud800":
        assert letter not in done.page and letter not in done.stdout
    assert Page(done.page).text.count('<script>alert("1")</script>&amp;\'') >= 8
    assert "é漢" in done.page


# --- refused

def changed(path, value):
    """The document with the value at `path` replaced, or taken out with `...`."""
    document = copy.deepcopy(bench())
    owner = document
    for key in path[:-1]:
        owner = owner[key]
    if value is ...:
        del owner[path[-1]]
    else:
        owner[path[-1]] = value
    return document


RESULT = ("runs", 0, "result")
MALFORMED = [
    ((key,), value) for key in bench()
    for value in (..., None, 7, "")
] + [
    (("pipit_bench",), True), (("pipit_bench",), "1"), (("date",), "yesterday"), (("runs",), []), (("runs", 0), []),
    (("machine", "cores"), 0), (("machine", "cores"), 1.5), (("machine", "cores"), "2"), (("machine", "cpu"), 5),
    (("machine", "flush_ms"), -1), (("runs", 0, "server"), "emqx"), (("runs", 0, "server"), []),
    (("runs", 0, "label"), ""), (("runs", 0, "scenario"), ...), (("runs", 0, "round"), "1"),
    (("runs", 0, "round"), ...), (("runs", 0, "result"), []),
    (("runs", 1, "server"), "pipit"),  # a round twice
    ((*RESULT, "sent"), -1), ((*RESULT, "sent"), 1.5), ((*RESULT, "sent"), True), ((*RESULT, "sent"), "1"),
    ((*RESULT, "lost"), "0"), ((*RESULT, "seconds"), 10 ** 301), ((*RESULT, "protocol"), "xmpp"),
    ((*RESULT, "protocol"), {}), ((*RESULT, "ack_ms"), 5), ((*RESULT, "ack_ms", "p50"), -0.1),
    ((*RESULT, "ack_ms", "count"), 1.5), ((*RESULT, "ack_histogram"), {}), ((*RESULT, "ack_histogram"), [[1]]),
    ((*RESULT, "ack_histogram"), [[5, 1], [5, 1]]), ((*RESULT, "ack_histogram"), [[5, -1]]),
    ((*RESULT, "ack_histogram"), [["5", 1]]), ((*RESULT, "timeline"), [5]), ((*RESULT, "timeline"), [{"acked": 5}]),
    ((*RESULT, "timeline"), [{"t": 2}, {"t": 1}]), ((*RESULT, "timeline"), [{"t": 1, "acked": 0.5}]),
    ((*RESULT, "services"), {}), ((*RESULT, "services"), [{"cpu_us": 1}]),
    ((*RESULT, "services"), [{"name": "a", "cpu_us": "1"}]),
    (("thresholds", 0), 1), (("thresholds", 0, "name"), ...), (("thresholds", 0, "relation"), "~"),
    (("thresholds", 0, "relation"), []), (("thresholds", 0, "passed"), 1), (("thresholds", 0, "passed"), ...),
    (("thresholds", 0, "value"), ...), (("thresholds", 0, "value"), "1"), (("thresholds", 0, "limit"), None),
    (("thresholds", 0, "unit"), 5),
]


@pytest.mark.parametrize("path, value", MALFORMED, ids=lambda part: json.dumps(part, default=str)[:50])
def test_malformed_documents_are_refused(path, value):
    with pytest.raises(report_input.Malformed) as refused:
        report_input.check(changed(path, value))
    assert str(path[-1] if isinstance(path[-1], str) else path[-2]).split("_")[0] in str(refused.value) \
        or "twice" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("raw", [
    b"", b"{", b"[]", b"5", b"null", b"\xff\xfe", b'{"pipit_bench": 1}', b"[" * 100000, b'{"a": 1, "a": 2}',
    json.dumps(bench()).replace("0.76", "NaN").encode(), json.dumps(bench()).replace("0.76", "1e999").encode(),
    json.dumps(bench()).replace("0.76", "9" * 5000).encode(), json.dumps(bench()).encode() + b"x"],
    ids=lambda raw: repr(raw[:20]))
def test_unreadable_input_is_one_line_and_status_2(report, raw):
    done = report(raw)
    assert done.returncode == 2 and done.page is None and done.stdout == ""
    assert re.fullmatch(r"report\.py: [^\n]*bench\.json: [^\n]+\n", done.stderr), done.stderr


def test_wrong_usage_and_files_that_cannot_be_opened_are_status_2(report, tmp_path):
    assert report(bench()).returncode == 0
    source = tmp_path / "bench.json"
    for arguments in ((), ("--nonsense",), (source, source), (tmp_path / "absent.json",), (tmp_path,),
                      (source, "--html", tmp_path / "absent" / "report.html")):
        done = invoke(*arguments)
        assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr, arguments
    done = invoke(source)
    assert done.returncode == 0 and "every threshold holds" in done.stdout
