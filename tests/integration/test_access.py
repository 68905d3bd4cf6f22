"""What people who are not (or no longer) members may learn: nothing, not even that there is something."""

import pytest

from clients import uuid7

ABSENT = "c_nothing-of-this-name"
REQUESTS = {
    "send": lambda where: {"conversation": where, "message": uuid7(), "body": {"text": "x"}},
    "edit": lambda where: {"conversation": where, "seq": 1, "message": uuid7(), "body": {"text": "x"}},
    "recall": lambda where: {"conversation": where, "seq": 1, "message": uuid7()},
    "react": lambda where: {"conversation": where, "seq": 1, "message": uuid7(), "emoji": "x"},
    "mark": lambda where: {"conversation": where, "read": 1},
    "presence": lambda where: {"conversation": where},
}


@pytest.fixture(scope="module")
def outsiders(stack):
    ann, bob, gone, outsider = stack.people.make("ann", "bob", "gone", "outsider")
    group = ann.group("club", bob, gone)
    ann.send(group, "hello")
    ann.ok("DELETE", f"/v1/conversations/{group}/members/{gone.id}")
    direct = ann.direct(bob)
    ann.send(direct, "private")
    sockets = [gone.ws(), outsider.ws()]
    yield sockets, (group, direct)
    for socket in sockets:
        socket.close()


@pytest.mark.parametrize("kind", REQUESTS)
def test_frames_do_not_tell_whether_a_conversation_exists(outsiders, kind):
    sockets, conversations = outsiders
    for socket in sockets:
        absent = socket.request(kind, REQUESTS[kind](ABSENT))
        for conversation in conversations:
            there = socket.request(kind, REQUESTS[kind](conversation))
            assert (there["t"], there["d"]) == (absent["t"], absent["d"])


def test_removed_creator_learns_nothing_by_making_the_group_again(stack):
    founder, heir = stack.people.make("founder", "heir")
    wanted = {"kind": "group", "title": "founded", "members": [heir.id], "id": "c_founded"}
    conversation = founder.ok("POST", "/v1/conversations", wanted)["id"]
    assert founder.call("POST", "/v1/conversations", wanted).status_code == 200, "repeatable while a member"
    founder.ok("PUT", f"/v1/conversations/{conversation}/members/{heir.id}", {"role": "owner"})
    heir.ok("DELETE", f"/v1/conversations/{conversation}/members/{founder.id}")
    answer = founder.call("POST", "/v1/conversations", wanted)
    assert answer.status_code == 409 and answer.json()["code"] == "conflict"
    assert heir.id not in answer.text
