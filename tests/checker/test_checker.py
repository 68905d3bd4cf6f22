"""Planted violations of messages and lists (H1 to H5): each is found, by its check and by no other.

H7 to H11 are test_checker_streams.py's, H6 is test_checker_members.py's; that correct histories pass is
test_checker_correct.py's.
"""

import pytest

from story import Story, edit, find, talk, verdict, violated, without


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
    story.show("cat", 7), story.show("cat", 8)
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
