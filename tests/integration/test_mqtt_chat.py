"""Chat over MQTT with paho and mosquitto's own clients: 3.1.1 and 5, QoS, backlog, refusals."""

import json
import subprocess

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from clients import uuid7
from stack import SLOW, wait_until


@pytest.fixture(scope="module")
def pair(stack):
    return stack.people.make("ann", "bob")


@pytest.mark.parametrize("version", [3, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_direct_message_by_user_topic(pair, version, qos):
    ann, bob = pair
    a, b = ann.mqtt(version=version), bob.mqtt(version=version)
    text = f"v{version} q{qos} 门铃响了"
    a.publish(f"pipit/u/{bob.name}/send", text, qos=qos)
    got = b.message(where=lambda d: d["body"].get("text") == text)
    assert got["from"] == ann.id and got["conversation"] == ann.direct(bob)
    a.close(), b.close()


def test_user_id_and_name_mean_the_same(pair):
    ann, bob = pair
    a, b = ann.mqtt(), bob.mqtt()
    a.publish(f"pipit/u/{bob.id}/send", "by id")
    assert b.message(where=lambda d: d["body"]["text"] == "by id")
    a.close(), b.close()


def test_group_topic_and_json_payload(stack):
    ann, bob, cleo = stack.people.make("gann", "gbob", "gcleo")
    conversation = ann.group("family", bob, cleo)
    a, b, c = ann.mqtt(), bob.mqtt(), cleo.ws()
    message = uuid7()
    payload = json.dumps({"message": message, "text": "dinner"})
    a.publish(f"pipit/c/{conversation}/send", payload)
    a.publish(f"pipit/c/{conversation}/send", payload)  # the same id again: stored once
    got = b.message(where=lambda d: d["conversation"] == conversation)
    assert got["message"] == message and got["body"] == {"text": "dinner"}
    assert c.event("msg")["d"]["seq"] == got["seq"]
    marker = a.publish(f"pipit/c/{conversation[2:]}/send", "marker")
    assert marker
    b.message(where=lambda d: d["body"].get("text") == "marker")
    assert [m["message"] for m in b.received()].count(message) == 1
    a.close(), b.close(), c.close()


def test_acknowledgement_carries_seq_on_version_5(pair):
    ann, bob = pair
    a = ann.mqtt()
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "pipit/me/events"
    properties.CorrelationData = uuid7().encode()
    a.publish(f"pipit/u/{bob.name}/send", "with correlation", properties=properties)

    def answer():
        return next((e for e in a.all if e[1]["t"] == "ok"), None)

    topic, frame, message = wait_until(answer, 10, "answer on the response topic")
    assert frame["d"]["message"] == properties.CorrelationData.decode()
    assert message.properties.CorrelationData == properties.CorrelationData
    stored = {m["message"]: m["seq"] for m in ann.history(ann.direct(bob))}
    assert stored[frame["d"]["message"]] == frame["d"]["seq"]
    a.close()


@pytest.mark.parametrize("version", [3, 5])
def test_missed_messages_come_after_reconnect(stack, version):
    names = (f"back{version}a", f"back{version}b")
    ann, bob = stack.people.make(*names)
    first = bob.mqtt(client_id=f"phone{version}", version=version, clean=False)
    a = ann.mqtt()
    a.publish(f"pipit/u/{bob.name}/send", "seen")
    first.message(where=lambda d: d["body"]["text"] == "seen")
    first.client.loop_stop()
    first.client.disconnect()
    wait_until(lambda: stack.metrics("connection"), 5)
    for number in range(150):
        a.publish(f"pipit/u/{bob.name}/send", str(number), wait=number == 149)
    again = bob.mqtt(client_id=f"phone{version}", version=version, clean=False)
    wait_until(lambda: len(again.received()) >= 150, 20, "the backlog")
    texts = [m["body"]["text"] for m in again.received() if m["body"]["text"] != "seen"]
    assert texts == [str(n) for n in range(150)]
    a.publish(f"pipit/u/{bob.name}/send", "live")
    again.message(where=lambda d: d["body"]["text"] == "live")
    seqs = [m["seq"] for m in again.received()]
    assert seqs == sorted(set(seqs))
    a.close(), again.close()


@pytest.mark.parametrize("version", [3, 5])
def test_first_message_ever_while_away_without_subscribing_again(stack, version):
    ann, bob = stack.people.make(f"early{version}a", f"early{version}b")
    first = bob.mqtt(client_id=f"tablet{version}", version=version, clean=False)
    first.client.disconnect()
    first.client.loop_stop()
    a = ann.mqtt()
    a.publish(f"pipit/u/{bob.name}/send", "the very first")
    again = bob.mqtt(client_id=f"tablet{version}", version=version, clean=False, subscribe=())
    assert again.message()["body"]["text"] == "the very first"
    a.publish(f"pipit/u/{bob.name}/send", "live")
    assert again.message()["body"]["text"] == "live"
    flags = again.flags if isinstance(again.flags, dict) else {"session present": again.flags.session_present}
    assert flags["session present"] == 1
    a.close(), again.close()


def test_clean_session_starts_at_the_head(stack):
    ann, bob = stack.people.make("clean1", "clean2")
    a = ann.mqtt()
    a.publish(f"pipit/u/{bob.name}/send", "before")
    b = bob.mqtt(client_id="fresh", clean=True)
    a.publish(f"pipit/u/{bob.name}/send", "after")
    assert b.message()["body"]["text"] == "after"
    a.close(), b.close()


def test_same_client_id_takes_over(pair):
    ann, _ = pair
    first = ann.mqtt(client_id="tv")
    second = ann.mqtt(client_id="tv")
    code, _ = first.disconnected.get(timeout=5 * SLOW)
    assert int(getattr(code, "value", code)) in (0x8E, 1, 7)
    first.client.loop_stop()
    second.publish(f"pipit/u/{pair[1].name}/send", "from the second")
    second.close()


def test_foreign_topic_is_refused_with_a_reason(pair):
    ann, _ = pair
    a = ann.mqtt(subscribe=())
    a.client.subscribe("homeassistant/#", options=SubscribeOptions(qos=1))
    codes = a.granted.get(timeout=5 * SLOW)
    assert all(code.value >= 0x80 for code in codes)
    a.client.publish("some/other/topic", "x", qos=1)
    wait_until(lambda: a.acks or not a.disconnected.empty(), 5, "a refusal")
    a.close()


def test_wrong_password_and_wrong_name_are_refused(stack, pair):
    ann, bob = pair
    for person, password in ((ann, "nonsense"), (ann, bob.token), (ann, ann.token[:-4] + "AAAA")):
        client = person.mqtt(password=password, subscribe=())
        assert int(client.code.value) >= 0x80
        client.client.loop_stop()
    old = ann.mqtt(password="nonsense", version=3, subscribe=())
    assert old.code in (4, 5)
    old.client.loop_stop()


def test_mosquitto_clients_talk(stack, pair):
    ann, bob = pair
    for version in ("311", "5"):
        common = ["-h", "127.0.0.1", "-p", str(stack.mqtt_port), "-V", f"mqttv{version}", "-q", "1"]
        listener = subprocess.Popen(
            ["stdbuf", "-oL", "mosquitto_sub", *common, "-u", bob.name, "-P", bob.token, "-t", "pipit/me/inbox",
             "-C", "1", "-W", "20", "-d"],
            stdout=subprocess.PIPE, text=True, bufsize=1)
        lines = []
        while not any("SUBACK" in line for line in lines):
            line = listener.stdout.readline()
            assert line, lines
            lines.append(line)
        sent = subprocess.run(
            ["mosquitto_pub", *common, "-u", ann.name, "-P", ann.token,
             "-t", f"pipit/u/{bob.name}/send", "-m", f"hello {version}"], timeout=20, check=False)
        assert sent.returncode == 0
        rest, _ = listener.communicate(timeout=20)
        assert listener.returncode == 0
        assert f"hello {version}" in rest


def test_across_protocols(pair):
    ann, bob = pair
    conversation = ann.direct(bob)
    a, b = ann.ws(), bob.mqtt()
    seq = a.send(conversation, "from the page")["d"]["seq"]
    got = b.message(where=lambda d: d["seq"] == seq)
    assert got["body"]["text"] == "from the page"
    b.publish(f"pipit/c/{conversation}/send", "from the device")
    assert a.event("msg", where=lambda d: d["body"]["text"] == "from the device")["d"]["from"] == bob.id
    ann.send(conversation, "from a script")
    assert b.message(where=lambda d: d["body"]["text"] == "from a script")
    a.event("msg", where=lambda d: d["body"]["text"] == "from a script")
    a.close(), b.close()


def test_events_topic_carries_marks_and_edits(pair):
    ann, bob = pair
    conversation = ann.direct(bob)
    a, b = ann.ws(), bob.mqtt()
    seq = a.send(conversation, "typo")["d"]["seq"]
    b.message(where=lambda d: d["seq"] == seq)
    a.request("edit", {"conversation": conversation, "seq": seq, "message": uuid7(),
                       "body": {"text": "fixed"}})
    assert b.message(topic="pipit/me/events", where=lambda d: d.get("target") == seq)
    a.close(), b.close()


def test_will_on_a_chat_topic_speaks_when_the_client_dies(stack, pair):
    ann, bob = pair
    b = bob.mqtt()
    a = ann.mqtt(connect=False, client_id="sensor")
    a.client.will_set(f"pipit/u/{bob.name}/send", "sensor lost", qos=1)
    a.connect()
    a.drop()
    assert b.message(where=lambda d: d["body"]["text"] == "sensor lost")
    b.close()
