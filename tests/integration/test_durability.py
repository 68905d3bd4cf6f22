"""An acknowledged message is on disk (I1), and shown once however often it is sent (I3)."""

import signal

from clients import uuid7
from stack import wait_until


def test_acknowledged_messages_survive_kill_of_all_services(fresh_stack):
    stack = fresh_stack()
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    acknowledged = {}
    for round_number in range(3):
        a = ann.ws()
        numbers = {}
        for index in range(100):
            message = uuid7()
            data = {"conversation": conversation, "message": message,
                    "body": {"text": f"{round_number}-{index}"}}
            numbers[a.post("send", data)] = message
        last = max(numbers)
        a.wait(lambda: last - 40 in a.replies, 10, "some acknowledgements")
        stack.kill()
        a.wait_closed()
        for number, message in numbers.items():
            for frame in a.replies.get(number, []):
                if frame["t"] == "ok":
                    acknowledged[message] = frame["d"]["seq"]
        stack.restart()
        items = ann.history(conversation)
        stored = {m["message"]: m["seq"] for m in items}
        assert [m["seq"] for m in items] == list(range(1, len(items) + 1)), "a hole or a duplicate"
        lost = {m: s for m, s in acknowledged.items() if stored.get(m) != s}
        assert not lost
        # Whatever was not acknowledged is sent again with the same id.
        a = ann.ws()
        for message in numbers.values():
            reply = a.send(conversation, "again", message)
            assert reply["t"] == "ok", reply
            assert acknowledged.setdefault(message, reply["d"]["seq"]) == reply["d"]["seq"]
        a.close()
    items = ann.history(conversation)
    assert len({m["message"] for m in items}) == len(items) == 300


def test_mqtt_duplicate_after_a_crash_is_stored_once(fresh_stack):
    import socket as sockets

    stack = fresh_stack()
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)

    def connect():
        link = sockets.create_connection(("127.0.0.1", stack.mqtt_port), timeout=10)
        link.sendall(mqtt_connect("phone", ann.name, ann.token))
        assert link.recv(4)[3] == 0
        return link

    def publish(link, duplicate):
        topic = f"pipit/c/{conversation}/send".encode()
        body = len(topic).to_bytes(2, "big") + topic + b"\x00\x07" + b"only once"
        link.sendall(bytes([0x32 | (8 if duplicate else 0), len(body)]) + body)
        assert link.recv(4) == b"\x40\x02\x00\x07"

    link = connect()
    publish(link, False)
    stack.kill()
    stack.restart()
    link = connect()
    publish(link, True)  # the client did not see the acknowledgement
    assert [m["body"]["text"] for m in ann.history(conversation)] == ["only once"]
    publish(link, False)  # a new message that happens to have the same packet id
    assert len(ann.history(conversation)) == 2


def mqtt_connect(client_id, user, password):
    def text(value):
        raw = value.encode()
        return len(raw).to_bytes(2, "big") + raw

    body = text("MQTT") + b"\x04\xc0\x00\x3c" + text(client_id) + text(user) + text(password)
    length, encoded = len(body), b""
    while True:
        encoded += bytes([(length & 0x7F) | (0x80 if length > 127 else 0)])
        length >>= 7
        if not length:
            return b"\x10" + encoded + body


def test_each_service_may_die_and_chat_goes_on(fresh_stack):
    stack = fresh_stack()
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    for victim in ("storage", "routing", "auth"):
        a, b = ann.ws(), bob.ws()
        assert a.send(conversation, f"before {victim}")["t"] == "ok"
        stack.kill(victim)
        stack.start_service(victim)
        message = uuid7()

        def delivered(a=a, message=message, victim=victim):
            reply = a.send(conversation, f"after {victim}", message)
            assert reply["t"] == "ok" or reply["d"]["retryable"], reply
            return reply["t"] == "ok"

        wait_until(delivered, 15, f"chat after {victim} was killed")
        b.event("msg", where=lambda d, m=message: d["message"] == m)
        seqs = [m["seq"] for m in b.messages()]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "the live stream has a hole"
        a.close(), b.close()
    stack.wait_ready()


def test_frozen_storage_is_an_unknown_outcome_not_a_loss(fresh_stack):
    stack = fresh_stack(PIPIT_BUS_TIMEOUT="1s")
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    a = ann.ws()
    stack.kill("storage", signal_number=signal.SIGSTOP)
    message = uuid7()
    reply = a.send(conversation, "maybe", message)
    assert reply["t"] == "err" and reply["d"]["retryable"] is True
    stack.kill("storage", signal_number=signal.SIGCONT)
    stack.expected_exits.discard("storage")
    wait_until(lambda: a.send(conversation, "maybe", message)["t"] == "ok", 15, "the send to succeed")
    assert [m["message"] for m in ann.history(conversation)].count(message) == 1
    a.close()
