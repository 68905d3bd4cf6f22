"""Instances of two versions work side by side, and one after another can be replaced.

The versions are made by tests/wire: a later one sends fields that nobody knows, an earlier one leaves
out what docs/reference/bus.md says may be missing.
"""

import signal

import pytest

import versions
from clients import uuid7
from everyday import Everyday
from flow import TROUBLE, Flow
from stack import SERVICES, wait_until

COUNTS = {"auth": 2, "connection": 2, "routing": 2}


def set_versions(stack, chosen):
    """chosen: {service or instance: version}; the more exact name decides."""
    for name in stack.names():
        instance = stack.instances[name]
        version = chosen.get(f"{instance.service}-{instance.number}", chosen.get(instance.service))
        instance.settings = versions.VERSIONS[version]() if version else {}


def speaks(stack, name):
    """True when the process has the other version's library."""
    return "libpipit-wire" in open(f"/proc/{stack.processes[name].pid}/maps").read()


@pytest.fixture
def mixed(fresh_stack):
    def make(chosen, counts=COUNTS, store="sqlite"):
        stack = fresh_stack(start=False, counts=counts, store=store)
        set_versions(stack, chosen)
        stack.start()
        assert all(speaks(stack, name) == bool(stack.instances[name].settings) for name in stack.names())
        return stack

    return make


@pytest.mark.parametrize("version", ["later", "earlier"])
@pytest.mark.parametrize("service", SERVICES)
def test_one_service_of_another_version(mixed, service, version):
    Everyday(mixed({service: version})).run()


def test_a_field_that_is_needed_is_missed(fresh_stack):
    """The shim does what it says: without a field that is not in the table, things fail."""
    stack = fresh_stack(counts={"routing": 1})
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    stack.kill("routing", signal_number=signal.SIGTERM)
    stack.instances["routing"].settings = {**versions.earlier(), "WIRE_LEAVES": "SubmitResult.seq"}
    stack.restart("routing")

    def open_socket(person):
        socket = person.ws()
        if socket.auth_reply["t"] == "ok":
            return socket
        socket.close()  # connection has not found the new routing yet
        return None

    a, b = (wait_until(lambda p=person: open_socket(p), 15, "a session") for person in (ann, bob))
    wait_until(lambda: a.send(conversation, "unknown outcome")["d"].get("code") == "timeout", 10,
               "an answer without a seq to be no acknowledgement")
    assert b.event("msg")["d"]["body"] == {"text": "unknown outcome"}
    a.close(), b.close()


@pytest.mark.parametrize("first,second,store", [("earlier", "later", "sqlite"), ("later", "earlier", "mongodb")])
def test_two_versions_of_each_service(mixed, first, second, store):
    chosen = {}
    for service in SERVICES:
        chosen |= {f"{service}-1": first, f"{service}-2": second}
    counts = {**COUNTS, "storage": 2 if store == "mongodb" else 1}  # SQLite has one instance
    stack = mixed(chosen, counts, store)
    Everyday(stack).run()
    # And both kinds were needed: without the first instances the others do everything as well.
    for service in COUNTS:
        stack.remove_instance(f"{service}-1")
    names = {service: f"{service}-2" for service in COUNTS}
    door = stack.door(names["connection"], names["auth"])
    root = stack.people.admin
    root.stack = door
    answer = root.call("GET", "/v1/me")
    assert answer.status_code == 200, answer.text
    socket = root.ws()
    assert socket.auth_reply["t"] == "ok"
    socket.close()


@pytest.mark.parametrize("before,after", [("earlier", "later"), ("later", "earlier")])
def test_one_instance_after_another_while_messages_flow(mixed, before, after):
    stack = mixed(dict.fromkeys(SERVICES, before))
    flow = Flow(stack).start()
    for service in SERVICES:
        for name in stack.names(service):
            instance = stack.instances[name]
            stack.names_file.remove(f"{service}.pipit.test", instance.bus_host)
            stack.kill(name, signal_number=signal.SIGTERM)
            assert stack.processes[name].returncode == 0, stack.tail(name, 40)
            instance.settings = versions.VERSIONS[after]()
            stack.restart(name)
            assert speaks(stack, name)
            flow.wait_progress()
    assert flow.finish() > 100
    Everyday(stack, "-after").run()


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_that_a_peer_sends_ends_a_process(fresh_stack, service):
    """No version at all: fields missing and enum values changed at random. Much may fail, nobody may die."""
    stack = fresh_stack(counts=COUNTS)
    people = stack.people.make("ann", "bob", "carl")
    conversation = people[0].group("noise", *people[1:])
    for number, name in enumerate(stack.names(service)):
        stack.kill(name, signal_number=signal.SIGTERM)
        stack.instances[name].settings = versions.broken(seed=number + 1)
        stack.start_service(name)
    wait_until(lambda: all(stack.ready(name) for name in stack.names(service)), 30, "the broken ones to start")
    assert all(speaks(stack, name) for name in stack.names(service))
    for number in range(40):
        person = people[number % 3]
        person.stack = stack.door(1 + number % 2, 1 + number % 2)
        try:
            socket = person.ws()
            numbers = [socket.post("send", {"conversation": conversation, "message": uuid7(), "body": {"text": "?"}}),
                       socket.post("sync", {conversation: 0}), socket.post("presence", {"conversation": conversation}),
                       socket.post("mark", {"conversation": conversation, "read": number})]
            for each in numbers:
                socket.reply(each, timeout=0.5)
        except TROUBLE:
            pass
        finally:
            socket.close()
        for method, path, body in (("GET", "/v1/me/conversations", None), ("GET", "/v1/users", None),
                                   ("GET", f"/v1/conversations/{conversation}/messages?after=0", None),
                                   ("GET", f"/v1/conversations/{conversation}", None),
                                   ("PUT", f"/v1/conversations/{conversation}/messages/{uuid7()}", {"body": {}}),
                                   ("PUT", f"/v1/conversations/{conversation}/members/{people[2].id}", {})):
            try:
                people[0].call(method, path, body)
            except TROUBLE:
                pass
        ended = [name for name in stack.names() if stack.processes[name].poll() is not None]
        assert not ended, [stack.tail(name, 40) for name in ended]
