"""Planted violations of cursors, receipts, edits, streams and recovery (H7 to H11).
"""

import pytest

from story import Story, edit, talk, verdict, violated, without


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


def test_list_of_unknown_age_proves_no_fall():
    story = talk()
    story.mark("ann", read=5)
    for read in (4, 3):
        del story.cursor("ben", "ann", read=read, delivered=6)["asked"]
    assert violated(story.finish(read={"ann": 5})) == set()


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


def test_hole_in_what_a_sync_answers():
    story = talk()
    for user in ("ann", "cat", "ann"):
        seq = story.say(user, to=("ann", "cat"))
    story.line("ben", "gap")
    for answered in (seq - 1, seq):
        story.deliver("ben", answered, "sync")
    events = story.finish()
    assert violated(events) == {"H10"}
    story = talk()
    story.say("ann", to=("cat",))
    story.line("ben", "gap")
    story.deliver("ben", 7, "sync")  # a client that shows no more is not the server's fault
    story.line("ben", "gap")
    story.deliver("ben", story.say("cat", to=("ann",)), "sync")
    assert violated(story.finish()) == set()


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
