"""Forged, foreign and stale access tokens are refused by REST, WebSocket and MQTT alike."""

import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from clients import Ws


def b64(data):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forgeries(stack, token):
    head, claims, signature = token.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    body = json.loads(base64.urlsafe_b64decode(claims + "=="))
    jwk = requests.get(stack.rest_url + "/.well-known/jwks.json", timeout=10).json()["keys"][0]
    public = ECAlgorithm.from_jwk(json.dumps(jwk))
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    own = ec.generate_private_key(ec.SECP256R1())
    now = int(time.time())

    def hs256(key, extra=None):
        first = b64({**header, "alg": "HS256", **(extra or {})})
        mac = hmac.new(key, f"{first}.{claims}".encode(), hashlib.sha256).digest()
        return f"{first}.{claims}.{b64(mac)}"

    def mine(changed=None, headers=None):
        return jwt.encode({**body, **(changed or {})}, own, algorithm="ES256",
                          headers={**header, **(headers or {})})

    yield "alg none", f"{b64({**header, 'alg': 'none'})}.{claims}."
    yield "alg None with a signature", f"{b64({**header, 'alg': 'None'})}.{claims}.{signature}"
    yield "HS256 with the public PEM", hs256(pem)
    yield "HS256 with the public DER", hs256(public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    yield "HS256 with nothing", hs256(b"")
    yield "own key, their kid", mine()
    yield "own key in jwk", mine(headers={"jwk": json.loads(ECAlgorithm.to_jwk(own.public_key()))})
    yield "own key by jku", mine(headers={"jku": "http://127.0.0.1:1/jwks.json"})
    yield "kid traversal", mine(headers={"kid": "../../../../dev/null"})
    yield "kid injection", mine(headers={"kid": "' OR 1=1 --"})
    yield "no kid", mine(headers={"kid": ""})
    yield "admin scope added", f"{head}.{b64({**body, 'scope': 'admin'})}.{signature}"
    yield "other user", f"{head}.{b64({**body, 'sub': 'u_root'})}.{signature}"
    yield "later expiry", f"{head}.{b64({**body, 'exp': now + 10 ** 6})}.{signature}"
    yield "zero signature", f"{head}.{claims}.{b64(bytes(64))}"
    yield "short signature", f"{head}.{claims}.{signature[:20]}"
    yield "no signature", f"{head}.{claims}."
    yield "two parts", f"{head}.{claims}"
    yield "four parts", f"{token}.{signature}"
    yield "trailing padding", token + "="
    yield "white space", token.replace(".", " .", 1)
    yield "empty", ""
    yield "not base64", "!!!.???.###"
    yield "huge", "A" * 5000
    yield "huge header", f"{b64({**header, 'x': 'y' * 6000})}.{claims}.{signature}"


def test_forged_tokens_are_refused_everywhere(stack):
    ann = stack.people.make("ann")
    count = 0
    for name, token in forgeries(stack, ann.token):
        answer = requests.get(stack.rest_url + "/v1/me",
                              headers={"Authorization": f"Bearer {token}"}, timeout=10)
        if answer.status_code != 431:  # the HTTP parser's own refusal of a huge header
            assert answer.status_code == 401, f"REST accepted: {name}"
            assert answer.headers["Content-Type"].startswith("application/problem+json")
        socket = Ws(stack)
        socket.post("auth", {"token": token})
        code, _ = socket.wait_closed(timeout=5)
        assert code in (1002, 1007, 1009, 4201, 4100, 4101), f"WebSocket closed with {code} on: {name}"
        client = ann.mqtt(password=token, subscribe=())
        assert int(client.code.value) >= 0x80, f"MQTT accepted: {name}"
        client.client.loop_stop()
        count += 1
    assert count >= 24
    assert ann.ok("GET", "/v1/me")["id"] == ann.id


def test_expired_token_closes_open_sockets_and_is_refused(fresh_stack):
    stack = fresh_stack(PIPIT_AUTH_ACCESS_LIFETIME="7s")
    ann = stack.people.make("ann")
    ann.take({**requests.post(stack.rest_url + "/v1/token", json={"refresh_token": ann.refresh},
                              timeout=10).json(), "user": {"id": ann.id, "name": ann.name},
              "device": {"id": ann.device}})
    born = time.monotonic()
    ws, mqtt = ann.ws(), ann.mqtt()
    code, _ = ws.wait_closed(timeout=20)
    assert code == 4100
    mqtt.disconnected.get(timeout=20)
    mqtt.client.loop_stop()
    assert 5 < time.monotonic() - born < 16


@pytest.mark.parametrize("where", ["query", "cookie"])
def test_tokens_are_read_from_nowhere_else(stack, where):
    ann = stack.people.make(f"place{where}")
    options = {"query": {"params": {"access_token": ann.token}},
               "cookie": {"cookies": {"access_token": ann.token}}}[where]
    answer = requests.get(stack.rest_url + "/v1/me", timeout=10, **options)
    assert answer.status_code in (401, 422)
