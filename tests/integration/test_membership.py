"""Nobody who is not a member receives or reads anything (I4); changes reach open sockets in 2 s."""

import time

import pytest

from clients import uuid7
from stack import SLOW


@pytest.fixture(scope="module")
def group(stack):
    people = stack.people.make("m1", "m2", "m3", "outsider")
    conversation = people[0].group("club", people[1], people[2])
    return (*people, conversation)


def refused(person, conversation):
    history = person.call("GET", f"/v1/conversations/{conversation}/messages?after=0")
    sent = person.call("PUT", f"/v1/conversations/{conversation}/messages/{uuid7()}", {"body": {"text": "x"}})
    return history.status_code, sent.status_code


def test_outsider_can_neither_read_nor_send(group):
    owner, _, _, outsider, conversation = group
    owner.send(conversation, "secret")
    assert refused(outsider, conversation) == (403, 403)
    socket = outsider.ws()
    assert socket.send(conversation, "x")["t"] == "err"
    items, _ = socket.sync({conversation: 0})
    assert not items.get(conversation)
    for kind, extra in (("typing", {}), ("mark", {"read": 1})):
        socket.post(kind, {"conversation": conversation, **extra})
    mqtt = outsider.mqtt()
    mqtt.client.publish(f"pipit/c/{conversation}/send", "x", qos=1)
    owner.send(conversation, "after the attempts")
    assert all(m["body"]["text"] != "x" for m in owner.history(conversation))
    assert not mqtt.received()
    socket.close(), mqtt.close()


def test_removed_member_is_off_at_once_on_open_sockets(group):
    owner, member, other, _, conversation = group
    w, q, o = member.ws(), member.mqtt(), other.ws()
    owner.send(conversation, "both here")
    w.event("msg", where=lambda d: d["body"]["text"] == "both here")
    owner.ok("DELETE", f"/v1/conversations/{conversation}/members/{member.id}")
    owner.send(conversation, "without you")
    o.event("msg", where=lambda d: d["body"]["text"] == "without you")
    w.event("member", timeout=2)
    assert w.send(conversation, "still here?")["t"] == "err"
    owner.send(conversation, "last")
    o.event("msg", where=lambda d: d["body"]["text"] == "last")
    texts = {m["body"]["text"] for m in w.messages()} | {m["body"]["text"] for m in q.received()}
    assert "without you" not in texts and "last" not in texts
    assert refused(member, conversation) == (403, 403)
    items, _ = w.sync({conversation: 0})
    assert not items.get(conversation)
    # Added again: live again, and only from now on.
    owner.ok("PUT", f"/v1/conversations/{conversation}/members/{member.id}", {})
    w.event("conv", timeout=2 * SLOW)
    owner.send(conversation, "welcome back")
    w.event("msg", where=lambda d: d["body"]["text"] == "welcome back")
    texts = [m["body"]["text"] for m in member.history(conversation)]
    assert texts == ["welcome back"]
    w.close(), q.close(), o.close()


def test_block_ends_the_direct_conversation_both_ways(stack):
    ann, bob = stack.people.make("blocker", "blocked")
    conversation = ann.direct(bob)
    a, b = ann.ws(), bob.ws()
    a.send(conversation, "hi")
    b.event("msg")
    ann.ok("PUT", f"/v1/me/blocks/{bob.id}")
    b.event("member", timeout=2 * SLOW)
    assert b.send(conversation, "hey")["t"] == "err"
    assert a.send(conversation, "hey")["t"] == "err"
    assert refused(bob, conversation) == (403, 403)
    assert bob.call("POST", "/v1/conversations", {"kind": "direct", "user": ann.id}).status_code == 403
    by_user = b.request("send", {"to": ann.id, "message": uuid7(), "body": {"text": "psst"}})
    assert by_user["t"] == "err"
    ann.ok("DELETE", f"/v1/me/blocks/{bob.id}")
    b.event("conv", timeout=2 * SLOW)
    assert b.send(conversation, "again")["t"] == "ok"
    a.event("msg", where=lambda d: d["body"]["text"] == "again")
    a.close(), b.close()


def sockets_end(sockets, started):
    for socket in sockets:
        if hasattr(socket, "wait_closed"):
            code, _ = socket.wait_closed(timeout=2)
            assert 4100 <= code < 4300, code
        else:
            socket.disconnected.get(timeout=2 * SLOW)
            socket.client.loop_stop()
    assert time.monotonic() - started < 2 * SLOW


def test_logout_closes_the_devices_sockets(stack):
    ann, bob = stack.people.make("leaver", "stayer")
    other = ann.another_device()
    sockets = [ann.ws(), ann.mqtt()]
    kept = other.ws()
    started = time.monotonic()
    ann.ok("POST", "/v1/logout")
    sockets_end(sockets, started)
    assert ann.call("GET", "/v1/me").status_code == 401
    assert kept.send(other.direct(bob), "the other device stays")["t"] == "ok"
    kept.close()


def test_disabling_closes_all_sockets_and_refuses_login(stack):
    ann = stack.people.make("disabled1")
    sockets = [ann.ws(), ann.another_device().mqtt()]
    started = time.monotonic()
    stack.people.admin.ok("PATCH", f"/v1/admin/users/{ann.id}", {"disabled": True})
    sockets_end(sockets, started)
    body = {"user": ann.name, "password": ann.password}
    import requests

    assert requests.post(stack.rest_url + "/v1/login", json=body, timeout=60).status_code == 403
    assert ann.call("GET", "/v1/me").status_code in (401, 403)


def test_password_change_ends_other_devices_only(stack):
    ann = stack.people.make("changer")
    other = ann.another_device()
    kept, ended = ann.ws(), [other.ws(), other.mqtt()]
    started = time.monotonic()
    ann.ok("PUT", "/v1/me/password", {"current": ann.password, "new": "another-otter-lamp"})
    sockets_end(ended, started)
    assert ann.call("GET", "/v1/me").status_code == 200
    kept.post("ping")
    kept.wait(lambda: [f for f in kept.all if f["t"] == "pong"], 5, "pong")
    kept.close()


def test_refresh_reuse_revokes_the_family(stack):
    import requests

    ann = stack.people.make("rotator")
    url = stack.rest_url + "/v1/token"
    first = ann.refresh
    second = requests.post(url, json={"refresh_token": first}, timeout=20).json()["refresh_token"]
    lost = requests.post(url, json={"refresh_token": first}, timeout=20)
    assert lost.status_code == 200, "an answer that was lost must be repeatable"
    third = requests.post(url, json={"refresh_token": lost.json()["refresh_token"]}, timeout=20)
    assert third.status_code == 200
    socket = ann.ws()
    stolen = requests.post(url, json={"refresh_token": first}, timeout=20)
    assert stolen.status_code == 401
    code, _ = socket.wait_closed(timeout=2)
    assert 4100 <= code < 4200
    for token in (second, third.json()["refresh_token"]):
        assert requests.post(url, json={"refresh_token": token}, timeout=20).status_code == 401


def test_roles_decide_who_may_change_members(stack):
    owner, admin, member, guest = stack.people.make("r1", "r2", "r3", "r4")
    conversation = owner.group("roles", admin, member)
    path = f"/v1/conversations/{conversation}/members"
    assert member.call("PUT", f"{path}/{guest.id}", {}).status_code == 403
    assert admin.call("PUT", f"{path}/{guest.id}", {}).status_code == 403
    owner.ok("PUT", f"{path}/{admin.id}", {"role": "admin"})
    admin.ok("PUT", f"{path}/{guest.id}", {})
    assert admin.call("DELETE", f"{path}/{owner.id}").status_code == 403
    assert admin.call("PUT", f"{path}/{member.id}", {"role": "owner"}).status_code == 403
    admin.ok("DELETE", f"{path}/{guest.id}")
    assert member.call("PATCH", f"/v1/conversations/{conversation}", {"title": "x"}).status_code == 403
    admin.ok("PATCH", f"/v1/conversations/{conversation}", {"title": "renamed"})
    owner.ok("DELETE", f"{path}/me")
    roles = {m["user"]: m["role"] for m in admin.ok("GET", path)["items"]}
    assert roles == {admin.id: "owner", member.id: "member"}
