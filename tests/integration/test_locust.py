"""Locust's scenarios (loadtest/locust) at small scale, and that they notice what goes wrong."""

import concurrent.futures
import json
import os
import subprocess
import sys
from collections import namedtuple

import pytest

from clients import PASSWORD
from faulty_relay import FaultyWs
from ports import ROOT, SLOW, free_port, wait_until

FOLDER = ROOT / "loadtest/locust"
sys.path.insert(0, str(FOLDER))

from checker import Stream  # noqa: E402

# rows are Locust's statistics by name; said is what it printed, with its report of errors.
Result = namedtuple("Result", "code rows said")


@pytest.fixture(scope="module")
def python():
    done = subprocess.run([FOLDER / "install.sh"], stdout=subprocess.PIPE, text=True, timeout=900)
    assert done.returncode == 0, "loadtest/locust/install.sh says why"
    return done.stdout.strip()


@pytest.fixture
def locust(python):
    def run(stack, *options, ws=None, seconds=5, users=9):
        command = [python, "-m", "locust", "-f", FOLDER / "locustfile.py", "--headless", "--only-summary",
                   "--host", stack.rest_url, "--ws", ws or stack.ws_url, "--users", str(users),
                   "--spawn-rate", "10", "--run-time", f"{seconds * SLOW}s", "--pause", str(0.1 * SLOW),
                   "--json", *options]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PIPIT_", "LOCUST_"))}
        done = subprocess.run(list(map(str, command)), env=environment, text=True, timeout=60 + 60 * SLOW,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.stdout.startswith("["), f"no statistics: {done.stderr}"
        rows = {row["name"]: row for row in json.loads(done.stdout)}
        return Result(done.returncode, rows, done.stderr)

    return run


@pytest.fixture
def invite(stack):
    """One for many, as an administrator gives it to somebody who is to run a load test."""
    if stack.people.admin is None:
        stack.people.make()
    return stack.people.admin.ok("POST", "/v1/admin/invites", {"uses": 100})["invite"]


def count(result, name):
    return result.rows[name]["num_requests"] if name in result.rows else 0


def failed(result, name=None):
    """Failures of one kind, or of all."""
    return sum(row["num_failures"] for row in result.rows.values() if name in (None, row["name"]))


def test_everything_arrives(fresh_stack, locust):
    stack = fresh_stack()
    result = locust(stack, "--invite", stack.admin_invite, "--group-size", "3")
    assert result.code == 0, result.said
    assert failed(result) == 0, result.said
    for name in ("/v1/login", "direct: sent to acknowledged", "direct: sent to received",
                 "group: sent to acknowledged", "group: sent to received"):
        assert count(result, name) >= 10, f"{name}: {result.said}"
    assert count(result, "direct: sent to received") == count(result, "direct: sent to acknowledged")
    # 9 users are 3 of each kind, a direct user is two people.
    assert count(result, "direct: everything arrived") == 6
    assert count(result, "group: everything arrived") == 3
    # A message goes to two others; those of the last moment to one that has not gone yet.
    assert count(result, "group: sent to received") > count(result, "group: sent to acknowledged")


def test_one_class_and_an_ordinary_invite(stack, locust, invite):
    result = locust(stack, "--invite", invite, "GroupChat", seconds=6, users=5)
    assert result.code == 0, result.said
    assert count(result, "group: sent to received") > 0
    assert not [name for name in result.rows if name.startswith("direct")]
    # The accounts stay: next time it goes without an invite.
    again = locust(stack, "GroupChat", seconds=6, users=5)
    assert again.code == 0, again.said
    assert count(again, "group: sent to received") > 0


def test_a_wrong_password_is_a_failure(stack, locust, invite):
    for name in ("locust0-1", "locust0-2"):
        with_body = {"invite": invite, "user": name, "password": PASSWORD}
        stack.people.admin.call("POST", "/v1/register", with_body)  # may be there already
    result = locust(stack, "--password", "another-otter-lamp", "--pause", "0.5", "Login", seconds=2, users=2)
    assert result.code == 1, result.said
    assert failed(result, "/v1/login") == count(result, "/v1/login") > 0
    assert "401 not_authenticated" in result.said, result.said


def test_a_restart_loses_nothing(stack, locust, invite):
    def restart():
        before = stack.metrics("connection")["pipit_submits_total"]
        wait_until(lambda: stack.metrics("connection")["pipit_submits_total"] > before + 20, 30, "messages")
        stack.kill("connection")
        stack.restart("connection")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        restarted = pool.submit(restart)
        result = locust(stack, "--invite", invite, "DirectChat", "GroupChat", users=6, seconds=6)
        restarted.result()
    # Every end of a connection is told, and what was under way comes all the same.
    assert result.code == 1, result.said
    assert failed(result, "direct: connection") >= 6, result.said
    assert failed(result, "group: connection") >= 3, result.said
    assert failed(result) == failed(result, "direct: connection") + failed(result, "group: connection"), result.said
    assert count(result, "direct: everything arrived") == 6, result.said


def test_damaged_deliveries_are_failures(stack, locust, invite):
    with FaultyWs(free_port(), stack.ws_url) as relay:
        result = locust(stack, "--invite", invite, "DirectChat", "GroupChat", ws=relay.url, users=6, seconds=4)
    assert relay.passed > 20, result.said
    assert result.code == 1, result.said
    for kind in ("direct", "group"):
        assert failed(result, f"{kind}: check") > 0, result.said
        assert failed(result, f"{kind}: everything arrived") > 0, result.said
    for problem in ("duplicate: seq", "out of order: seq", "lost: "):
        assert problem in result.said, f"{problem} is not in {result.said}"


# --- the checker


def fed(*seqs, start=0):
    """A stream of one sender's messages, and what was said of them."""
    stream = Stream(start)
    return stream, [problem for seq in seqs for problem in stream.live(seq, "u_ann", seq)]


def test_a_good_stream_has_no_problems():
    stream, problems = fed(4, 5, 6, 7, start=4)
    assert problems == []
    assert stream.missing(7) == []
    assert stream.missing(9) == [8, 9]


@pytest.mark.parametrize("seqs, said, missing", [
    ((1, 2, 4), [], [3]),
    ((1, 2, 2, 3), ["duplicate: seq 2 came twice"], []),
    ((1, 3, 3), ["duplicate: seq 3 came twice"], [2]),
    ((1, 3, 2, 4), ["out of order: seq 2 after 3"], []),
])
def test_each_fault_is_found(seqs, said, missing):
    stream, problems = fed(*seqs)
    assert problems == said
    assert stream.missing(max(seqs)) == missing


def test_own_messages_and_a_sync_fill_the_stream():
    stream = Stream(0)
    assert stream.own(1, "u_me", 1) == []
    assert stream.recovered(2, "u_ann", 1) == []
    assert stream.recovered(3, "u_ann", 2) == []
    assert stream.live(3, "u_ann", 2) == []  # was on its way during the sync
    assert stream.live(5, "u_ann", 3) == []
    assert stream.own(4, "u_me", 2) == []  # the acknowledgement was later than the next message
    assert stream.recovered(6, "u_me", 3) == []
    assert stream.own(6, "u_me", 3) == []  # sent again after the connection had ended
    assert stream.missing(6) == []
    assert stream.own(6, "u_me", 3) == ["duplicate: seq 6 came twice"]
    assert stream.live(3, "u_ann", 2) == ["out of order: seq 3 after 5", "duplicate: seq 3 came twice"]


@pytest.mark.parametrize("number, said", [(4, "lost by the server"), (2, "out of order at the server"),
                                          (1, "out of order at the server")])
def test_a_sender_numbers_in_steps_of_one(number, said):
    stream = Stream(0)
    assert stream.live(1, "u_ann", 1) + stream.live(2, "u_bob", 7) + stream.live(3, "u_ann", 2) == []
    assert [problem.split(":")[0] for problem in stream.live(4, "u_ann", number)] == [said]
