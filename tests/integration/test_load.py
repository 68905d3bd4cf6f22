"""The load generator: each scenario at small scale, and that it notices what goes wrong."""

import concurrent.futures
import json
import subprocess
import sys
import urllib.parse

import pytest

from faulty_relay import FaultyWs
from ports import BUILD, ROOT, SLOW, free_port, wait_until

CLIENTS, GROUP = 20, 10


@pytest.fixture(scope="module")
def files(stack, tmp_path_factory):
    """The options that name the accounts and the groups."""
    folder = tmp_path_factory.mktemp("load")
    subprocess.run([sys.executable, ROOT / "loadtest/accounts.py", "--url", stack.rest_url, "--invite",
                    stack.admin_invite, "--count", str(CLIENTS), "--out", folder / "accounts.txt",
                    "--groups", folder / "groups.txt", "--group-size", str(GROUP)], check=True, capture_output=True)
    return ["--accounts", folder / "accounts.txt", "--groups", folder / "groups.txt", "--group-size", GROUP]


def load(stack, files, scenario, *options, ws_url=None):
    """(exit status, result)"""
    ws_port = urllib.parse.urlsplit(ws_url or stack.ws_url).port
    port = ws_port if "ws" in options else stack.mqtt_port
    rest_port = urllib.parse.urlsplit(stack.rest_url).port
    command = [BUILD / "pipit-load", scenario, "--port", port, "--ws-port", ws_port, "--rest-port", rest_port,
               "--clients", CLIENTS, "--seconds", 2, "--pids", stack.processes["routing"].pid, *files, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=90 * SLOW)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("scenario,options,counted", [
    ("direct", (), "received"),
    ("direct", ("--protocol", "ws", "--window", 1), "received"),
    ("direct", ("--rate", 200, "--idle", 10), "received"),
    ("group", ("--window", 1), "received"),
    ("group", ("--protocol", "ws", "--rate", 20), "received"),
    ("send", ("--links", 4), "acked"),
    ("login", ("--seconds", 60), "logins"),
    ("mixed", ("--links", 8), "received"),
    ("reconnect-storm", ("--clients", 60, "--seconds", 30), "back"),
    ("idle", ("--clients", 60), None),
])
def test_everything_arrives(stack, files, scenario, options, counted):
    code, result = load(stack, files, scenario, *options)
    assert code == 0 and result["whole"], result
    assert result["lost"] == result["duplicated"] == result["reordered"] == result["refused"] == 0
    assert counted is None or result[counted] > 0
    if counted == "received":
        others = GROUP - 1 if scenario == "group" else 1
        assert result["received"] == result["sent"] * others
        assert result["delivery_ms"]["count"] == result["received"]
        assert sum(count for _, count in result["delivery_histogram"]) == result["received"]
        assert sum(second["delivered"] for second in result["timeline"]) <= result["received"]
    [service] = result["services"]
    assert service["name"] == "pipit-routing" and service["pss_kib_after"] > 0


def test_damage_is_noticed(stack, files):
    with FaultyWs(free_port(), stack.ws_url) as relay:
        code, result = load(stack, files, "direct", "--protocol", "ws", "--rate", 200, ws_url=relay.url)
    assert code == 1 and not result["whole"]
    assert result["lost"] > 0 and result["duplicated"] > 0 and result["reordered"] > 0, result


def test_a_closed_connection_is_no_success(stack, files):
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        with FaultyWs(free_port(), stack.ws_url) as relay:
            run = thread.submit(load, stack, files, "direct", "--protocol", "ws", "--rate", 20, ws_url=relay.url)
            wait_until(lambda: relay.passed > 5, 10 * SLOW, "messages through the relay")
        code, result = run.result()
    assert code == 1 and result["closed"] == CLIENTS, result


def test_a_refused_login_is_no_success(stack, files):
    code, result = load(stack, files, "login", "--password", "no-such-password", "--seconds", 20)
    assert code == 1 and result["logins"] == 0
    assert result["refused"] + result["missing"] >= CLIENTS


@pytest.mark.parametrize("arguments", [(), ("direct",), ("direct", "--port", "x"), ("what", "--port", "1"),
                                       ("direct", "--port", "1", "--clients", "3"), ("login", "--rest-port", "1")])
def test_wrong_usage_is_told(arguments):
    done = subprocess.run([BUILD / "pipit-load", *arguments], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and "usage" in done.stderr
