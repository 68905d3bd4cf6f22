"""Several auth instances: one limit, one set of keys, one truth about tokens, one first invite."""

import concurrent.futures
import os
import re
import signal
import threading
import time

import jwt
import pytest
import requests

from clients import PASSWORD, Person, login
from ports import SLOW, wait_until

WRONG = "wrong-password"
SOON = 6  # seconds; revocations act within 2, the rest is for a busy machine


def post(url, path, body, **options):
    return requests.post(url + path, json=body, timeout=60 * SLOW, **options)


def me(url, token):
    return requests.get(url + "/v1/me", headers={"Authorization": f"Bearer {token}"}, timeout=20 * SLOW).status_code


def rest_urls(stack):
    return [f"http://127.0.0.1:{stack.instances[name].http_port}" for name in stack.names("auth")]


def kids(url):
    return {key["kid"] for key in requests.get(url + "/.well-known/jwks.json", timeout=20 * SLOW).json()["keys"]}


# --- limits --------------------------------------------------------------------------------------


class Guesser:
    """Failed logins from one address (by a trusted proxy's header) at chosen instances."""

    def __init__(self, stack, address):
        self.stack, self.headers = stack, {"X-Forwarded-For": address}
        self.names, self.urls = stack.names("auth"), rest_urls(stack)

    def guess(self, number, user, password=WRONG):
        return post(self.urls[number], "/v1/login", {"user": user, "password": password}, headers=self.headers)

    def heard(self, name):
        return self.stack.metrics(name)['pipit_ratelimit_counts_total{direction="heard"}']

    def guess_and_tell(self, number, user):
        """One guess; when it failed, waits until every other instance counted it: two buckets."""
        others = [name for i, name in enumerate(self.names) if i != number]
        before = {name: self.heard(name) for name in others}
        status = self.guess(number, user).status_code
        if status == 401:
            for name in others:
                wait_until(lambda name=name: self.heard(name) >= before[name] + 2, 10, f"{name} to hear of it")
        return status

    def connect(self):
        """What is told before the streams stand is lost by design: guesses until all hear of all."""
        for number in range(len(self.urls)):
            others = [name for i, name in enumerate(self.names) if i != number]
            before = {name: self.heard(name) for name in others}

            def told(number=number, others=others, before=before):
                self.guess(number, f"stranger-{number}")
                return all(self.heard(name) > before[name] for name in others)

            wait_until(told, 20, f"the others to hear {self.names[number]}")


@pytest.fixture
def guarded(fresh_stack):
    def make(count, **settings):
        limits = {"PIPIT_AUTH_TRUSTED_PROXIES": "127.0.0.0/8", "PIPIT_AUTH_LOGIN_FAILURES_PER_MINUTE": 4, **settings}
        stack = fresh_stack(counts={"auth": count}, **limits)
        stack.people.make("ann")
        Guesser(stack, "203.0.113.250").connect()
        return stack

    return make


def test_failed_logins_count_together(guarded):
    stack = guarded(3)
    guesser = Guesser(stack, "203.0.113.1")
    started = time.monotonic()
    statuses = [guesser.guess_and_tell(number % 3, "ann") for number in range(12)]
    refilled = int((time.monotonic() - started) / 15) + 1  # four a minute
    assert statuses[:4] == [401] * 4 and statuses.count(401) <= 4 + refilled, statuses
    assert set(statuses) == {401, 429}
    # The right password is refused as well, at each of them, with an honest time.
    for number in range(3):
        answer = guesser.guess(number, "ann", PASSWORD)
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["Retry-After"]) <= 60 and '"login"' in answer.headers["RateLimit"]
    assert 429 in [guesser.guess(number, "ann", PASSWORD).status_code for number in range(3)]
    # Another address is not concerned, whichever instance it asks.
    other = Guesser(stack, "203.0.113.2")
    assert [other.guess(number, "ann", PASSWORD).status_code for number in range(3)] == [200] * 3


def test_guesses_at_one_address_count_together_for_all_users(guarded):
    stack = guarded(2, PIPIT_AUTH_LOGIN_FAILURES_PER_ADDRESS_PER_MINUTE=6, PIPIT_AUTH_LOGIN_FAILURES_PER_MINUTE=100)
    guesser = Guesser(stack, "203.0.113.1")
    statuses = [guesser.guess_and_tell(number % 2, f"user-{number}") for number in range(9)]
    assert statuses[:6] == [401] * 6 and 429 in statuses[6:], statuses
    assert [guesser.guess(number, f"user-{number + 50}").status_code for number in range(2)].count(429) >= 1


def test_successes_do_not_count_anywhere(guarded):
    stack = guarded(2)
    guesser = Guesser(stack, "203.0.113.1")
    statuses = {guesser.guess(number % 2, "ann", PASSWORD).status_code for number in range(16)}
    assert statuses == {200}
    assert [guesser.guess_and_tell(number % 2, "ann") for number in range(4)] == [401] * 4


def test_many_at_once_gain_only_the_first_moment(guarded):
    """In parallel at all instances each may allow its own quota once; it is paid back afterwards."""
    stack = guarded(3)
    guesser = Guesser(stack, "203.0.113.1")
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        statuses = list(pool.map(lambda number: guesser.guess(number % 3, "ann").status_code, range(48)))
    refilled = 3 * (int((time.monotonic() - started) / 15) + 1)
    failed = statuses.count(401)
    assert 4 <= failed <= 3 * 4 + refilled and set(statuses) <= {401, 429, 503}, statuses
    # Twice the quota and more was used: nobody gets an attempt before the debt is paid.
    if failed >= 8:
        def waits():
            answers = [guesser.guess(number, "ann") for number in range(3)]
            return all(a.status_code == 429 and int(a.headers["Retry-After"]) > 15 for a in answers)

        wait_until(waits, 10, "all instances to know of the debt")


def test_an_instance_alone_keeps_its_limit(guarded):
    stack = guarded(2)
    guesser = Guesser(stack, "203.0.113.1")
    assert [guesser.guess_and_tell(number % 2, "ann") for number in range(2)] == [401] * 2
    stack.kill("auth-1")
    statuses = [guesser.guess(1, "ann").status_code for _ in range(8)]
    assert statuses[:2] == [401] * 2 and 429 in statuses[2:], statuses


def test_nothing_but_hashes_is_told(guarded):
    stack = guarded(2, PIPIT_AUTH_LOG_LEVEL="debug")
    guesser = Guesser(stack, "203.0.113.77")
    stream = requests.Session()  # what an outsider reads: operations port and log
    guesser.guess_and_tell(0, "secretive-name")
    text = stream.get(f"http://127.0.0.1:{stack.ops_ports['auth-2']}/metrics", timeout=10).text
    text += stack.log_path("auth-2").read_text()
    assert "secretive-name" not in text and "203.0.113.77" not in text


# --- keys ----------------------------------------------------------------------------------------


class Roller(threading.Thread):
    """Refreshes at one instance, uses the token at all others and at every connection, at once."""

    def __init__(self, stack, person, offset):
        super().__init__(daemon=True)
        self.stack, self.person, self.count = stack, person, offset
        self.urls = rest_urls(stack)
        self.kids, self.problems, self.rounds = [], [], 0
        self.ending = threading.Event()

    def round(self):
        self.count += 1
        url = self.urls[self.count % len(self.urls)]
        published = kids(url)
        answer = post(url, "/v1/token", {"refresh_token": self.person.refresh})
        assert answer.status_code == 200, answer.text
        self.person.take(answer.json())
        kid = jwt.get_unverified_header(self.person.token)["kid"]
        assert kid in published, "signed by a key that was not published before"
        if kid not in self.kids:
            self.kids.append(kid)
        for other in self.urls:
            assert me(other, self.person.token) == 200, "an instance does not know the key"
        for number in range(len(self.stack.names("connection"))):
            socket = Person(self.stack.door(number + 1), answer.json()).ws()
            assert socket.auth_reply["t"] == "ok", socket.auth_reply
            socket.close()
        self.rounds += 1

    def run(self):
        try:
            while not self.ending.is_set():
                self.round()
        except Exception as problem:  # told by the test
            self.problems.append(repr(problem))


def test_keys_roll_over_under_load(fresh_stack):
    stack = fresh_stack(counts={"auth": 2, "connection": 2}, PIPIT_AUTH_ACCESS_LIFETIME="3s",
                        PIPIT_AUTH_KEY_MARGIN="3s", PIPIT_AUTH_KEY_ROTATION="12s", PIPIT_AUTH_REFRESH_LIFETIME="10m")
    assert kids(rest_urls(stack)[0]) == kids(rest_urls(stack)[1])
    people = stack.people.make("ann", "bob", "carl", "dora")
    rollers = [Roller(stack, person, number) for number, person in enumerate(people)]
    for roller in rollers:
        roller.start()

    def rolled():
        problems = [problem for roller in rollers for problem in roller.problems]
        assert not problems, problems
        return all(len(roller.kids) >= 3 for roller in rollers)

    wait_until(rolled, 120, "two rollovers")
    for roller in rollers:
        roller.ending.set()
    for roller in rollers:
        roller.join(60 * SLOW)
        assert not roller.problems and not roller.is_alive(), roller.problems
    assert len({tuple(roller.kids[:3]) for roller in rollers}) == 1, "everybody saw the same keys"


def test_an_instance_that_slept_through_a_rollover(fresh_stack):
    """It must neither call tokens of the new key forged nor sign with a key whose time is over."""
    stack = fresh_stack(counts={"auth": 2}, PIPIT_AUTH_ACCESS_LIFETIME="5s", PIPIT_AUTH_KEY_MARGIN="1s",
                        PIPIT_AUTH_KEY_ROTATION="12s", PIPIT_AUTH_REFRESH_LIFETIME="10m", PIPIT_BUS_TIMEOUT="60s")
    awake, asleep = rest_urls(stack)
    ann = stack.people.make("ann")
    known = kids(asleep)
    stack.kill("auth-2", signal_number=signal.SIGSTOP)

    def rolled():
        ann.take(post(awake, "/v1/token", {"refresh_token": ann.refresh}).json())
        return jwt.get_unverified_header(ann.token)["kid"] not in known

    wait_until(rolled, 60, "a key that the other one has never seen")
    stack.kill("storage", signal_number=signal.SIGSTOP)  # so that it cannot look before we ask
    stack.kill("auth-2", signal_number=signal.SIGCONT)
    assert me(asleep, ann.token) == 503
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(post, asleep, "/v1/token", {"refresh_token": ann.refresh})
        stack.kill("storage", signal_number=signal.SIGCONT)
        answer = refreshing.result()
    assert answer.status_code in (200, 503)
    if answer.status_code == 200:
        assert jwt.get_unverified_header(answer.json()["access_token"])["kid"] not in known
    wait_until(lambda: rolled() and me(asleep, ann.token) == 200, 20, "the instance to catch up")


# --- revocations ---------------------------------------------------------------------------------


def test_revocations_act_everywhere(fresh_stack):
    stack = fresh_stack(counts={"auth": 2, "connection": 2})
    ann = stack.people.make("ann")
    urls, doors = rest_urls(stack), [stack.door(1), stack.door(2)]

    def refused_everywhere(token):
        return all(me(url, token) == 401 for url in urls)

    for through in urls:
        gone = ann.another_device()
        sockets = [Person(door, {"access_token": gone.token, "refresh_token": "", "user": {"id": gone.id,
                          "name": gone.name}, "device": {"id": gone.device}}).ws() for door in doors]
        assert all(socket.auth_reply["t"] == "ok" for socket in sockets)
        assert requests.post(through + "/v1/logout", headers={"Authorization": f"Bearer {gone.token}"},
                             timeout=20 * SLOW).status_code == 204
        wait_until(lambda token=gone.token: refused_everywhere(token), SOON, "both instances to refuse the token")
        for socket in sockets:
            code, _ = socket.wait_closed(timeout=SOON)
            assert 4100 <= code < 4200
        assert [me(url, ann.token) for url in urls] == [200, 200]
    # Disabled through the second, and nobody lets him in.
    bob = stack.people.make("bob")
    sockets = [Person(door, {"access_token": bob.token, "refresh_token": "", "user": {"id": bob.id, "name": "bob"},
                             "device": {"id": bob.device}}).ws() for door in doors]
    answer = requests.patch(f"{urls[1]}/v1/admin/users/{bob.id}", json={"disabled": True}, timeout=20 * SLOW,
                            headers={"Authorization": f"Bearer {stack.people.admin.token}"})
    assert answer.status_code == 200, answer.text
    wait_until(lambda: not any(me(url, bob.token) == 200 for url in urls), SOON, "the disabled user to be refused")
    for socket in sockets:
        socket.wait_closed(timeout=SOON)
    assert post(urls[0], "/v1/login", {"user": "bob", "password": PASSWORD}).status_code == 403


def test_an_instance_that_comes_later_knows_all_revocations(fresh_stack):
    stack = fresh_stack(counts={"auth": 2})
    ann = stack.people.make("ann")
    gone = [ann.another_device(f"device {number}") for number in range(5)]
    stack.kill("auth-2", signal_number=signal.SIGSTOP)
    for device in gone:
        device.ok("POST", "/v1/logout")
    name = stack.add_instance("auth")
    third = f"http://127.0.0.1:{stack.instances[name].http_port}"
    assert [me(third, device.token) for device in gone] == [401] * 5
    stack.kill("auth-2", signal_number=signal.SIGCONT)
    second = rest_urls(stack)[1]
    wait_until(lambda: all(me(second, device.token) == 401 for device in gone), 10, "the sleeper to know")
    assert me(second, ann.token) == me(third, ann.token) == 200
    stack.remove_instance(name)
    assert me(second, ann.token) == 200


# --- refresh tokens ------------------------------------------------------------------------------


def refresh(url, token):
    answer = post(url, "/v1/token", {"refresh_token": token})
    return answer.status_code, answer.json()


# With MongoDB nothing but the store itself stands between two storage instances. FerretDB's updates are not atomic:
# behind it one storage process at a time may change a document (decision 0007).
STORES = [("sqlite", 1), ("mongodb", 2 if os.environ.get("PIPIT_TEST_MONGODB_URI") else 1)]


@pytest.fixture(params=STORES, ids=[store for store, _ in STORES])
def two(fresh_stack, request):
    store, storages = request.param
    return fresh_stack(counts={"auth": 2, "storage": storages}, store=store)


def test_one_refresh_token_at_both_instances_at_once(two):
    urls = rest_urls(two)
    ann = two.people.make("ann")
    token = ann.refresh
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            answers = list(pool.map(lambda number: refresh(urls[number % 2], token), range(4)))
            assert [status for status, _ in answers] == [200] * 4, answers
            # Each answer is good: which of them the client kept nobody knows.
            assert all(me(url, body["access_token"]) == 200 for url in urls for _, body in answers)
            assert len({body["refresh_token"] for _, body in answers}) == 4
            former, token = token, answers[3][1]["refresh_token"]
    status, body = refresh(urls[0], token)
    assert status == 200
    # The former one was replaced and its successor used: whoever holds it is not the client.
    assert refresh(urls[1], former)[0] == 401
    assert refresh(urls[0], body["refresh_token"])[0] == 401
    for url in urls:
        wait_until(lambda url=url: me(url, body["access_token"]) == 401, SOON, "the family to end everywhere")
    assert login(two, "ann").id == ann.id


def test_a_lost_answer_is_asked_for_again_at_the_other_instance(two):
    urls = rest_urls(two)
    ann = two.people.make("ann")
    token = ann.refresh
    for number in range(6):
        lost = refresh(urls[number % 2], token)
        status, body = refresh(urls[(number + 1) % 2], token)
        assert lost[0] == status == 200
        assert [me(url, body["access_token"]) for url in urls] == [200, 200]
        token = body["refresh_token"]
    # An instance that dies with the answer on its lips.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        dying = pool.submit(refresh, urls[1], token)
        two.kill("auth-2")
        try:
            dying.result()
        except requests.RequestException:
            pass
    status, body = refresh(urls[0], token)
    assert status == 200 and me(urls[0], body["access_token"]) == 200


# --- the first start -----------------------------------------------------------------------------


@pytest.mark.parametrize("storage_first", [True, False])
@pytest.mark.parametrize("store,storages", STORES)
def test_exactly_one_first_invite(fresh_stack, store, storages, storage_first):
    stack = fresh_stack(start=False, counts={"auth": 4, "storage": storages}, store=store)
    if stack.mongodb:
        stack.mongodb.start()
    names = stack.names("auth")
    order = [*stack.names("storage"), *names] if storage_first else [*names, *stack.names("storage")]
    for name in [*order, *stack.names("routing"), *stack.names("connection")]:
        stack.start_service(name)
    stack.wait_ready()
    printed = "".join((stack.folder / f"{name}.out").read_text() for name in names)
    invites = re.findall(r"^Admin invite \(valid once, 7 days\): (pi_[a-z2-7]{16})$", printed, re.M)
    assert len(invites) == 1 and len(printed.splitlines()) == 1, printed
    assert len({frozenset(kids(url)) for url in rest_urls(stack)}) == 1 and len(kids(rest_urls(stack)[0])) == 1
    # It works once, at any instance, and makes an administrator.
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(
            lambda n: post(rest_urls(stack)[n], "/v1/register", {"invite": invites[0], "user": f"boss-{n}",
                                                                 "password": PASSWORD}), range(4)))
    assert sorted(a.status_code for a in answers) == [201, 403, 403, 403], [a.text for a in answers]
    assert [a.json()["user"]["admin"] for a in answers if a.status_code == 201] == [True]
    # A later start prints nothing more.
    stack.kill("auth-3", signal_number=signal.SIGTERM)
    stack.restart("auth-3")
    assert "".join((stack.folder / f"{name}.out").read_text() for name in names) == printed
