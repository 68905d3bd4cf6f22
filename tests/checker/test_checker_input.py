"""What is no evidence does not pass: unreadable, truncated, incomplete. And every way to hand a history in."""

import gzip
import json
import pathlib
import subprocess
import sys

import pytest

from story import Story, verdict, without

CHECKER = pathlib.Path(__file__).with_name("checker.py")


def talk():
    story = Story("ann", "ben")
    for user in ("ann", "ben", "ann"):
        story.say(user)
    return story.finish()


def text(events):
    return "".join(json.dumps(event) + "\n" for event in events)


def run(*arguments, stdin=""):
    data = stdin.encode() if isinstance(stdin, str) else stdin
    return subprocess.run([sys.executable, str(CHECKER), *map(str, arguments)], input=data, capture_output=True,
                          check=False, timeout=120)


@pytest.fixture
def file(tmp_path):
    def write(data, name="history.jsonl"):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path
    return write


# --- every way in

def test_file_gz_standard_input_and_several_files(file, tmp_path):
    events = talk()
    packed = tmp_path / "history.jsonl.gz"
    packed.write_bytes(gzip.compress(text(events).encode()))
    parts = [file(text(events[which::2]), f"part-{which}.jsonl") for which in (0, 1)]
    for result in (run(file(text(events))), run(packed), run(stdin=text(events)), run("-", stdin=text(events)),
                   run(*parts)):
        assert result.returncode == 0, result.stdout
        assert result.stdout.endswith(b"verdict: CLEAN\n")


def test_blank_lines_unknown_keys_and_strange_ids_are_read(file):
    events = talk()
    events[4]["colour"] = {"deep": [1, 2, {"x": None}]}
    for event in events:
        if "id" in event:
            event["id"] = 'quoted "\\u00e9\n' + event["id"]
    assert run(file(text(events).replace("\n", "\n\n"))).returncode == 0


def test_json_verdict(file):
    events = without(talk(), "final", user="ben", seq=2)
    result = run("--json", file(text(events)))
    found = json.loads(result.stdout)
    assert result.returncode == found["exit"] == 1 and found["verdict"] == "VIOLATED"
    assert found["checks"]["H1"]["violations"] == 1 and "ben" in found["checks"]["H1"]["first"][0]
    assert found["checks"]["H2"] == {"status": "ok", "examined": 3, "violations": 0, "first": []}
    assert found["counts"]["acked"] == 3 and found["latency"][0]["class"] == "none"


def test_explanations_are_limited_and_counted(file):
    events = [event for event in talk() if event["op"] != "final"]
    result = run("--explain", 2, file(text(events))).stdout.decode()
    assert "3 violations" in result and "... and 1 more" in result


# --- no evidence

@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data[:-30], lambda data: data + '{"t": 1', lambda data: data + "}\n",
    lambda data: data + "[]\n", lambda data: data + "null\n", lambda data: data.replace('"op"', '"po"', 1),
    lambda data: data + '{"t":99,"op":"dance"}\n', lambda data: data.replace('"seq": 2', '"seq": "2"'),
    lambda data: data.replace('"seq": 2', '"seq": -2'), lambda data: data.replace('"t": 10.05', '"t": NaN'),
    lambda data: data.replace('"t": 10.05', '"t": "x"'),
    lambda data: data.replace('"conversation": "c1", "seq": 2', '"seq": 2'),
    lambda data: data.replace("\n", " \udcff\n", 1).encode(errors="surrogateescape"),
    lambda data: data.replace('}\n{', '},{', 1)])
def test_unreadable_lines(file, damage):
    data = damage(text(talk()))
    assert data != text(talk())
    result = run(file(data))
    assert result.returncode in (1, 2) and b"no evidence: line" in result.stdout, result.stdout


def test_truncated_gz(file):
    data = gzip.compress(text(talk()).encode())
    result = run(file(data[:-12], "history.jsonl.gz"))
    assert result.returncode == 2 and b"no evidence" in result.stdout


@pytest.mark.parametrize("data", ["", "\n", b"\x00\xff\x00", "not json at all\n"])
def test_nothing(file, data):
    assert run(file(data)).returncode == 2


def test_missing_file(tmp_path):
    result = run(tmp_path / "none.jsonl")
    assert result.returncode == 2 and b"No such file" in result.stdout


def no_evidence(events, *arguments):
    report = verdict(events, *arguments)
    assert report.exit_code == 2, report.as_text()
    return report.problems[0]


def test_without_heal():
    assert "no heal" in no_evidence(without(talk(), "heal"))


def test_lists_from_before_the_heal_do_not_count():
    events = without(talk(), "heal")
    events.append({"t": events[-1]["t"] + 1, "process": "nemesis", "op": "heal", "phase": "ok"})
    report = verdict(events)
    assert report.exit_code == 2 and "no final list ended after the heal" in report.problems


def test_without_final_lists():
    events = [event for event in talk() if event["op"] not in ("final", "final_end", "deliver", "show")]
    assert "no final list" in no_evidence(events)


@pytest.mark.parametrize("option, needed", [("--min-acked", 4), ("--min-delivered", 4), ("--min-finals", 3),
                                            ("--min-faults", 1)])
def test_too_little(option, needed):
    assert "are needed" in no_evidence(talk(), option, str(needed))
    assert verdict(talk(), option, str(needed - 1)).exit_code == 0


def test_required_check_that_examined_nothing():
    assert "H9 examined nothing" in no_evidence(talk(), "--require", "H1,H9")
    assert verdict(talk(), "--require", "H1,H10").exit_code == 0


def test_outcome_without_invocation_and_time_that_goes_back():
    events = talk()
    sends = [event for event in events if event["op"] == "send" and event["phase"] == "invoke"]
    assert "without its invocation" in no_evidence([event for event in events if event is not sends[1]] and [
        {**event, "call": 77} if event["op"] == "send" and event["phase"] == "ok" and event["call"] == sends[1]["call"]
        else event for event in events])
    events = talk()
    events[6]["t"] -= 1
    assert "t goes back" in no_evidence(events)


def test_late_answer_after_unknown_counts():
    story = Story("ann", "ben")
    sent = story.invoke("ann")
    story.outcome(sent, "info")
    story.outcome(sent, seq=story.store(sent))
    story.deliver("ben", 1)
    events = story.finish()
    assert verdict(events).exit_code == 0
    assert verdict(without(events, "final", user="ben")).counts["H1"] == 1
