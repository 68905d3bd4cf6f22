"""Planted violations of blocks, ended logins and refused senders (H6), and the borders of what is right."""

import pytest

from story import talk, verdict, violated


def say_to(story, user, *receivers):
    """A message that exactly these get."""
    sent = story.invoke(user)
    story.outcome(sent, seq=story.store(sent))
    for receiver in receivers:
        story.deliver(receiver, len(story.log))
    return len(story.log)


# --- blocks and logins

def test_delivery_across_a_block():
    story = talk(3)
    seq = say_to(story, "ann", "ben")
    story.change("block", "ann", actor="cat")
    story.wait(3)
    story.deliver("cat", seq)
    story.members = {"ben": 0}  # a blocked pair reads nothing
    assert violated(story.finish()) == {"H6"}


def test_blocks_end_with_the_last_unblock():
    story = talk(3)
    story.change("block", "ann", actor="cat")
    story.wait(3)
    story.change("unblock", "ann", actor="cat")
    say_to(story, "ann", "ben", "cat")
    assert violated(story.finish()) == set()
    story = talk(3)
    for actor, other in (("cat", "ann"), ("ann", "cat")):
        story.change("block", other, actor=actor)
    story.change("unblock", "ann", actor="cat")
    story.wait(3)
    say_to(story, "ann", "ben", "cat")
    assert violated(story.finish()) == {"H6"}


@pytest.mark.parametrize("action, members, found", [
    ("logout", {"subject_device": "cat-d"}, {"H6"}), ("logout", {}, {"H6"}), ("disable", {}, {"H6"}),
    ("logout", {"subject_device": "another"}, set())])
def test_delivery_after_the_login_ended(action, members, found):
    for seconds in (0.5, 3.0):
        story = talk(3)
        story.change(action, "cat", **members)
        story.wait(seconds)
        say_to(story, "ann", "ben", "cat")
        del story.members["cat"]
        if not found:
            story.members["cat"] = 0
        assert violated(story.finish()) == (found if seconds > 2 else set())


@pytest.mark.parametrize("end, begin", [("logout", "login"), ("disable", "enable")])
def test_delivery_after_a_new_login(end, begin):
    story = talk(3)
    story.change(end, "cat")
    story.wait(3)
    story.change(begin, "cat")
    say_to(story, "ann", "ben", "cat")
    assert violated(story.finish()) == set()


# --- sends

@pytest.mark.parametrize("action", ["remove", "logout", "disable", "block"])
def test_send_is_accepted_from_somebody_who_may_not(action):
    for seconds in (0.5, 3.0):
        story = talk(3)
        story.change(action, "cat", actor="ann" if action == "block" else "boss")
        story.wait(seconds)
        sent = story.invoke("cat")
        story.outcome(sent, seq=story.store(sent))
        if action == "block":
            story.change("unblock", "cat", actor="ann")
        story.all_reconnect()
        story.members.pop("cat", None)
        report = verdict(story.finish())
        found = {check for check, count in report.counts.items() if count} - {"H1"}
        assert found == ({"H6"} if seconds > 2 else set()), report.as_text()


def test_send_of_a_stranger_is_accepted():
    story = talk(3)
    sent = story.invoke("eve")
    story.outcome(sent, seq=story.store(sent))
    story.all_reconnect()
    assert violated(story.finish()) == {"H6"}


def test_copy_of_an_older_message_may_be_answered_after_the_removal():
    story = talk(3)
    story.change("remove", "cat")
    story.wait(5)
    again = story.invoke("cat", identity=story.log[2]["id"], hash=story.log[2]["hash"])
    story.outcome(again, seq=3)
    refused = story.invoke("cat")
    story.outcome(refused, "fail")
    assert violated(story.finish()) == set()
