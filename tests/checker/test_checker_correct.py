"""Correct histories pass, however much goes wrong in them; and each kind of damage to one of them is found.

The simulator (simulation/) is a correct system with time-outs, resends on other ways, lost connections, changes
of membership of unknown outcome, blocks, logouts and faults. Seeds are fixed: what passes here passes in CI.
"""

import random

import pytest

from simulation.world import Simulation
from story import find, verdict

SEEDS = range(40)


def simulate(seed):
    return Simulation(seed, users=4 + seed % 6, groups=1 + seed % 4, sends=200 + 100 * (seed % 4),
                      rate=(20, 100, 400)[seed % 3], trouble=(0.0, 0.15, 0.4)[seed // 3 % 3]).run()


@pytest.mark.parametrize("seed", SEEDS)
def test_correct_history_passes(seed):
    report = verdict(simulate(seed), "--strict-live")
    assert report.exit_code == 0, report.as_text()


def test_histories_exercise_every_check():
    examined = dict.fromkeys(("H%d" % n for n in range(1, 12)), 0)
    for seed in (1, 4, 7, 8, 10, 11, 13, 14):
        for check, count in verdict(simulate(seed)).examined.items():
            examined[check] += count
    assert min(examined.values()) >= 50, examined


@pytest.fixture(scope="module")
def history():
    return simulate(7)


def test_order_of_close_lines_does_not_matter(history):
    """Lines of two writers within a millisecond may change places."""
    shuffled = sorted(history, key=lambda event, rng=random.Random(1): event["t"] + rng.uniform(0, 0.0009))
    lines = {}
    for event in shuffled:  # but each process's own lines keep their order
        lines.setdefault(event["process"], []).append(event)
    own = {process: iter(sorted(events, key=lambda event: event["t"])) for process, events in lines.items()}
    report = verdict([next(own[event["process"]]) for event in shuffled])
    assert report.exit_code == 0, report.as_text()


def pick(history, seed, op, where):
    found = [index for index, event in enumerate(history) if event["op"] == op and where(event)]
    return random.Random(seed).choice(found)


DAMAGE = {
    "a line of a final list": ("final", lambda event: True, None, {"H1", "H4"}),
    "the end of a final list": ("final_end", lambda event: event["head"] > event["joined"], None, {"H1"}),
    "a body on the way": ("deliver", lambda event: True, {"hash": "bad"}, {"H2", "H9"}),
    "a body in a list": ("final", lambda event: event.get("kind") != "recall", {"hash": "bad"}, {"H2", "H9"}),
    "the sender": ("deliver", lambda event: True, {"sender": "nobody"}, {"H2"}),
    "the id of a delivery": ("deliver", lambda event: True, {"id": "e" * 32}, {"H2"}),
    "the id of a listed message": ("final", lambda event: True, {"id": "e" * 32}, {"H2"}),
    "the seq of a delivery": ("deliver", lambda event: True, {"seq": 9999}, {"H3"}),
    "the seq of an ok": ("send", lambda event: event["phase"] == "ok" and "seq" in event, {"seq": 9999}, {"H3"}),
    "the receiver": ("deliver", lambda event: True, {"user": "eve", "device": "eve-d", "process": "eve-d"}, {"H6"}),
    "unread": ("final_end", lambda event: True, {"unread": 9999}, {"H7"}),
    "a receipt": ("receipt", lambda event: True, {"delivered": 9999, "read": 9999}, {"H8"}),
    "what an edited message shows": ("final", lambda event: event["effective"] != event["hash"], {"effective": "bad"},
                                     {"H9"}),
    "a seq that is shown": ("show", lambda event: event["seq"] > 1, {"seq": 1}, {"H10", "H3"}),
    "conversation": ("deliver", lambda event: event["conversation"] == "c0", {"conversation": "c1"}, {"H3"}),
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("seed", range(8))
def test_damage_is_found(history, what, seed):
    op, where, changes, expected = DAMAGE[what]
    at = pick(history, seed, op, where)
    damaged = list(history)
    if changes is None:
        del damaged[at]
    else:
        damaged[at] = {**damaged[at], **changes}
    report = verdict(damaged)
    assert report.exit_code != 0, f"line {at + 1}: {history[at]}"
    assert expected & {check for check, count in report.counts.items() if count} or \
        "did not end it" in str(report.problems), report.as_text()


def test_two_messages_change_places_for_everybody(history):
    """As if the server had stored them the other way round: only their order in time tells."""
    oks = [event for event in history if event["op"] == "send" and event["phase"] == "ok" and event.get("seq")]
    calls = {(event["process"], event["call"]): event for event in history
             if event["op"] == "send" and event["phase"] == "invoke"}
    seqs = {}
    for event in oks:
        sent = calls[event["process"], event["call"]]
        seqs.setdefault(sent["conversation"], {})[event["seq"]] = sent
    numbered = seqs["c0"]
    first, last = min(numbered), max(numbered)
    ids = {numbered[first]["id"]: last, numbered[last]["id"]: first}
    damaged = []
    for event in history:
        identity = event.get("id") or calls.get((event["process"], event.get("call")), {}).get("id")
        if "seq" in event and identity in ids:
            event = {**event, "seq": ids[identity]}
        damaged.append(event)
    assert verdict(damaged).counts["H5"] > 0


def test_invocation_without_outcome_is_unknown(history):
    at = find(history, "send", "ok", 20)
    assert verdict(history[:at] + history[at + 1:]).exit_code == 0
