"""Bounds: rates, connections, slow readers, drain, idle memory."""

import json
import signal
import socket
import time

import pytest
import requests

from clients import Ws, uuid7
from stack import SLOW, wait_until
from test_hostile_input import mqtt_connect, ws_frame, ws_open


def test_message_rate_is_limited_with_a_retry_time(fresh_stack):
    stack = fresh_stack(PIPIT_CONNECTION_MESSAGES_PER_SECOND=20, PIPIT_CONNECTION_MESSAGES_BURST=20)
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    socket_ = ann.ws()
    numbers = [socket_.post("send", {"conversation": conversation, "message": uuid7(),
                                     "body": {"text": str(i)}}) for i in range(60)]
    replies = [socket_.reply(number) for number in numbers]
    refused = [r for r in replies if r["t"] == "err"]
    assert refused and all(r["d"]["code"] == "rate_limited" and r["d"]["retryable"] for r in refused)
    assert all(0 < r["d"]["retry_ms"] <= 5000 for r in refused)
    assert 20 <= len(replies) - len(refused) < 40
    socket_.close()


def test_mqtt_sender_is_slowed_down_not_refused(fresh_stack):
    stack = fresh_stack(PIPIT_CONNECTION_MESSAGES_PER_SECOND=50, PIPIT_CONNECTION_MESSAGES_BURST=20)
    ann, bob = stack.people.make("ann", "bob")
    a = ann.mqtt(subscribe=())
    started = time.monotonic()
    for number in range(120):
        a.publish(f"pipit/u/{bob.name}/send", str(number), wait=False)
    wait_until(lambda: len(a.acks) == 120, 20, "all acknowledgements")
    assert time.monotonic() - started > 1.5
    assert len(ann.history(ann.direct(bob))) == 120
    a.close()


def test_connections_per_address_are_limited(fresh_stack):
    stack = fresh_stack(PIPIT_CONNECTION_CONNECTIONS_PER_ADDRESS_MAX=5)
    links = [ws_open(stack) for _ in range(5)]
    with pytest.raises(AssertionError, match="HTTP/1.1 503"):
        ws_open(stack)
    links.pop().close()
    wait_until(lambda: _opens(stack), 5, "room after one left")
    for link in links:
        link.close()


def _opens(stack):
    try:
        ws_open(stack).close()
        return True
    except (AssertionError, OSError):
        return False


def test_sessions_per_user_are_limited(fresh_stack):
    stack = fresh_stack(PIPIT_CONNECTION_SESSIONS_PER_USER_MAX=3, PIPIT_CONNECTION_THREADS=1)
    ann = stack.people.make("ann")
    sockets = [ann.ws() for _ in range(3)]
    extra = Ws(stack)
    extra.post("auth", {"token": ann.token})
    extra.wait_closed(5)
    assert any(f["t"] in ("err", "bye") for f in extra.all)
    for socket_ in sockets:
        socket_.close()


def test_slow_reader_is_closed_with_a_reason_and_made_whole(fresh_stack):
    stack = fresh_stack(PIPIT_CONNECTION_SEND_QUEUE_BYTES_MAX="64KiB")
    ann, bob, cleo = stack.people.make("ann", "bob", "cleo")
    conversation = ann.group("slow", bob, cleo)
    link = ws_open(stack)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.sendall(ws_frame(json.dumps({"t": "auth", "id": 1, "d": {"token": bob.token}}).encode()))
    a, c = ann.ws(), cleo.ws()
    total = 0
    while stack.metrics("connection").get("pipit_slow_readers_closed_total", 0) == 0 and \
            not any(v for k, v in stack.metrics("connection").items()
                    if k.startswith("pipit_slow_readers_closed_total") and v):
        numbers = [a.post("send", {"conversation": conversation, "message": uuid7(),
                                   "body": {"text": "y" * 8000}}) for _ in range(4)]
        for number in numbers:
            assert a.reply(number)["t"] == "ok"
        total += 4
        assert total < 3000, "the slow reader is never closed"
    wait_until(lambda: len(c.messages()) == total, 20, "the quick reader has everything")
    link.close()
    b = bob.ws()
    items, _ = b.sync({conversation: 0})
    assert [m["seq"] for m in items[conversation]] == list(range(1, total + 1))
    for s in (a, b, c):
        s.close()


def test_sigterm_tells_clients_to_reconnect(fresh_stack):
    stack = fresh_stack()
    ann = stack.people.make("ann")
    ws, five, three = ann.ws(), ann.mqtt(version=5), ann.mqtt(version=3)
    stack.kill("connection", signal_number=signal.SIGTERM)
    code, _ = ws.wait_closed(5)
    assert code == 1012
    bye = next(f for f in ws.all if f["t"] == "bye")
    assert bye["d"]["code"] == "drain" and len(bye["d"]["retry_ms"]) == 2
    reason, _ = five.disconnected.get(timeout=5)
    assert getattr(reason, "value", reason) == 0x9C
    three.disconnected.get(timeout=5)
    assert stack.processes["connection"].returncode == 0
    for client in (five, three):
        client.client.loop_stop()
    stack.restart("connection")
    ann.ws().close()


def test_login_failures_are_limited_without_locking_out_the_victim(fresh_stack):
    stack = fresh_stack(PIPIT_AUTH_LOGIN_FAILURES_PER_MINUTE=5)
    stack.people.make("victim")
    body = {"user": "victim", "password": "wrong-password"}
    codes = []
    for _ in range(8):
        answer = requests.post(stack.rest_url + "/v1/login", json=body, timeout=30)
        codes.append(answer.status_code)
    assert codes[:5] == [401] * 5 and codes[-1] == 429
    assert int(answer.headers["Retry-After"]) > 0 and answer.json()["code"] == "rate_limited"
    # From another address the owner still gets in.
    with requests.Session() as session:
        from requests.adapters import HTTPAdapter

        class From(HTTPAdapter):
            def init_poolmanager(self, *arguments, **options):
                super().init_poolmanager(*arguments, source_address=("127.0.0.9", 0), **options)

        session.mount("http://", From())
        body["password"] = "quiet-otter-lamp"
        assert session.post(stack.rest_url + "/v1/login", json=body, timeout=30).status_code == 200


def test_login_flood_is_answered_503_with_retry_after(fresh_stack):
    import concurrent.futures

    stack = fresh_stack(PIPIT_AUTH_HASH_QUEUE_MAX=4, PIPIT_AUTH_LOGIN_FAILURES_PER_MINUTE=100000,
                        PIPIT_AUTH_LOGIN_FAILURES_PER_ADDRESS_PER_MINUTE=100000)
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    socket_ = ann.ws()

    def attempt(_):
        return requests.post(stack.rest_url + "/v1/login", timeout=60,
                             json={"user": "ann", "password": "wrong-password"})

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = pool.map(attempt, range(120))
        for number in range(20):
            assert socket_.send(conversation, f"chat goes on {number}")["t"] == "ok"
        answers = list(answers)
    codes = {a.status_code for a in answers}
    assert 503 in codes and codes <= {401, 503, 429}
    assert all(int(a.headers["Retry-After"]) >= 1 for a in answers if a.status_code == 503)
    socket_.close()


def test_idle_memory(fresh_stack):
    stack = fresh_stack()
    ann = stack.people.make("ann")
    if SLOW > 1:
        return  # memory figures of sanitizer builds mean nothing
    total = sum(stack.pss_kib(service) for service in stack.processes)
    assert total < 40 * 1024, f"four idle services: {total} KiB PSS"
    count = 1000
    warm = [ws_open(stack)]
    before = stack.pss_kib("connection")
    links = []
    auth = ws_frame(json.dumps({"t": "auth", "id": 1, "d": {"token": ann.token}}).encode())
    for index in range(count):
        link = ws_open(stack)
        link.sendall(auth)
        links.append(link)
    wait_until(lambda: _sessions(stack) >= count, 20, "all WebSocket sessions")
    middle = stack.pss_kib("connection")
    for index in range(count):
        link = socket.create_connection(("127.0.0.1", stack.mqtt_port), timeout=10)
        link.sendall(mqtt_connect(ann, 4, client_id=f"idle{index}"))
        links.append(link)
    wait_until(lambda: _sessions(stack) >= 2 * count, 20, "all MQTT sessions")
    after = stack.pss_kib("connection")
    assert (middle - before) / count < 6, f"{(middle - before) / count} KiB a WebSocket"
    assert (after - middle) / count < 6, f"{(after - middle) / count} KiB an MQTT connection"
    for link in links + warm:
        link.close()


def _sessions(stack):
    return sum(v for k, v in stack.metrics("connection").items() if k.startswith("pipit_sessions{"))
