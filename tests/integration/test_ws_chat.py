"""Chat over WebSocket: two users, groups, several devices, resend, sync, cursors, edits."""

import pytest

from clients import uuid7


@pytest.fixture(scope="module")
def pair(stack):
    return stack.people.make("ann", "bob")


def test_hello_tells_limits_and_auth_names_the_user(stack, pair):
    ann, _ = pair
    socket = ann.ws()
    limits = socket.hello["d"]["limits"]
    assert limits["frame"] == 65536 and limits["text"] == 16384
    assert socket.hello["d"]["proto"] == 1 and socket.hello["d"]["hb"] > 0
    assert socket.auth_reply["t"] == "ok"
    assert socket.auth_reply["d"]["user"] == ann.id
    assert socket.auth_reply["d"]["device"] == ann.device
    socket.close()


def test_direct_message_reaches_the_other_and_has_a_seq(stack, pair):
    ann, bob = pair
    conversation = ann.direct(bob)
    a, b = ann.ws(), bob.ws()
    reply = a.send(conversation, "七点吃饭?")
    assert reply["t"] == "ok", reply
    got = b.event("msg", where=lambda d: d["conversation"] == conversation)["d"]
    assert got["body"] == {"text": "七点吃饭?"}
    assert got["from"] == ann.id and got["seq"] == reply["d"]["seq"]
    assert not [m for m in a.messages() if m["seq"] == got["seq"]], "the sender got its own message"
    a.close(), b.close()


def test_message_to_a_user_makes_the_direct_conversation(stack):
    eve, fay = stack.people.make("eve", "fay")
    e, f = eve.ws(), fay.ws()
    reply = e.request("send", {"to": fay.id, "message": uuid7(), "body": {"text": "first"}})
    assert reply["t"] == "ok", reply
    got = f.event("msg")["d"]
    assert got["body"]["text"] == "first" and got["conversation"] == reply["d"]["conversation"]
    assert got["conversation"] == fay.direct(eve)
    e.close(), f.close()


def test_resending_an_id_answers_the_first_seq_and_shows_once(stack, pair):
    ann, bob = pair
    conversation = ann.direct(bob)
    a, b = ann.ws(), bob.ws()
    message = uuid7()
    first = a.send(conversation, "once", message)
    again = a.send(conversation, "once", message)
    elsewhere = ann.call(
        "PUT", f"/v1/conversations/{conversation}/messages/{message}", {"body": {"text": "once"}}
    )
    assert first["d"]["seq"] == again["d"]["seq"] == elsewhere.json()["seq"]
    assert elsewhere.status_code == 200
    marker = a.send(conversation, "marker")
    b.event("msg", where=lambda d: d["seq"] == marker["d"]["seq"])
    assert [m["message"] for m in b.messages()].count(message) == 1
    a.close(), b.close()


def test_group_of_five_with_three_devices_sees_one_order(stack):
    people = stack.people.make("g1", "g2", "g3", "g4", "g5")
    conversation = people[0].group("five", *people[1:])
    devices = people + [people[0].another_device("b"), people[0].another_device("c")]
    sockets = [person.ws() for person in devices]
    count = 40
    posted = []
    for round_number in range(count):
        for index, socket in enumerate(sockets):
            data = {"conversation": conversation, "message": uuid7(),
                    "body": {"text": f"{index}-{round_number}"}}
            posted.append((socket, socket.post("send", data)))
    seqs = [socket.reply(number)["d"]["seq"] for socket, number in posted]
    total = count * len(sockets)
    assert sorted(seqs) == list(range(1, total + 1))
    truth = {m["seq"]: m["message"] for m in people[1].history(conversation)}
    assert sorted(truth) == list(range(1, total + 1))
    for index, socket in enumerate(sockets):
        own = {seq for (s, _), seq in zip(posted, seqs) if s is socket}
        socket.wait(lambda s=socket: sum(f["t"] == "msg" for f in s.all) >= total - count, 20, "messages")
        got = [m["seq"] for m in socket.messages()]
        assert got == sorted(got), f"socket {index} saw them out of order"
        assert set(got) | own == set(truth) and not set(got) & own
        assert all(truth[m["seq"]] == m["message"] for m in socket.messages())
    for socket in sockets:
        socket.close()


def test_sync_brings_what_was_missed_in_pages(stack):
    ida, jon = stack.people.make("ida", "jon")
    conversation = ida.direct(jon)
    a = ida.ws()
    numbers = [a.post("send", {"conversation": conversation, "message": uuid7(),
                               "body": {"text": str(i)}}) for i in range(700)]
    for number in numbers:
        assert a.reply(number)["t"] == "ok"
    b = jon.ws()
    items, final = b.sync({conversation: 3})
    assert final["t"] == "ok"
    assert [m["seq"] for m in items[conversation]] == list(range(4, 701))
    assert [m["body"]["text"] for m in items[conversation]] == [str(i) for i in range(3, 700)]
    a.close(), b.close()


def test_edit_recall_and_reaction_reach_everybody(stack, pair):
    ann, bob = pair
    conversation = ann.direct(bob)
    a, b = ann.ws(), bob.ws()
    seq = a.send(conversation, "helo")["d"]["seq"]
    base = {"conversation": conversation, "seq": seq}
    edit = a.request("edit", {**base, "message": uuid7(), "body": {"text": "hello"}})
    assert edit["t"] == "ok" and edit["d"]["seq"] == seq + 1
    got = b.event("edit")["d"]
    assert got["target"] == seq and got["body"]["text"] == "hello"
    denied = b.request("edit", {**base, "message": uuid7(), "body": {"text": "hacked"}})
    assert denied["t"] == "err" and denied["d"]["retryable"] is False
    react = b.request("react", {**base, "message": uuid7(), "emoji": "👍"})
    assert react["t"] == "ok"
    assert a.event("react")["d"]["emoji"] == "👍"
    recall = a.request("recall", {**base, "message": uuid7()})
    assert recall["t"] == "ok"
    assert b.event("recall")["d"]["target"] == seq
    a.close(), b.close()


def test_read_mark_reaches_the_sender_and_never_goes_back(stack, pair):
    ann, bob = pair
    conversation = ann.direct(bob)
    a, b = ann.ws(), bob.ws()
    seq = a.send(conversation, "read me")["d"]["seq"]
    b.post("mark", {"conversation": conversation, "read": seq}, with_id=False)
    mark = a.event("mark", where=lambda d: d.get("read") == seq)["d"]
    assert mark["conversation"] == conversation and mark["user"] == bob.id
    b.post("mark", {"conversation": conversation, "read": 1}, with_id=False)
    after = a.send(conversation, "more")["d"]["seq"]
    b.post("mark", {"conversation": conversation, "read": after}, with_id=False)
    a.event("mark", where=lambda d: d.get("read") == after)
    reads = [f["d"]["read"] for f in a.all if f["t"] == "mark" and f["d"]["user"] == bob.id and "read" in f["d"]]
    assert reads == sorted(reads)
    item = next(i for i in bob.ok("GET", "/v1/me/conversations")["items"] if i["id"] == conversation)
    assert item["unread"] == 0
    a.close(), b.close()


def test_typing_and_presence_are_seen(stack):
    ann, bob = stack.people.make("typing1", "typing2")
    conversation = ann.direct(bob)
    a = ann.ws()
    b = bob.ws()
    a.event("presence", where=lambda d: d["user"] == bob.id and d["status"] == "online")
    b.post("typing", {"conversation": conversation}, with_id=False)
    assert a.event("typing")["d"]["user"] == bob.id
    b.close()
    a.event("presence", timeout=15, where=lambda d: d["user"] == bob.id and d["status"] == "offline")
    a.close()


def test_renewal_on_the_open_socket(stack, pair):
    ann, bob = pair
    a = ann.ws()
    answer = ann.ok("POST", "/v1/token", {"refresh_token": ann.refresh})
    ann.token, ann.refresh = answer["access_token"], answer["refresh_token"]
    assert a.request("auth", {"token": ann.token})["t"] == "ok"
    refused = a.request("auth", {"token": bob.token})
    assert refused["t"] == "err"
    a.close()


def test_ping_is_answered(stack, pair):
    a = pair[0].ws()
    number = a.post("ping")
    a.wait(lambda: [f for f in a.all if f["t"] == "pong"], 5, "pong")
    assert number
    a.socket.ping(b"x")
    assert a.send(pair[0].direct(pair[1]), "still alive")["t"] == "ok"
    a.close()
