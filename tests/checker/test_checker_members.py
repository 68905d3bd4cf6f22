"""Planted violations of membership (H6), and the borders up to which a system is right."""

import pytest

from story import Story, find, talk, verdict, violated


def say_to(story, user, *receivers):
    """A message that exactly these get."""
    sent = story.invoke(user)
    story.outcome(sent, seq=story.store(sent))
    for receiver in receivers:
        story.deliver(receiver, len(story.log))
    return len(story.log)


# --- removal

def test_message_sent_after_the_removal_reaches_the_former_member():
    story = talk(3)
    story.change("remove", "cat")
    say_to(story, "ann", "ben", "cat")
    assert violated(story.finish()) == {"H6"}


@pytest.mark.parametrize("seconds, found", [(0.5, set()), (3.0, {"H6"})])
def test_message_from_before_the_removal_comes_late(seconds, found):
    story = talk(3)
    seq = say_to(story, "ann", "ben")
    story.change("remove", "cat")
    story.wait(seconds)
    story.deliver("cat", seq)
    assert violated(story.finish()) == found


def test_message_during_the_removal_may_reach_either_way():
    for reaches in (True, False):
        story = talk(3)
        removal = story.change("remove", "cat")
        story.events.remove(removal)
        seq = say_to(story, "ann", "ben", *(["cat"] if reaches else []))
        story.line("boss", "member", **{k: removal[k] for k in ("call", "subject", "action", "conversation")})
        assert violated(story.finish()) == set(), seq


def test_removal_of_unknown_outcome_allows_both():
    for member in (True, False):
        story = talk(3)
        story.change("remove", "cat", "info")
        if member:
            story.members["cat"] = 0
        story.wait(10)
        say_to(story, "ann", "ben", *(["cat"] if member else []))
        assert violated(story.finish()) == set()


def test_refused_removal_changes_nothing():
    story = talk(3)
    story.change("remove", "cat", "fail")
    say_to(story, "ann", "ben")
    assert violated(story.finish()) == {"H1"}  # cat is a member and lists nothing
    story = talk(3)
    story.change("remove", "cat", "fail")
    story.members["cat"] = 0
    say_to(story, "ann", "ben", "cat")
    assert violated(story.finish()) == set()


def test_former_member_reads_history():
    story = talk(3)
    story.change("remove", "cat")
    story.wait(5)
    story.deliver("cat", 1, "sync")
    assert violated(story.finish()) == {"H6"}


def test_former_member_gets_a_final_list():
    story = talk(3)
    story.change("remove", "cat")
    story.members["cat"] = 0
    assert violated(story.finish()) == {"H6"}


def test_deadline_stands_still_while_a_process_cannot_act():
    def story_with(fault):
        story = talk(3)
        seq = say_to(story, "ann", "ben")
        number = {"class": "stop-connection", "target": "connection-1", "number": 1}
        if fault:
            story.line("nemesis", "fault", "invoke", **number)
        story.change("remove", "cat")
        story.wait(10)
        if fault:
            story.line("nemesis", "fault", **number)
        story.deliver("cat", seq)
        return story.finish()
    assert violated(story_with(False)) == {"H6"}
    assert violated(story_with(True)) == set()
    assert violated(story_with(True), "--strict-deadlines") == {"H6"}


def test_deadline_runs_again_after_the_fault():
    story = talk(3)
    seq = say_to(story, "ann", "ben")
    number = {"class": "kill-connection", "target": "connection-1", "number": 1}
    story.line("nemesis", "fault", "invoke", **number)
    story.change("remove", "cat")
    story.line("nemesis", "fault", **number)
    story.wait(3 + 2.6)
    story.deliver("cat", seq)
    assert violated(story.finish()) == {"H6"}


def test_leak_during_a_fault_is_a_leak():
    story = talk(3)
    story.line("nemesis", "fault", "invoke", **{"class": "partition", "target": "x", "number": 1})
    story.change("remove", "cat")
    say_to(story, "ann", "ben", "cat")
    assert violated(story.finish()) == {"H6"}


# --- strangers

def test_delivery_to_a_stranger():
    story = talk(3)
    story.deliver("eve", 2)
    assert violated(story.finish()) == {"H6"}


def test_final_list_of_a_stranger():
    story = talk(3)
    story.members["eve"] = 0
    assert violated(story.finish()) == {"H6"}


def test_membership_may_be_told_after_the_first_delivery():
    story = Story("ann", "ben")
    sent = story.invoke("ann")
    story.outcome(sent, seq=story.store(sent))
    told = [event for event in story.events if event["op"] == "member_at"]
    story.events = [event for event in story.events if event["op"] != "member_at"]
    story.deliver("ben", 1)
    for event in told:
        story.line("boss", "member_at", **{k: event[k] for k in ("subject", "conversation", "state", "joined")})
    assert violated(story.finish()) == set()


def test_direct_conversation_begins_with_its_first_message():
    story = Story()
    story.members = {"ann": 0, "ben": 0}
    sent = story.invoke("ann", to="ben")
    story.outcome(sent, seq=story.store(sent))
    story.deliver("ben", 1)
    assert violated(story.finish()) == set()


def test_conversation_without_known_members_is_no_evidence():
    story = Story()
    story.say("ann", to=("ben",))
    report = verdict(story.finish())
    assert report.exit_code == 2 and "nothing was said of the members of c1" in report.problems[0]


# --- joining

def joined_late():
    story = talk(3)
    story.change("add", "dan")
    say_to(story, "ann", "ben", "cat", "dan")
    return story


def test_new_member_is_clean():
    assert violated(joined_late().finish()) == set()


def test_new_member_gets_what_was_before():
    story = joined_late()
    story.deliver("dan", 2, "sync")
    assert violated(story.finish()) == {"H6"}


def test_new_members_list_begins_too_early():
    story = joined_late()
    story.members["dan"] = 1
    assert violated(story.finish()) == {"H6"}


def test_new_members_list_begins_too_late():
    story = joined_late()
    story.wait(1)
    say_to(story, "ann", "ben", "cat", "dan")
    story.members["dan"] = 4  # it got that one live
    assert violated(story.finish()) == {"H1", "H6"}


def test_joined_changes_within_a_membership():
    story = joined_late()
    events = story.finish()
    told = {"subject": "ann", "conversation": "c1", "state": "active", "joined": 1}
    at = find(events, "heal")
    event = {**events[at], "op": "member_at", "process": "boss-ws", "user": "boss", "device": "boss-d", **told}
    assert violated(events[:at] + [event] + events[at:]) == {"H1"}


def test_again_a_member_sees_from_the_second_joining_on():
    def story_with(first_seen):
        story = talk(3)
        story.change("remove", "cat")
        for _ in range(3):
            say_to(story, "ann", "ben")
        story.wait(5)
        story.change("add", "cat")
        seq = say_to(story, "ann", "ben", "cat")
        story.show("cat", seq)  # it may skip what is not for it
        story.members["cat"] = first_seen
        return story
    assert violated(story_with(6).finish()) == set()
    assert violated(story_with(4).finish()) == {"H6"}
    story = story_with(6)
    story.deliver("cat", 5, "sync")
    assert violated(story.finish()) == {"H6"}


def test_server_says_active_after_the_removal_and_left_within_a_membership():
    for action, state in (("remove", "active"), ("add", "left")):
        story = talk(3)
        subject = "cat" if action == "remove" else "dan"
        story.change(action, subject)
        story.wait(1)
        story.line("boss", "member_at", subject=subject, conversation="c1", state=state, asked=story.t)
        assert violated(story.finish()) == {"H6"}, state
