"""1,000 malformed inputs per protocol: a clear error or close each time, no crash, memory flat."""

import base64
import json
import os
import random
import socket
import struct
import time

import pytest
import requests

from clients import uuid7
from stack import SLOW, wait_until

ROUNDS = 1000
SEED = int(os.environ.get("PIPIT_TEST_SEED", "7"))
GROWTH_KIB = 3072 if SLOW == 1 else 100_000  # sanitizers keep freed memory in quarantine


@pytest.fixture(scope="module")
def person(stack):
    return stack.people.make("victim")


def flat_memory(stack, service, attack):
    """Runs the attack twice: what the first run cannot explain is growth."""
    attack()
    before = stack.pss_kib(service)
    attack()
    after = stack.pss_kib(service)
    assert after - before < GROWTH_KIB, f"{service} grew from {before} to {after} KiB"


def read_all(link, limit=1 << 20):
    """Everything until the other side closes; raises TimeoutError when it does not."""
    data = b""
    while len(data) < limit:
        try:
            piece = link.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            break
        if not piece:
            break
        data += piece
    return data


def connect(port):
    link = socket.create_connection(("127.0.0.1", port), timeout=12 * SLOW)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


# --- WebSocket ---------------------------------------------------------------------------------


def ws_open(stack):
    link = connect(stack.ws_port)
    key = base64.b64encode(os.urandom(16)).decode()
    link.sendall((f"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                  f"Sec-WebSocket-Protocol: pipit.v1\r\n\r\n").encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = link.recv(4096)
        assert piece, head
        head += piece
    assert head.startswith(b"HTTP/1.1 101"), head
    rest = head.split(b"\r\n\r\n", 1)[1]
    while len(rest) < 2 or len(rest) < 4 + struct.unpack(">H", rest[2:4])[0]:
        rest += link.recv(4096)
    return link


def ws_frame(payload, opcode=1, fin=True, masked=True, rsv=0, length=None):
    size = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 65536:
        head += bytes([mask_bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([mask_bit | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def ws_bad_bytes(rng):
    good = json.dumps({"t": "send", "id": 1, "d": {"conversation": "c_x", "message": uuid7(),
                                                   "body": {"text": "x"}}}).encode()
    return rng.choice([
        lambda: ws_frame(good, masked=False),
        lambda: ws_frame(good, rsv=rng.randrange(1, 8)),
        lambda: ws_frame(good, opcode=rng.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])),
        lambda: ws_frame(good, opcode=2),
        lambda: ws_frame(b"x" * 126, opcode=rng.choice([8, 9, 10])),
        lambda: ws_frame(b"", opcode=9, fin=False),
        lambda: ws_frame(good, opcode=0),
        lambda: ws_frame(b'{"t":', fin=False) + ws_frame(good),
        lambda: ws_frame(b"x", length=1 << rng.randrange(20, 63)),
        lambda: ws_frame(b"x" * 70000),
        lambda: ws_frame(b"\xff\xfe" + good),
        lambda: ws_frame(b'"\xed\xa0\x80"'),
        lambda: ws_frame(struct.pack(">H", rng.choice([0, 999, 1004, 1005, 1006, 2999, 5000])), opcode=8),
        lambda: ws_frame(b"\x03", opcode=8),
        lambda: ws_frame(struct.pack(">H", 1000) + b"\xff", opcode=8),
        lambda: b"".join(ws_frame(b"[" * 1000, opcode=1 if i == 0 else 0, fin=False) for i in range(80)),
        lambda: rng.randbytes(rng.randrange(14, 200)),
    ])()


def ws_bad_text(rng):
    message = uuid7()
    base = {"t": "send", "id": 1, "d": {"conversation": "c_x", "message": message, "body": {"text": "x"}}}
    text = json.dumps(base)
    return rng.choice([
        lambda: text[:rng.randrange(1, len(text))],
        lambda: text + rng.choice(["}", "x", text, ",", "\x00"]),
        lambda: "[" * 5000,
        lambda: '{"t":"send","id":1,"d":{"body":' + '{"a":' * 200 + "1" + "}" * 200 + "}}",
        lambda: '{"t":"ping","t":"auth","d":{}}',
        lambda: '{"t":"send","id":1,"d":{"conversation":"c_x","conversation":"c_y"}}',
        lambda: '{"t":"\\ud800","id":1}',
        lambda: '{"t":"send","id":-1,"d":{}}',
        lambda: '{"t":"send","id":1e999,"d":{}}',
        lambda: '{"t":"send","id":18446744073709551616,"d":{}}',
        lambda: json.dumps({**base, "t": rng.choice(["", "SEND", "hello", "ok", "msg", "x" * 1000])}),
        lambda: json.dumps({**base, "d": rng.choice([None, 1, "x", [], [1] * 50])}),
        lambda: json.dumps({**base, "surprise": 1}),
        lambda: json.dumps({**base, "d": {**base["d"], "surprise": 1}}),
        lambda: json.dumps({**base, "d": {**base["d"], "message": rng.choice(["", "x", message[:-1], 7])}}),
        lambda: json.dumps({**base, "d": {**base["d"], "conversation": rng.choice(
            ["", "c_", "c_" + "x" * 300, "c_../..", "c_\u0000", 5])}}),
        lambda: json.dumps({"t": "auth", "id": 1, "d": {"token": rng.choice(["", "x", "a.b.c", "x" * 9000])}}),
        lambda: json.dumps({"t": "sync", "id": 1, "d": {"c_x": rng.choice([-1, "x", 1.5, 1 << 70])}}),
        lambda: "null", lambda: "7", lambda: '""', lambda: "",
    ])()


def test_malformed_websocket_before_login(stack, person):
    rng = random.Random(SEED)

    def attack():
        for number in range(ROUNDS // 2):
            link = ws_open(stack)
            data = ws_bad_bytes(rng) if number % 2 else ws_frame(ws_bad_text(rng).encode())
            if number % 3 == 0:
                cut = rng.randrange(1, len(data))
                link.sendall(data[:cut])
                data = data[cut:]
            try:
                link.sendall(data)
                if number % 4 == 0:
                    link.shutdown(socket.SHUT_WR)
                    answer = read_all(link)
                    assert answer or number % 2, "closed without a word"
            except (ConnectionResetError, BrokenPipeError):
                pass
            link.close()

    flat_memory(stack, "connection", attack)
    alive = person.ws()
    assert alive.auth_reply["t"] == "ok"
    alive.close()


def test_malformed_frames_of_a_logged_in_user_get_an_error_each(stack, person):
    rng = random.Random(SEED + 1)

    def attack():
        socket_ = None
        for _ in range(ROUNDS // 2):
            if socket_ is None:
                socket_ = person.ws()
            seen = len(socket_.all)
            socket_.socket.send(ws_bad_text(rng))
            socket_.wait(lambda s=socket_, n=seen: len(s.all) > n or s.closed, 5, "error or close")
            if socket_.closed or any(f["t"] == "bye" for f in socket_.all):
                code, _ = socket_.wait_closed(5)
                assert code and 1000 < code < 5000, code
                socket_ = None
            else:
                last = socket_.all[-1]
                assert last["t"] in ("err", "ok", "pong", "sync"), last
                if last["t"] == "err":
                    assert last["d"]["code"] and last["d"]["msg"] and "retryable" in last["d"]
        if socket_ is not None:
            socket_.close()

    flat_memory(stack, "connection", attack)


def test_bad_handshakes_get_an_http_error(stack):
    lines = [
        (b"POST /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n", b" 405"),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", b" 404"),
        (b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n", b" 4"),
        (b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 8\r\n\r\n", b" 426"),
        (b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         b"Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n", b" 400"),
        (b"GET /v1/ws HTTP/1.1\r\n" + b"X: " + b"a" * 20000 + b"\r\n\r\n", b" 4"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), b" 400"),
        (b"GET /v1/ws\r\n\r\n", b" 400"),
    ]
    for request, status in lines:
        link = connect(stack.ws_port)
        link.sendall(request)
        answer = read_all(link)
        assert answer.startswith(b"HTTP/1.1" + status), (request[:60], answer[:80])
        link.close()


def test_foreign_origin_is_refused(stack, person):
    import websocket

    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        person.ws(origin="http://evil.example")
    assert refused.value.status_code == 403


# --- MQTT --------------------------------------------------------------------------------------


def mqtt_text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack(">H", len(raw)) + raw


def mqtt_packet(first, body):
    length, encoded = len(body), b""
    while True:
        encoded += bytes([(length & 0x7F) | (0x80 if length > 127 else 0)])
        length >>= 7
        if not length:
            return bytes([first]) + encoded + body


def mqtt_connect(person, version, client_id="h", flags=0xC2, properties=b""):
    body = mqtt_text("MQTT") + bytes([version, flags]) + b"\x00\x3c"
    if version == 5:
        body += bytes([len(properties)]) + properties
    return mqtt_packet(0x10, body + mqtt_text(client_id) + mqtt_text(person.name) + mqtt_text(person.token))


def mqtt_bad(rng, person, version):
    empty = b"\x00" if version == 5 else b""
    topic = mqtt_text(f"pipit/u/{person.name}/send")
    good = mqtt_packet(0x32, topic + b"\x00\x01" + empty + b"hi")
    return rng.choice([
        lambda: mqtt_connect(person, version),  # a second CONNECT
        lambda: good[:rng.randrange(1, len(good))],
        lambda: bytes([0x32]) + b"\xff\xff\xff\xff\x7f",
        lambda: bytes([0x32]) + b"\xff\xff\xff\x7f" + bytes(1000),
        lambda: mqtt_packet(0x36, topic + b"\x00\x01" + empty + b"qos 3"),
        lambda: mqtt_packet(0x32, topic + b"\x00\x00" + empty + b"packet id 0"),
        lambda: mqtt_packet(0x32, mqtt_text("pipit/+/x") + b"\x00\x01" + empty + b"wildcard"),
        lambda: mqtt_packet(0x32, mqtt_text("") + b"\x00\x01" + empty + b"no topic"),
        lambda: mqtt_packet(0x32, mqtt_text(b"pipit/\xff/send") + b"\x00\x01" + empty + b"utf-8"),
        lambda: mqtt_packet(0x32, mqtt_text("pipit/u/\x00/send") + b"\x00\x01" + empty + b"nul"),
        lambda: mqtt_packet(0x32, mqtt_text("x" * 60000) + b"\x00\x01" + empty + b"long"),
        lambda: mqtt_packet(0x32, topic + b"\x00\x01" + empty + b"\xff\xfe\xfd"),
        lambda: mqtt_packet(0x32, struct.pack(">H", 500) + b"short"),
        lambda: mqtt_packet(0x32, topic + b"\x00\x01" + b"\x03\x23\x00\x00" + b"alias 0"),
        lambda: mqtt_packet(0x32, topic + b"\x00\x01" + b"\x03\x23\xff\xff" + b"alias 65535"),
        lambda: mqtt_packet(0x32, topic + b"\x00\x01" + b"\x04\x01\x01\x01\x01" + b"twice"),
        lambda: mqtt_packet(0x80, b"\x00\x01" + empty + mqtt_text("a/#") + b"\x01"),
        lambda: mqtt_packet(0x82, b"\x00\x01" + empty),
        lambda: mqtt_packet(0x82, b"\x00\x01" + empty + mqtt_text("a/#/b") + b"\x01"),
        lambda: mqtt_packet(0x82, b"\x00\x01" + empty + mqtt_text("pipit/me/inbox") + b"\x07"),
        lambda: mqtt_packet(0x82, b"\x00\x01" + empty + mqtt_text("x") * 5000),
        lambda: mqtt_packet(0xA2, b"\x00\x01" + empty),
        lambda: mqtt_packet(0x62, b"\x00\x63"), lambda: mqtt_packet(0x60, b"\x00\x63"),
        lambda: mqtt_packet(0x40, b"\x00"), lambda: mqtt_packet(0xC0, b"x"),
        lambda: mqtt_packet(0xE0, b"\x04\x05\x11\x00\x00\x00"), lambda: mqtt_packet(0x00, b""),
        lambda: mqtt_packet(0xF0, b""), lambda: mqtt_packet(0x20, b"\x00\x00"),
        lambda: rng.randbytes(rng.randrange(2, 100)),
    ])()


@pytest.mark.parametrize("version", [4, 5])
def test_malformed_mqtt(stack, person, version):
    rng = random.Random(SEED + version)

    def attack():
        for number in range(ROUNDS // 4):
            link = connect(stack.mqtt_port)
            if number % 4:
                link.sendall(mqtt_connect(person, version, client_id=f"h{number % 50}"))
            data = mqtt_bad(rng, person, version)
            try:
                for start in range(0, len(data), max(1, len(data) // rng.choice([1, 2, 5]))):
                    link.sendall(data[start:start + max(1, len(data) // 5)])
                link.sendall(data)
                link.shutdown(socket.SHUT_WR)
                read_all(link)
            except (ConnectionResetError, BrokenPipeError):
                pass
            link.close()

    flat_memory(stack, "connection", attack)
    alive = person.mqtt(version=5 if version == 5 else 3)
    alive.publish(f"pipit/u/{stack.people.admin.name}/send", "alive")
    alive.close()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_mqtt_connect_byte_by_byte(stack, person, cut):
    data = mqtt_connect(person, 5)
    link = connect(stack.mqtt_port)
    for position in range(0, len(data), cut):
        link.sendall(data[position:position + cut])
    answer = link.recv(100)
    assert answer[0] == 0x20 and answer[3] == 0
    link.close()


def test_wrong_protocol_on_the_mqtt_port(stack):
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"\x10\x00", mqtt_packet(
            0x10, mqtt_text("MQTT") + b"\x09\x02\x00\x3c" + mqtt_text("x")), mqtt_packet(
            0x10, mqtt_text("MQIsdp") + b"\x03\x02\x00\x3c" + mqtt_text("x"))):
        link = connect(stack.mqtt_port)
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        read_all(link)
        link.close()


# --- REST --------------------------------------------------------------------------------------


def rest_bad(rng, person):
    big = "x" * 300_000
    path = rng.choice(["/v1/login", "/v1/register", "/v1/token", "/v1/conversations", "/v1/me",
                       "/v1/me/password", "/v1/conversations/c_x/messages/" + uuid7(), "/v1/admin/invites"])
    method = rng.choice(["POST", "PUT", "PATCH", "DELETE", "GET"])
    body = rng.choice([
        b"", b"{", b"[]", b"null", b'"x"', b"{}" * 2, b"[" * 5000, b'{"user":"a","user":"b","password":"x"}',
        b'{"user":"\xff","password":"12345678"}', b'{"user":"\\ud800","password":"12345678"}',
        json.dumps({"user": big, "password": big}).encode(), json.dumps({"user": 1, "password": 2}).encode(),
        json.dumps({"user": "a", "password": "b" * 5000}).encode(),
        json.dumps({"user": "../../etc/passwd", "password": "12345678"}).encode(),
        json.dumps({"user": "a' OR '1'='1", "password": "12345678"}).encode(),
        json.dumps({"refresh_token": big}).encode(), json.dumps({"refresh_token": "pr_x"}).encode(),
        json.dumps({"kind": "group", "title": "x" * 5000, "members": ["u_x"] * 2000}).encode(),
        json.dumps({"kind": "wrong"}).encode(), json.dumps({"body": {"text": big}}).encode(),
        json.dumps({"invite": "pi_wrong", "user": "zoe", "password": "quiet-otter-lamp"}).encode(),
        rng.randbytes(rng.randrange(1, 500)),
    ])
    headers = {"Content-Type": rng.choice(["application/json", "text/plain", "", "application/json; x=" + "y" * 500])}
    if rng.random() < 0.6:
        headers["Authorization"] = rng.choice([f"Bearer {person.token}", "Bearer x", "Basic eDp4", "Bearer " + "z" * 6000])
    query = rng.choice(["", "?limit=100000", "?after=-1", "?x=y", "?limit=abc", "?after=99999999999999999999999"])
    return method, path + query, body, headers


def test_malformed_rest(stack, person):
    rng = random.Random(SEED + 9)

    def attack():
        with requests.Session() as session:
            for _ in range(ROUNDS // 2):
                method, path, body, headers = rest_bad(rng, person)
                answer = session.request(method, stack.rest_url + path, data=body, headers=headers,
                                         timeout=20 * SLOW)
                assert answer.status_code < 500 or answer.status_code == 503, (method, path, answer.text)
                if answer.status_code >= 400:
                    kind = answer.headers.get("Content-Type", "")
                    if kind.startswith("application/problem+json"):
                        problem = answer.json()
                        assert problem["status"] == answer.status_code and problem["code"] and problem["title"]
                    else:  # refused by the HTTP parser itself
                        assert answer.status_code in (400, 413, 414, 431), (method, path, answer.text)

    flat_memory(stack, "auth", attack)
    assert person.ok("GET", "/v1/me")["id"] == person.id


def test_raw_http_nonsense(stack):
    for data in (b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 100, b"GET " + b"/" * 20000 + b" HTTP/1.1\r\n\r\n",
                 b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                 b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
                 b"POST /v1/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n"):
        link = connect(stack.http_port)
        link.sendall(data)
        try:
            link.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        read_all(link)
        link.close()


def test_slow_and_silent_clients_are_cut(fresh_stack):
    stack = fresh_stack(PIPIT_CONNECTION_LOGIN_TIMEOUT="2s", PIPIT_AUTH_REQUEST_TIMEOUT="3s",
                        PIPIT_AUTH_IDLE_TIMEOUT="2s")
    started = time.monotonic()
    silent = [connect(stack.ws_port), connect(stack.mqtt_port), connect(stack.http_port), ws_open(stack)]
    slow = connect(stack.http_port)
    slow.sendall(b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    for link in silent:
        read_all(link)
        assert time.monotonic() - started < 10 * SLOW
    slow.setblocking(False)

    def drip():
        try:
            slow.send(b"x")
            return slow.recv(10) == b""
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            return True

    # A byte now and then must not keep the request open past its own time.
    wait_until(drip, 15, "the slow request to be cut")
