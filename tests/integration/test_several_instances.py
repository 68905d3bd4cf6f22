"""Several instances of every service: they come, go, die and freeze while messages flow.

What a client may see of it is nothing but a delay, as long as one instance of the service is left.
The deadlines are generous (the machine is shared); the goal is 3 s.
"""

import signal
import time

import pytest
import requests

from bus_relay import PUBLICATIONS, REQUESTS, BusRelay
from clients import Ws, uuid7
from everyday import Everyday
from flow import Flow
from ports import SLOW, free_port, wait_until
from probe import Probe

TWO = {"connection": 2, "routing": 2, "auth": 2}
SOON = 6.0
BACK = 10.0  # the goal is 3 s


def freeze(stack, name):
    stack.kill(name, signal_number=signal.SIGSTOP)


def thaw(stack, name):
    stack.kill(name, signal_number=signal.SIGCONT)


@pytest.fixture(scope="module")
def cluster():
    from clients import People
    from stack import Stack

    running = Stack(counts=TWO).start()
    running.people = People(running)
    yield running
    running.stop()


@pytest.fixture
def restored(cluster):
    """All instances run before and after."""
    yield cluster
    for name in cluster.names():
        thaw(cluster, name) if cluster.processes[name].poll() is None else cluster.restart(name)
    cluster.wait_ready()


# --- everyday


def test_everyday_life_over_two_of_each(cluster):
    Everyday(cluster, "-two").run()


def test_presence_and_typing_reach_the_other_connection(cluster):
    ann, bob = cluster.people.make("ann-p", "bob-p")
    talk = ann.direct(bob)
    a = Ws(cluster.door(1), ann.token)
    b = Ws(cluster.door(2), bob.token)
    a.event("presence", where=lambda d: d["user"] == bob.id and d["status"] == "online")
    for socket in (a, b):
        assert set(socket.request("presence", {"conversation": talk})["d"]["online"]) == {ann.id, bob.id}
    b.post("typing", {"conversation": talk}, with_id=False)
    assert a.event("typing")["d"]["user"] == bob.id
    b.close()
    a.event("presence", timeout=20, where=lambda d: d["user"] == bob.id and d["status"] == "offline")
    a.close()


def test_presence_when_a_connection_instance_dies_and_comes_back(restored):
    ann, bob, carl = restored.people.make("ann-d", "bob-d", "carl-d")
    talk = ann.group("dying", bob, carl)
    a, c = Ws(restored.door(1), ann.token), Ws(restored.door(1), carl.token)
    Ws(restored.door(2), bob.token)
    Ws(restored.door(2), carl.token)  # carl is there twice
    a.event("presence", where=lambda d: d["user"] == bob.id and d["status"] == "online")
    assert a.send(talk, "anybody there?")["t"] == "ok"
    restored.kill("connection-2")
    a.event("presence", timeout=20, where=lambda d: d["user"] == bob.id and d["status"] == "offline")
    def online():  # whichever routing instance is asked
        return set(a.request("presence", {"conversation": talk})["d"]["online"])

    wait_until(lambda: online() == online() == {ann.id, carl.id}, 10, "all routing instances to know")
    assert not [f for f in a.all if f["t"] == "presence" and f["d"]["user"] == carl.id
                and f["d"]["status"] == "offline"]
    restored.restart("connection-2")
    b = Ws(restored.door(2), bob.token)
    a.event("presence", where=lambda d: d["user"] == bob.id and d["status"] == "online")
    wait_until(lambda: online() == {ann.id, bob.id, carl.id}, 10, "all three to be online")
    for socket in (a, b, c):
        socket.close()


# --- routing: nobody notices


def both_own_some(stack, names):
    wait_until(lambda: all(stack.metrics(n)["pipit_messages_accepted_total"] > 0 for n in names), 20,
               f"messages at all of {names}")


@pytest.mark.parametrize("how", ["kill", "drain"])
def test_a_routing_instance_ends_and_returns(restored, how):
    probe = Probe(restored, how, doors=[restored.door(1), restored.door(2)]).start()
    both_own_some(restored, restored.names("routing"))
    for name in ("routing", "routing-2"):
        restored.kill(name, signal_number=signal.SIGKILL if how == "kill" else signal.SIGTERM)
        probe.wait_progress()
        restored.restart(name)
        probe.wait_progress()
    longest = probe.longest
    count = probe.stop()
    print(f"{how}: {count} messages, {longest:.2f} s at most without an answer")
    assert longest < BACK * SLOW


def test_a_routing_instance_freezes_for_ten_seconds(restored):
    """Two owners at once when it wakes up: still one order, nothing lost, and nobody noticed."""
    probe = Probe(restored, "frozen", doors=[restored.door(1), restored.door(2)]).start()
    both_own_some(restored, restored.names("routing"))
    freeze(restored, "routing")
    woken = time.monotonic() + 10
    probe.wait_progress()
    wait_until(lambda: time.monotonic() >= woken, 11, "ten seconds")
    thaw(restored, "routing")
    probe.wait_progress(200)
    before = restored.metrics("routing")["pipit_messages_accepted_total"]
    wait_until(lambda: restored.metrics("routing")["pipit_messages_accepted_total"] > before, 20,
               "the one that was frozen to work again")
    assert restored.metrics("routing")["pipit_pauses_total"] >= 1
    longest = probe.longest
    count = probe.stop()
    print(f"{count} messages, {longest:.2f} s at most without an answer")
    assert longest < BACK * SLOW


def test_members_are_right_after_a_freeze(restored):
    """Removed while a routing instance was frozen: it must not act on what it knew."""
    ann, bob, carl = restored.people.make("ann-f", "bob-f", "carl-f")
    talks = [ann.group(f"freeze {n}", bob, carl) for n in range(6)]  # some of them owned by it
    a, b, c = Ws(restored.door(1), ann.token), Ws(restored.door(2), bob.token), Ws(restored.door(1), carl.token)
    for talk in talks:
        assert a.send(talk, "before")["t"] == "ok" and c.send(talk, "me too")["t"] == "ok"
    freeze(restored, "routing")
    for talk in talks:
        ann.ok("DELETE", f"/v1/conversations/{talk}/members/{carl.id}")
    thaw(restored, "routing")
    for talk in talks:
        assert a.send(talk, "secret")["t"] == "ok"
    for talk in talks:
        b.event("msg", where=lambda d, talk=talk: d["conversation"] == talk and d["body"]["text"] == "secret")
        wait_until(lambda talk=talk: c.send(talk, "still here")["t"] == "err", 4, "the former member to be refused")
    assert "secret" not in [m["body"].get("text") for m in c.messages()]
    for socket in (a, b, c):
        socket.close()


def test_every_instance_fails_once_while_messages_flow(restored):
    flow = Flow(restored, "-fail").start()
    for name in ("routing-2", "connection-2", "auth-2", "connection", "auth", "routing", "storage"):
        restored.kill(name)
        if name != "storage":
            flow.wait_progress()
        restored.restart(name)
        flow.wait_progress()
    freeze(restored, "routing-2")
    flow.wait_progress()  # although it is frozen
    thaw(restored, "routing-2")
    for name in ("connection-2", "auth", "storage"):  # somebody's only way: they wait for it
        freeze(restored, name)
        frozen = time.monotonic()
        wait_until(lambda: time.monotonic() - frozen > 2, 3, "two seconds")
        thaw(restored, name)
        flow.wait_progress()
    print(f"{flow.finish()} messages")


def sent_by_a_new_socket(person, talk):
    try:
        socket = person.ws()
        return socket.auth_reply["t"] == "ok" and socket.send(talk, "after")["t"] == "ok"
    except (AssertionError, OSError):
        return False


def is_alive(stack, name):
    try:
        return requests.get(f"http://127.0.0.1:{stack.ops_ports[name]}/livez", timeout=2).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.parametrize("service", ["storage", "routing", "auth"])
def test_peers_that_die_while_an_instance_is_frozen(fresh_stack, service):
    """Over Unix sockets: they hang up in the kernel's queue, and the instance serves others all the same."""
    stack = fresh_stack()
    ann, bob = stack.people.make("ann", "bob")
    talk = ann.direct(bob)
    assert ann.ws().send(talk, "before")["t"] == "ok"
    askers = {"storage": ("routing", "auth"), "routing": ("connection",), "auth": ("connection",)}[service]
    for _ in range(2):
        freeze(stack, service)
        for asker in askers:
            stack.kill(asker)
            stack.start_service(asker)
            wait_until(lambda asker=asker: is_alive(stack, asker), 10, "its start")
            stack.kill(asker)  # it has dialled by now
        thaw(stack, service)
        stack.restart(*askers)
        wait_until(lambda: sent_by_a_new_socket(ann, talk), 20, "a message")
        assert ann.call("GET", "/v1/me").status_code == 200


# --- instances are added and removed


def test_a_third_instance_takes_its_share_and_goes_again(fresh_stack):
    stack = fresh_stack(counts=TWO)
    probe = Probe(stack, "third", conversations=24, doors=[stack.door(1), stack.door(2)]).start()
    both_own_some(stack, stack.names("routing"))
    third = stack.add_instance("routing")
    added = time.monotonic()
    wait_until(lambda: stack.metrics(third)["pipit_messages_accepted_total"] > 0, 15, "work at the third routing")
    print(f"the third routing instance works after {time.monotonic() - added:.2f} s")
    door = stack.add_instance("connection")
    newcomer = Probe(stack, "newcomer", doors=[stack.door(door)]).start()
    newcomer.wait_progress()
    probe.wait_progress(100)
    stack.remove_instance(third)
    probe.wait_progress(100)
    newcomer.wait_progress()
    stack.remove_instance("routing-2")
    probe.wait_progress(100)
    longest = max(probe.longest, newcomer.longest)
    print(f"{probe.stop() + newcomer.stop()} messages, {longest:.2f} s at most without an answer")
    assert longest < BACK * SLOW
    client = Ws(stack.door(door), probe.ann.token)
    stack.remove_instance(door)
    code, _ = client.wait_closed()
    assert code == 1012


# --- revocations


def a_device_everywhere(stack, person):
    """A login of its own with sockets at both connection instances."""
    gone = person.another_device()
    sockets = [Ws(stack.door(number), gone.token) for number in (1, 2)]
    assert all(socket.auth_reply["t"] == "ok" for socket in sockets)
    return gone, sockets


def test_logout_closes_sockets_everywhere(cluster):
    ann = cluster.people.make("ann-l")
    for auth in (1, 2):
        gone, sockets = a_device_everywhere(cluster, ann)
        url = cluster.door(1, auth).rest_url
        answer = requests.post(f"{url}/v1/logout", headers={"Authorization": f"Bearer {gone.token}"},
                               timeout=20 * SLOW)
        assert answer.status_code == 204
        begun = time.monotonic()
        for socket in sockets:
            code, _ = socket.wait_closed(timeout=SOON)
            assert 4100 <= code < 4200
        print(f"closed after {time.monotonic() - begun:.2f} s")


def relayed(stack, service, name_for_host):
    """A relay in front of an instance of `service`; its address is for settings of others."""
    instance = stack.instances[service]
    return BusRelay(name_for_host, free_port(2), instance.bus_host, stack.bus_ports[instance.service])


def test_a_revocation_whose_auth_died_before_publishing(fresh_stack):
    """The logout is stored; auth-2 dies without the answer of storage, so it publishes nothing."""
    stack = fresh_stack(start=False, counts=TWO)
    relay = relayed(stack, "storage", "127.0.0.60")
    stack.instances["auth-2"].settings["PIPIT_BUS_STORAGE"] = relay.address
    stack.start()
    try:
        ann = stack.people.make("ann")
        gone, sockets = a_device_everywhere(stack, ann)
        relay.hold(REQUESTS)
        url = stack.door(1, 2).rest_url
        with pytest.raises(requests.RequestException):
            requests.post(f"{url}/v1/logout", headers={"Authorization": f"Bearer {gone.token}"}, timeout=0.5)
        wait_until(lambda: relay.kept[REQUESTS] > 0, 10, "storage's answer, held back")
        stack.kill("auth-2")
        begun = time.monotonic()
        for socket in sockets:
            code, _ = socket.wait_closed(timeout=BACK)
            assert 4100 <= code < 4200
        print(f"closed {time.monotonic() - begun:.2f} s after the death")
        wait_until(lambda: gone.call("GET", "/v1/me").status_code == 401, BACK, "the other auth to refuse it")
    finally:
        relay.close()


# --- members, when storage dies


def test_a_change_that_storage_never_published(fresh_stack):
    """Carl is removed; storage dies between the commit and its publication."""
    stack = fresh_stack(start=False, counts={"connection": 2, "routing": 2})
    relay = relayed(stack, "storage", "127.0.0.61")
    for name in stack.names("routing"):
        stack.instances[name].settings["PIPIT_BUS_STORAGE"] = relay.address
    stack.start()
    try:
        ann, bob, carl, dan = stack.people.make("ann", "bob", "carl", "dan")
        talk = ann.group("secrets", bob, carl)
        a, b = Ws(stack.door(1), ann.token), Ws(stack.door(2), bob.token)
        c, d = Ws(stack.door(2), carl.token), Ws(stack.door(1), dan.token)
        assert a.send(talk, "hello")["t"] == "ok"
        for socket in (b, c):
            socket.event("msg", where=lambda m: m["conversation"] == talk)
        relay.hold(PUBLICATIONS)
        ann.ok("DELETE", f"/v1/conversations/{talk}/members/{carl.id}")
        ann.ok("PUT", f"/v1/conversations/{talk}/members/{dan.id}", {})
        wait_until(lambda: relay.kept[PUBLICATIONS] > 0, 10, "the publication, held back")
        stack.kill("storage")
        relay.held[PUBLICATIONS].clear()
        stack.restart("storage")
        # Whoever is first: the message's version, or the doubt about the stream.
        wait_until(lambda: a.send(talk, "secret")["t"] == "ok", BACK, "messages to flow")
        for socket in (b, d):
            socket.event("msg", timeout=BACK, where=lambda m: m["body"].get("text") == "secret")
        c.event("member", timeout=BACK, where=lambda m: any(
            each["user"] == carl.id and each["state"] == "left" for each in m["changed"]))
        assert "secret" not in [m["body"].get("text") for m in c.messages()]
        assert c.send(talk, "me?")["t"] == "err"
        for socket in (a, b, c, d):
            socket.close()
    finally:
        relay.close()


# --- two owners


def test_two_owners_of_every_conversation(fresh_stack):
    """Each connection knows one routing instance only: both write to every conversation, for ever."""
    stack = fresh_stack(start=False, counts=TWO)
    for number in (1, 2):
        host, port = stack.instances[f"routing-{number}"].bus_host, stack.bus_ports["routing"]
        stack.instances[f"connection-{number}"].settings["PIPIT_BUS_ROUTING"] = f"tcp://{host}:{port}"
    stack.start()
    ann, bob = stack.people.make("ann", "bob")
    talk = ann.direct(bob)
    sockets = [Ws(stack.door(1), ann.token), Ws(stack.door(2), bob.token)]
    ids = [[], []]
    for _ in range(20):
        numbers = [[], []]
        for who, socket in enumerate(sockets):
            for _ in range(10):
                message = uuid7()
                ids[who].append(message)
                numbers[who].append(socket.post("send", {"conversation": talk, "message": message,
                                                         "body": {"text": "x"}}))
        for who, socket in enumerate(sockets):
            replies = [socket.reply(number, timeout=30) for number in numbers[who]]
            assert all(reply["t"] == "ok" for reply in replies), [r for r in replies if r["t"] != "ok"][:3]
            seqs = [reply["d"]["seq"] for reply in replies]
            assert seqs == sorted(seqs)
    rows = ann.history(talk)
    assert [row["seq"] for row in rows] == list(range(1, 401))
    order = [row["message"] for row in rows]
    for mine in ids:
        assert [each for each in order if each in set(mine)] == mine
    conflicts = sum(stack.metrics(name)["pipit_append_conflicts_total"] for name in stack.names("routing"))
    assert conflicts > 0
    for socket in sockets:
        seen = [m["seq"] for m in socket.messages()]
        assert seen == sorted(set(seen))
        socket.close()
    # The same id through both: one seq.
    message = uuid7()
    answers = [Ws(stack.door(n), person.token).send(talk, "once", message) for n, person in ((1, ann), (2, ann))]
    assert len({answer["d"]["seq"] for answer in answers}) == 1


# --- several storage instances


@pytest.fixture(scope="module")
def database():
    from clients import People
    from stack import Stack

    running = Stack(counts={**TWO, "storage": 2}, store="mongodb").start()
    running.people = People(running)
    yield running
    running.stop()


def test_everyday_life_over_two_storages(database):
    Everyday(database, "-db").run()


@pytest.mark.parametrize("how", ["kill", "drain", "freeze"])
def test_a_storage_instance_ends_or_freezes(database, how):
    """An append in its hands is done by the other one; what it does with it later changes nothing."""
    probe = Probe(database, how, doors=[database.door(1), database.door(2)], conversations=4, interval=0.2).start()
    for name in ("storage", "storage-2"):
        if how == "freeze":
            freeze(database, name)
            frozen = time.monotonic()
            probe.wait_progress()
            wait_until(lambda: time.monotonic() - frozen > 8, 10, "eight seconds")
            thaw(database, name)
        else:
            database.kill(name, signal_number=signal.SIGKILL if how == "kill" else signal.SIGTERM)
            probe.wait_progress()
            database.restart(name)
        probe.wait_progress()
    longest = probe.longest
    print(f"{how}: {probe.stop()} messages, {longest:.2f} s at most without an answer")
    assert longest < BACK * SLOW


def test_members_change_through_either_storage(database):
    """Each routing instance follows the events of both."""
    ann, bob, carl = database.people.make("ann-s", "bob-s", "carl-s")
    talk = ann.group("both", bob)
    a, c = Ws(database.door(1), ann.token), Ws(database.door(2), carl.token)
    for name in ("storage", "storage-2"):
        freeze(database, name)  # the other one does it all
        ann.ok("PUT", f"/v1/conversations/{talk}/members/{carl.id}", {})
        c.event("conv", timeout=BACK, where=lambda d: d["conversation"] == talk)
        seq = wait_until(lambda: (r := a.send(talk, "with carl"))["t"] == "ok" and r["d"]["seq"], BACK, "a message")
        c.event("msg", timeout=BACK, where=lambda d, seq=seq: d["conversation"] == talk and d["seq"] == seq)
        ann.ok("DELETE", f"/v1/conversations/{talk}/members/{carl.id}")
        wait_until(lambda: c.send(talk, "still here?")["t"] == "err", BACK, "the former member to be refused")
        thaw(database, name)
    a.close()
    c.close()
