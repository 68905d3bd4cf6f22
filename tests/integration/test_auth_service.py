"""The auth service as a process: several instances, key rollover, proxies, limits, starts that fail."""

import base64
import json
import os
import re
import signal
import statistics
import subprocess
import time

import jwt
import pytest
import requests

from clients import PASSWORD, Person, login, uuid7
from stack import BUILD, ROOT, SLOW, free_port, wait_until


def post(url, body, **options):
    return requests.post(url, json=body, timeout=60 * SLOW, **options)


class SecondAuth:
    """Another auth instance on the same store. The stack must know both before it starts."""

    @staticmethod
    def prepare(stack):
        stack.settings["PIPIT_BUS_AUTH"] = f"ipc://{stack.folder}/auth,ipc://{stack.folder}/auth2"

    def __init__(self, stack):
        self.stack, self.port, self.ops_port = stack, free_port(), free_port()
        self.rest_url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        env = self.stack.environment("auth")
        env["PIPIT_AUTH_LISTEN"] = f"127.0.0.1:{self.port}"
        env["PIPIT_AUTH_OPS_LISTEN"] = f"127.0.0.1:{self.ops_port}"
        env["PIPIT_AUTH_BUS_LISTEN"] = f"ipc://{self.stack.folder}/auth2"
        log = open(self.stack.folder / "auth2.log", "ab")
        out = open(self.stack.folder / "auth2.out", "ab")
        self.process = subprocess.Popen([str(BUILD / "pipit-auth")], env=env, stdout=out, stderr=log, cwd=ROOT,
                                        start_new_session=True)
        return self

    def ready(self):
        try:
            answer = requests.get(f"http://127.0.0.1:{self.ops_port}/readyz?verbose", timeout=2)
            return answer.status_code == 200 and "[+]http ok" in answer.text
        except requests.RequestException:
            return False

    def wait_ready(self):
        wait_until(self.ready, 20, "the second auth instance")
        return self

    def kill(self, number=signal.SIGKILL):
        os.kill(self.process.pid, number)
        return self.process.wait(timeout=20 * SLOW)


@pytest.fixture
def pair(fresh_stack):
    """A stack whose two auth instances started at the same moment on an empty store."""
    stack = fresh_stack(start=False)
    SecondAuth.prepare(stack)
    second = SecondAuth(stack)
    for service in ("storage", "routing", "connection"):
        stack.start_service(service)
    stack.start_service("auth")
    second.start()
    stack.wait_ready()
    second.wait_ready()
    outputs = (stack.folder / "auth.out").read_text() + (stack.folder / "auth2.out").read_text()
    invites = re.findall(r"^Admin invite \(valid once, 7 days\): (pi_[a-z2-7]{16})$", outputs, re.M)
    assert len(invites) == 1 and len(outputs.splitlines()) == 1, outputs
    stack.admin_invite = invites[0]
    yield stack, second
    if second.process.poll() is None:
        assert second.kill(signal.SIGTERM) == 0


def me(url, token):
    return requests.get(url + "/v1/me", headers={"Authorization": f"Bearer {token}"}, timeout=20 * SLOW).status_code


# --- several instances ---------------------------------------------------------------------------


def test_two_instances_share_keys_and_revocations(pair):
    stack, second = pair
    urls = (stack.rest_url, second.rest_url)
    keys = [requests.get(url + "/.well-known/jwks.json", timeout=10).json() for url in urls]
    assert keys[0] == keys[1] and len(keys[0]["keys"]) == 1
    ann = stack.people.make("ann")
    assert [me(url, ann.token) for url in urls] == [200, 200]
    # A refresh at the other instance, and its token everywhere.
    answer = post(second.rest_url + "/v1/token", {"refresh_token": ann.refresh})
    assert answer.status_code == 200 and me(stack.rest_url, answer.json()["access_token"]) == 200
    # Logged out here, dead there.
    other = ann.another_device()
    assert requests.post(second.rest_url + "/v1/logout", timeout=20,
                         headers={"Authorization": f"Bearer {other.token}"}).status_code == 204
    assert me(second.rest_url, other.token) == 401
    wait_until(lambda: me(stack.rest_url, other.token) == 401, 2, "the other instance to refuse")
    assert [me(url, ann.token) for url in urls] == [200, 200]


def test_revocations_survive_the_death_of_instances(pair):
    stack, second = pair
    ann = stack.people.make("ann")
    gone = [ann.another_device(f"device {number}") for number in range(3)]
    second.kill()
    gone[0].ok("POST", "/v1/logout")  # the second is away and misses it
    second.start().wait_ready()
    assert me(second.rest_url, gone[0].token) == 401
    # The first one dies right after answering; whoever comes later still knows.
    gone[1].ok("POST", "/v1/logout")
    stack.kill("auth")
    wait_until(lambda: me(second.rest_url, gone[1].token) == 401, 2, "the second to refuse")
    stack.restart("auth")
    assert me(stack.rest_url, gone[1].token) == 401
    assert me(stack.rest_url, gone[2].token) == 200
    socket = gone[2].ws()
    assert requests.post(second.rest_url + "/v1/logout", timeout=20,
                         headers={"Authorization": f"Bearer {gone[2].token}"}).status_code == 204
    code, _ = socket.wait_closed(timeout=2)
    assert 4100 <= code < 4200


def test_keys_roll_over_without_a_failed_request(fresh_stack):
    stack = fresh_stack(start=False, PIPIT_AUTH_ACCESS_LIFETIME="3s", PIPIT_AUTH_KEY_MARGIN="2s",
                        PIPIT_AUTH_KEY_ROTATION="10s", PIPIT_AUTH_REFRESH_LIFETIME="10m")
    SecondAuth.prepare(stack)
    stack.start()
    second = SecondAuth(stack).start().wait_ready()
    urls = [stack.rest_url, second.rest_url]
    ann = stack.people.make("ann")
    refresh, kids, published, count = ann.refresh, [], set(), 0
    deadline = time.monotonic() + 60 * SLOW
    while len(kids) < 3:
        assert time.monotonic() < deadline, f"keys seen: {kids}"
        answer = post(urls[count % 2] + "/v1/token", {"refresh_token": refresh})
        assert answer.status_code == 200, answer.text
        token, refresh = answer.json()["access_token"], answer.json()["refresh_token"]
        kid = jwt.get_unverified_header(token)["kid"]
        if kid not in kids:
            assert not kids or kid in published, "a key signed before it was published"
            kids.append(kid)
        # Every verifier knows the key: the other instance, and connection.
        assert me(urls[(count + 1) % 2], token) == 200
        socket = Person(stack, {**answer.json(), "refresh_token": refresh}).ws()
        assert socket.auth_reply["t"] == "ok", socket.auth_reply
        socket.close()
        keys = requests.get(urls[count % 2] + "/.well-known/jwks.json", timeout=10).json()["keys"]
        published |= {key["kid"] for key in keys}
        assert kid in {key["kid"] for key in keys} and len(keys) <= 3
        count += 1

    def first_retired():
        return all(kids[0] not in requests.get(u + "/.well-known/jwks.json", timeout=10).text for u in urls)

    wait_until(first_retired, 20, "the first key to retire")
    second.kill(signal.SIGTERM)


# --- storage away --------------------------------------------------------------------------------


def test_without_storage_requests_are_refused_and_work_again_later(fresh_stack):
    stack = fresh_stack(PIPIT_BUS_TIMEOUT="1s")
    ann = stack.people.make("ann")
    stack.kill("storage")
    wait_until(lambda: not stack.ready("auth"), 5, "auth to be not ready")
    for method, path, body in (("GET", "/v1/me", None), ("GET", "/v1/users", None),
                               ("POST", "/v1/login", {"user": "ann", "password": PASSWORD}),
                               ("POST", "/v1/token", {"refresh_token": ann.refresh})):
        answer = ann.call(method, path, body)
        assert answer.status_code in (503, 504), answer.text
        assert answer.json()["retryable"] and int(answer.headers["Retry-After"]) >= 1
    assert requests.get(stack.rest_url + "/.well-known/jwks.json", timeout=5).status_code == 200
    stack.restart("storage")
    stack.wait_ready("auth")
    assert ann.ok("GET", "/v1/me")["id"] == ann.id
    # An outage takes nobody's login attempts.
    assert login(stack, "ann").id == ann.id
    stack.kill("storage")
    started = time.monotonic()
    stack.kill("auth", signal_number=signal.SIGTERM)
    assert stack.processes["auth"].returncode == 0
    assert time.monotonic() - started < 5 * SLOW


def test_sigterm_answers_what_is_under_way(fresh_stack):
    import concurrent.futures

    stack = fresh_stack(PIPIT_AUTH_HASH_THREADS=1)
    stack.people.make("ann")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(post, stack.rest_url + "/v1/login", {"user": "ann", "password": PASSWORD})
                   for _ in range(8)]
        wait_until(lambda: stack.metrics("auth")["pipit_http_requests_in_flight"] >= 8 or
                   any(f.done() for f in waiting), 5, "logins in flight")
        stack.kill("auth", signal_number=signal.SIGTERM)
        answers = [future.result() for future in waiting]
    assert {a.status_code for a in answers} <= {200, 503}
    assert sum(a.status_code == 200 for a in answers) >= 1
    assert stack.processes["auth"].returncode == 0


# --- accounts ------------------------------------------------------------------------------------


def test_a_demoted_administrator_has_lost_the_power_at_once(stack):
    boss = stack.people.make("boss")
    admin = stack.people.admin
    admin.ok("PATCH", f"/v1/admin/users/{boss.id}", {"admin": True})
    assert boss.call("GET", "/v1/admin/stats").status_code == 403  # the token says "user" still
    boss.take(post(stack.rest_url + "/v1/token", {"refresh_token": boss.refresh}).json())
    assert boss.call("GET", "/v1/admin/stats").status_code == 200
    admin.ok("PATCH", f"/v1/admin/users/{boss.id}", {"admin": False})
    assert boss.call("GET", "/v1/admin/stats").status_code == 403


def test_login_again_within_the_second_of_a_logout(stack):
    """Token times are whole seconds; a new login must not be taken for the one that ended."""
    ann = stack.people.make("hasty")
    device = {"id": "d_hasty", "name": "one and the same", "platform": "test"}
    for _ in range(5):
        answer = post(stack.rest_url + "/v1/login", {"user": "hasty", "password": PASSWORD, "device": device})
        token = answer.json()["access_token"]
        assert me(stack.rest_url, token) == 200
        socket = Person(stack, answer.json()).ws()
        assert socket.auth_reply["t"] == "ok"
        assert requests.post(stack.rest_url + "/v1/logout", timeout=20,
                             headers={"Authorization": f"Bearer {token}"}).status_code == 204
        assert me(stack.rest_url, token) == 401
        socket.wait_closed(timeout=2)
    assert me(stack.rest_url, ann.token) == 200


def test_devices_are_limited_and_a_known_one_takes_its_own_place(fresh_stack):
    stack = fresh_stack(PIPIT_AUTH_DEVICES_MAX=2)
    ann = stack.people.make("ann")
    second = ann.another_device()
    body = {"user": "ann", "password": PASSWORD}
    assert post(stack.rest_url + "/v1/login", body).status_code == 409
    again = post(stack.rest_url + "/v1/login", {**body, "device": {"id": second.device}})
    assert again.status_code == 200 and again.json()["device"]["id"] == second.device
    # The family of the former login of that device has ended.
    assert post(stack.rest_url + "/v1/token", {"refresh_token": second.refresh}).status_code == 401
    ann.ok("DELETE", f"/v1/me/devices/{second.device}")
    assert post(stack.rest_url + "/v1/login", body).status_code == 200


def test_open_registration_and_invites_by_members(fresh_stack):
    stack = fresh_stack(PIPIT_AUTH_OPEN_REGISTRATION="yes", PIPIT_AUTH_MEMBERS_MAY_INVITE="yes")
    assert requests.get(stack.rest_url + "/.well-known/pipit", timeout=10).json()["registration"] == "open"
    answer = post(stack.rest_url + "/v1/register", {"user": "walk-in", "password": PASSWORD})
    assert answer.status_code == 201 and answer.json()["user"]["admin"] is False
    ann = Person(stack, answer.json())
    invite = ann.ok("POST", "/v1/invites", {"note": "a friend"})
    assert invite["uses_left"] == 1 and invite["admin"] is False
    assert ann.call("POST", "/v1/invites", {"admin": True}).status_code == 422
    assert ann.call("POST", "/v1/admin/invites", {}).status_code == 403
    assert stack.people.register("friend", invite["invite"]).id == "u_friend"


def test_unknown_and_known_users_take_the_same_time(fresh_stack):
    stack = fresh_stack(PIPIT_AUTH_LOGIN_FAILURES_PER_MINUTE=100000,
                        PIPIT_AUTH_LOGIN_FAILURES_PER_ADDRESS_PER_MINUTE=100000)
    stack.people.make("ann")
    times, answers = {"ann": [], "nobody-here": []}, set()
    with requests.Session() as session:
        for _ in range(60):
            for name, taken in times.items():
                started = time.monotonic()
                answer = session.post(stack.rest_url + "/v1/login", timeout=60,
                                      json={"user": name, "password": "wrong-password"})
                taken.append(time.monotonic() - started)
                answers.add((answer.status_code, answer.json()["code"], answer.json()["detail"]))
    assert len(answers) == 1
    known, unknown = (statistics.median(taken) for taken in times.values())
    assert abs(known - unknown) < 0.15 * known, (known, unknown)


# --- proxies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("trusted", ["", "127.0.0.0/8"])
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(fresh_stack, trusted):
    stack = fresh_stack(PIPIT_AUTH_TRUSTED_PROXIES=trusted, PIPIT_AUTH_LOGIN_FAILURES_PER_MINUTE=3)
    stack.people.make("ann")
    codes = []
    for number in range(6):
        headers = {"X-Forwarded-For": f"6.6.6.6, 203.0.113.{number}"}
        answer = post(stack.rest_url + "/v1/login", {"user": "ann", "password": "wrong-password"}, headers=headers)
        codes.append(answer.status_code)
    entries = stack.people.admin.ok("GET", "/v1/admin/audit?limit=100")["items"]
    seen = {e["address"] for e in entries if e["action"] == "login_failed"}
    if trusted:
        assert codes == [401] * 6 and seen == {f"203.0.113.{n}" for n in range(6)}
    else:
        assert codes == [401] * 3 + [429] * 3 and seen == {"127.0.0.1"}


def test_rate_limit_fields(fresh_stack):
    stack = fresh_stack(PIPIT_AUTH_LOGIN_FAILURES_PER_MINUTE=2)
    stack.people.make("ann")
    for _ in range(2):
        post(stack.rest_url + "/v1/login", {"user": "ann", "password": "wrong-password"})
    answer = post(stack.rest_url + "/v1/login", {"user": "ann", "password": PASSWORD})
    assert answer.status_code == 429
    assert answer.headers["RateLimit-Policy"] == '"login";q=2;w=60'
    wait = int(answer.headers["Retry-After"])
    assert answer.headers["RateLimit"] == f'"login";r=0;t={wait}' and 1 <= wait <= 30
    assert post(stack.rest_url + "/v1/login", {"user": "root", "password": PASSWORD}).status_code == 200


# --- starts --------------------------------------------------------------------------------------


def run_auth(tmp_path, **settings):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PIPIT_")}
    env |= {"PIPIT_AUTH_LISTEN": f"127.0.0.1:{free_port()}", "PIPIT_AUTH_OPS_LISTEN": f"127.0.0.1:{free_port()}",
            "PIPIT_AUTH_BUS_LISTEN": f"ipc://{tmp_path}/auth", "PIPIT_BUS_AUTH": f"ipc://{tmp_path}/auth",
            "PIPIT_BUS_STORAGE": f"ipc://{tmp_path}/storage", "PIPIT_BUS_ROUTING": f"ipc://{tmp_path}/routing"}
    env |= settings
    return subprocess.run([str(BUILD / "pipit-auth")], env=env, capture_output=True, text=True, cwd=ROOT,
                          timeout=20 * SLOW, check=False)


@pytest.mark.parametrize("setting,value,words", [
    ("PIPIT_AUTH_COMMON_PASSWORDS_FILE", "/nonexistent/list", ["common_passwords_file", "john-data"]),
    ("PIPIT_AUTH_TRUSTED_PROXIES", "10.0.0.0/99", ["trusted_proxies", "10.0.0.0/99"]),
    ("PIPIT_AUTH_KEY_ROTATION", "10s", ["key_rotation", "access_lifetime"]),
    ("PIPIT_AUTH_ISSUER", "", ["issuer"]),
    ("PIPIT_AUTH_LISTEN", "not an address", ["listen"]),
    ("PIPIT_AUTH_BUS_LISTEN", "http://x", ["bus_listen"]),
])
def test_bad_settings_stop_the_start_with_one_line(tmp_path, setting, value, words):
    done = run_auth(tmp_path, **{setting: value})
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert all(word in line for word in words), line


def test_without_the_list_of_common_passwords(fresh_stack):
    stack = fresh_stack(PIPIT_AUTH_COMMON_PASSWORDS_FILE="")
    invite = stack.people.make("ann") and stack.people.admin.ok("POST", "/v1/admin/invites", {})["invite"]
    body = {"invite": invite, "user": "bob", "password": "password1"}
    assert post(stack.rest_url + "/v1/register", body).status_code == 201


def test_nothing_secret_is_written(fresh_stack):
    stack = fresh_stack(PIPIT_AUTH_LOG_LEVEL="debug")
    ann, bob = stack.people.make("ann", "bob")
    conversation = ann.direct(bob)
    ann.send(conversation, "a-secret-message")
    answer = post(stack.rest_url + "/v1/token", {"refresh_token": ann.refresh}).json()
    post(stack.rest_url + "/v1/login", {"user": "ann", "password": "a-wrong-password"})
    post(stack.rest_url + "/v1/token", {"refresh_token": "pr_" + "B" * 43})
    invite = stack.people.admin.ok("POST", "/v1/admin/invites", {})["invite"]
    reset = stack.people.admin.ok("POST", f"/v1/admin/users/{bob.id}/password")["password"]
    secrets = [PASSWORD, "a-wrong-password", "a-secret-message", ann.token, ann.refresh, answer["access_token"],
               answer["refresh_token"], "pr_" + "B" * 43, invite, reset, stack.admin_invite]
    for service in ("auth", "storage", "routing", "connection"):
        text = stack.log_path(service).read_text()
        assert not [s for s in secrets if s in text], service
    # At rest as well: no token, password or invite can be read from the database.
    data = b"".join(p.read_bytes() for p in stack.store_dir.rglob("*") if p.is_file())
    assert not [s for s in secrets if s.encode() in data and s != "a-secret-message"]


def test_tokens_carry_what_the_design_says(stack):
    ann = stack.people.make("claims")
    header, claims, signature = ann.token.split(".")
    head = json.loads(base64.urlsafe_b64decode(header + "=="))
    body = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert head["alg"] == "ES256" and head["typ"] == "at+jwt" and head["kid"].startswith("k_")
    assert set(body) == {"iss", "aud", "sub", "did", "jti", "iat", "exp", "scope"}
    assert body["sub"] == ann.id and body["did"] == ann.device and body["exp"] - body["iat"] == 900
    assert len(base64.urlsafe_b64decode(signature + "==")) == 64
    key = requests.get(stack.rest_url + "/.well-known/jwks.json", timeout=10).json()["keys"][0]
    public = jwt.PyJWK(key).key
    assert jwt.decode(ann.token, public, algorithms=["ES256"], audience="pipit", issuer="pipit")["sub"] == ann.id


def test_message_sent_while_routing_restarts_is_stored_once(stack):
    ann, bob = stack.people.make("sender", "reader")
    conversation, message = ann.direct(bob), uuid7()
    stack.kill("routing")
    path, body = f"/v1/conversations/{conversation}/messages/{message}", {"body": {"text": "once"}}
    answer = ann.call("PUT", path, body)
    assert answer.status_code in (503, 504) and answer.json()["retryable"]
    stack.restart("routing")
    wait_until(lambda: ann.call("PUT", path, body).status_code in (200, 201), 10, "the send")
    assert ann.call("PUT", path, body).status_code == 200
    assert [m["message"] for m in bob.history(conversation)] == [message]
