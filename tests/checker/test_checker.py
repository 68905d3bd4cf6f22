"""Planted violations of messages, streams, lists and cursors: each is found, by its check and by no other.

That correct histories pass is test_checker_correct.py's; memberships are test_checker_members.py's.
"""

import pytest

from story import Story, find, verdict, violated, without


def talk(messages=6):
    """Ann, Ben and Cat; everything right."""
    story = Story("ann", "ben", "cat")
    for number in range(messages):
        story.say(("ann", "ben", "cat")[number % 3])
    return story


def edit(events, op, phase="ok", number=0, where=None, **changes):
    """Changes one event."""
    events[find(events, op, phase, number, **(where or {}))].update(changes)
    return events


def test_the_story_itself_is_clean():
    report = verdict(talk().finish())
    assert report.exit_code == 0, report.as_text()
    assert report.examined["H1"] == 18


# --- H1: lost

def test_acked_message_lost_on_one_device():
    events = without(talk().finish(), "final", user="ben", seq=3)
    report = verdict(events)
    assert {c for c, n in report.counts.items() if n} == {"H1"}
    assert "00003 was ok as c1 seq 3" in report.explanations["H1"][0] and "ben-d of ben" in report.explanations["H1"][0]


def test_acked_message_lost_for_all_at_the_end():
    events = without(talk().finish(), "final", seq=6)
    for event in events:
        if event["op"] == "final_end":
            event.update(head=5, unread=5)
    assert violated(events) == {"H1"}


def test_acked_message_without_a_known_seq_lost_for_all():
    story = talk()
    story.outcome(story.invoke("ann", protocol="mqtt"))
    assert violated(story.finish()) == {"H1"}


def test_final_list_short_of_its_head():
    assert violated(without(talk().finish(), "final", user="cat", seq=6)) == {"H1"}


def test_head_of_one_device_short():
    events = without(talk().finish(), "final", user="cat", seq=6)
    assert violated(edit(events, "final_end", where={"user": "cat"}, head=5, unread=5)) == {"H1"}


def test_one_device_gives_no_final_list():
    story = talk()
    assert violated(story.finish(without=("cat",))) == {"H1"}


def test_one_final_list_never_ends():
    report = verdict(without(talk().finish(), "final_end", user="cat"))
    assert report.counts["H1"] == 1 and "did not end it" in report.problems[0]


def test_one_conversation_is_missing_among_the_lists():
    story = talk()
    events = story.finish()
    other = Story("ann", "ben", conversation="c2")
    other.calls = 100
    other.say("ann")
    tail = without(other.finish(), "final", user="ben", conversation="c2")
    tail = without(without(tail, "final_end", user="ben"), "heal")
    assert violated(sorted(events + tail, key=lambda event: event["t"])) == {"H1"}


# --- H2, H3, H4: which message is which

def test_phantom():
    story = talk()
    story.deliver("ben", 7, sent={"id": "f" * 32, "hash": "0" * 16, "user": "ann"})
    assert violated(story.finish()) == {"H2", "H4", "H10"}  # and it is missing in all lists


def test_corrupted_body():
    assert violated(edit(talk().finish(), "deliver", number=3, hash="bad")) == {"H2"}
    assert violated(edit(talk().finish(), "final", number=3, hash="bad", effective=None)) == {"H2"}


def test_forged_sender():
    assert violated(edit(talk().finish(), "deliver", number=3, sender="eve")) == {"H2"}


def refuse(events, number):
    index = find(events, "send", number=number)
    events[index] = {**events[index], "phase": "fail"}
    return events


def test_refused_message_is_delivered():
    assert violated(refuse(talk().finish(), 2)) == {"H2"}


def test_delivered_before_it_was_sent():
    story = talk()
    events = story.finish()
    sent = find(events, "send", "invoke", number=3)
    early = dict(events[find(events, "deliver", seq=4)], t=events[sent]["t"] - 0.005)
    assert "H2" in violated(events[:sent] + [early] + events[sent:])


def test_repeated_id_is_stored_twice():
    story = talk()
    again = story.invoke("ann", identity=story.log[0]["id"], hash=story.log[0]["hash"])
    story.outcome(again, seq=story.store(again))
    story.all_reconnect()
    assert violated(story.finish()) == {"H3"}


def test_repeated_id_is_answered_with_another_seq():
    story = talk()
    again = story.invoke("ann", identity=story.log[0]["id"], hash=story.log[0]["hash"], protocol="rest")
    story.outcome(again, seq=9)
    assert "H3" in violated(story.finish())


def test_one_seq_is_listed_twice():
    events = talk().finish()
    index = find(events, "final", user="ben", seq=2)
    assert violated(events[:index] + [dict(events[index])] + events[index:]) == {"H3"}


def test_two_messages_have_one_seq():
    story = talk()
    lost = story.invoke("ann")
    story.outcome(lost, "info")
    story.deliver("cat", 6, id=lost["id"], hash=lost["hash"], sender="ann")
    assert "H4" in violated(story.finish())


def test_two_devices_list_different_messages():
    story = talk()
    lost = story.invoke("ann")
    story.outcome(lost, "info")
    events = edit(story.finish(), "final", where={"user": "ben", "seq": 2}, id=lost["id"], hash=lost["hash"],
                  effective=lost["hash"])
    assert "H4" in violated(events)


def test_hole_in_all_final_lists():
    story = talk()
    story.store(story.invoke("ann"))  # no answer
    sent = story.invoke("ben")
    story.outcome(sent, seq=story.store(sent))
    story.all_reconnect()
    events = [event for event in story.finish() if event.get("seq") != 7 or event["op"] != "final"]
    assert violated(events) == {"H4"}


# --- H5: order

def test_order_of_real_time_across_clients():
    story = talk()
    first = story.invoke("ann")
    story.outcome(first)  # a protocol that tells no seq
    second = story.invoke("ben")
    story.outcome(second)
    story.store(second), story.store(first)
    story.all_reconnect()
    assert violated(story.finish()) == {"H5"}


def test_order_known_from_a_delivery():
    story = talk()
    first = story.invoke("ann")
    story.store(first), story.store(first)
    story.all_reconnect()
    story.deliver("cat", 8)
    story.log[6] = story.invoke("ben")
    story.deliver("cat", 7, "sync")
    assert violated(story.finish()) == {"H5"}


@pytest.mark.parametrize("protocol, found", [("ws", {"H5"}), ("mqtt", {"H5"}), ("rest", set())])
def test_order_of_pipelined_sends(protocol, found):
    story = talk()
    first, second = story.invoke("ann", protocol=protocol), story.invoke("ann", protocol=protocol)
    story.store(second), story.store(first)
    story.outcome(first, seq=8), story.outcome(second, seq=7)
    for seq in (7, 8):
        story.deliver("ben", seq), story.deliver("cat", seq)
    assert violated(story.finish()) == found


def test_pipelined_sends_may_change_order_when_one_was_repeated_elsewhere():
    story = talk()
    first, second = story.invoke("ann"), story.invoke("ann")
    copy = story.invoke("ann", identity=second["id"], hash=second["hash"], protocol="rest")
    story.store(second), story.store(first)
    story.outcome(copy, seq=7), story.outcome(first, seq=8), story.outcome(second, seq=7)
    for seq in (7, 8):
        story.deliver("ben", seq), story.deliver("cat", seq)
    assert violated(story.finish()) == set()


# --- H7, H8: cursors and receipts

def test_read_cursor_falls_for_one_observer():
    story = talk()
    story.cursor("ben", "ann", read=4, delivered=6)
    story.cursor("ben", "ann", read=3, delivered=6)
    assert violated(story.finish()) == {"H7"}


def test_delivered_cursor_falls():
    story = talk()
    story.cursor("ben", "ann", delivered=6)
    story.cursor("ben", "ann", delivered=5)
    assert violated(story.finish()) == {"H7"}


def test_two_lists_at_once_may_answer_in_any_order():
    story = talk()
    story.cursor("ben", "ann", read=4, delivered=6)
    story.cursor("ben", "ann", read=3, delivered=6)["asked"] = story.t - 0.015
    assert violated(story.finish()) == set()


def test_acked_mark_is_lost():
    story = talk()
    story.mark("ann", read=5)
    story.cursor("ben", "ann", read=4, delivered=5)
    assert violated(story.finish(read={"ann": 5})) == {"H7"}


def test_acked_mark_is_lost_in_the_final_list():
    story = talk()
    story.mark("ann", read=5)
    assert violated(story.finish(read={"ann": 4})) == {"H7"}


def test_mark_that_a_socket_took_or_that_is_unknown_may_be_lost():
    story = talk()
    story.mark("ann", read=5, protocol="ws")
    story.mark("ann", read=5, phase="info")
    assert violated(story.finish()) == set()


@pytest.mark.parametrize("changes", [{"unread": 7}, {"unread": 0}, {"read": 2}, {"joined": 0, "read": 7}])
def test_unread_is_wrong(changes):
    assert "H7" in violated(edit(talk().finish(), "final_end", **changes))


def test_read_beyond_delivered():
    story = talk()
    story.cursor("ben", "ann", read=4, delivered=3)
    assert violated(story.finish()) == {"H7"}


def test_receipt_before_the_delivery():
    story = Story("ann", "ben")
    sent = story.invoke("ann")
    story.outcome(sent, seq=story.store(sent))
    story.line("ann", "receipt", subject="ben", conversation="c1", delivered=1)
    story.wait(3)
    story.deliver("ben", 1)
    assert violated(story.finish()) == {"H8"}


def test_receipt_of_what_was_never_sent():
    story = talk()
    sent = story.invoke("ann")
    story.outcome(sent, seq=story.store(sent))
    story.line("ann", "receipt", subject="ben", conversation="c1", read=7)
    story.all_reconnect()
    assert violated(story.finish()) == {"H8"}


def test_receipt_of_an_own_message_is_true():
    story = talk()
    sent = story.invoke("ann")
    story.line("ben", "receipt", subject="ann", conversation="c1", delivered=story.store(sent))
    story.wait(3)
    story.outcome(sent, seq=7)
    story.deliver("ben", 7), story.deliver("cat", 7)
    assert violated(story.finish()) == set()


# --- H9: edits and recalls

def changed_talk():
    story = talk()
    story.say("ann", kind="edit", target=1)
    story.say("ben", kind="recall", target=2)
    return story


def test_edits_and_recalls_are_clean():
    report = verdict(changed_talk().finish())
    assert report.exit_code == 0 and report.examined["H9"] == 2


def test_recalled_body_returns():
    story = changed_talk()
    body = story.log[1]["hash"]
    assert violated(edit(story.finish(), "final", where={"user": "cat", "seq": 2}, effective=body)) == {"H9"}


def test_edit_is_forgotten_on_one_device():
    story = changed_talk()
    body = story.log[0]["hash"]
    assert violated(edit(story.finish(), "final", where={"user": "cat", "seq": 1}, effective=body)) == {"H9"}


def test_edits_diverge():
    events = edit(changed_talk().finish(), "final", where={"user": "cat", "seq": 7}, hash="bad", effective="bad")
    assert violated(events) == {"H9"}


def test_edit_points_elsewhere_on_one_device():
    assert violated(edit(changed_talk().finish(), "final", where={"user": "cat", "seq": 7}, target=4)) == {"H9"}


def test_edit_of_a_foreign_message_is_accepted():
    story = talk()
    story.say("ann", kind="edit", target=2)
    assert violated(story.finish()) == {"H9"}


# --- H10: streams

def test_live_hole_without_a_gap():
    story = talk()
    seq = story.say("ann", to=("cat",))
    story.say("cat")
    events = without(story.finish(), "show", user="ben", seq=seq + 1)
    assert violated(events) == {"H10"}


@pytest.mark.parametrize("told", ["gap", "sync"])
def test_hole_that_a_gap_or_a_sync_explains(told):
    story = talk()
    seq = story.say("ann", to=("cat",))
    sent = story.invoke("cat")
    story.outcome(sent, seq=story.store(sent))
    story.deliver("ann", seq + 1)
    if told == "gap":
        story.line("ben", "gap")
    story.deliver("ben", seq + 1)
    if told == "sync":
        story.deliver("ben", seq, "sync")
    events = story.finish()
    assert violated(events) == set()
    assert violated(events, "--strict-live") == ({"H10"} if told == "sync" else set())


def test_live_out_of_order():
    story = talk()
    seq = story.say("ann", to=("cat",))
    sent = story.invoke("cat")
    story.outcome(sent, seq=story.store(sent))
    for late in (seq + 1, seq):
        story.deliver("ben", late)
    story.deliver("ann", seq + 1)
    assert violated(story.finish()) == {"H10"}


def test_copies_are_allowed():
    story = talk()
    for seq in (4, 6, 6):
        story.deliver("ben", seq)
    assert violated(story.finish()) == set()


def test_last_messages_never_come_and_no_gap_is_told():
    story = talk()
    story.say("ann", to=("cat",))
    assert violated(story.finish()) == {"H10"}


def test_last_messages_may_miss_after_a_gap():
    story = talk()
    story.say("ann", to=("cat",))
    story.line("ben", "gap")
    assert violated(story.finish()) == set()


def test_resumed_session_must_not_lose():
    story = talk()
    story.line("ben", "gap", resumed=True)
    seq = story.say("ann", to=("cat",))
    story.say("cat", to=("ann",))
    story.deliver("ben", seq + 1)
    assert violated(story.finish()) == {"H10"}


def test_shown_out_of_order_twice_and_with_a_hole():
    for seqs in ((8, 7), (7, 7, 8), (8,)):
        story = talk()
        story.say("ann", to=("cat",)), story.say("cat", to=("ann",))
        story.deliver("ben", 7), story.deliver("ben", 8)
        for seq in seqs:
            story.show("ben", seq)
        assert violated(story.finish()) == {"H10"}, seqs


def test_delivered_and_then_gone():
    story = talk()
    story.store(story.invoke("ann"))
    for user in ("ben", "cat"):
        story.deliver(user, 7)
    events = without(story.finish(), "final", seq=7)
    for event in events:
        if event["op"] == "final_end":
            event.update(head=6, unread=6)
    assert "H10" in violated(events)


# --- H11: recovery

def test_no_answer_after_a_fault():
    story = talk()
    fault = {"class": "kill-routing", "target": "routing-1", "number": 1}
    story.line("nemesis", "fault", "invoke", **fault)
    story.line("nemesis", "fault", **fault)
    sent = story.invoke("ann")
    story.wait(4)
    story.outcome(sent, seq=story.store(sent))
    story.deliver("ben", 7), story.deliver("cat", 7)
    events = story.finish()
    assert violated(events) == set()
    report = verdict(events, "--max-recovery-s", "3")
    assert report.counts["H11"] == 1
    row = next(row for row in report.latency if row["class"] == "kill-routing")
    assert row["faults"] == 1 and 4.0 < row["back_s"] < 4.1
