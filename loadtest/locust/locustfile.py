"""Locust users for Pipit: logging in, direct chat, group chat. How to run them: README.md here.

A DirectChat user is two people who write to each other in turn, a GroupChat user one member of a
group; so a user needs no other one to be there, and any number of workers may run them. Sending is
a closed loop: the next message goes out after the last one was acknowledged.
"""

import random
import time

import gevent
import gevent.lock
import requests
from locust import HttpUser, events, task
from locust.exception import StopUser
from locust.runners import WorkerRunner
from websocket import WebSocketException

from people import Accounts, Person, Refused, call

STOP_S = 40  # at most, for the last message to be acknowledged and for the checks


@events.init_command_line_parser.add_listener
def add_options(parser):
    parser.add_argument("--invite", env_var="LOCUST_INVITE", default="", is_secret=True,
                        help="the administrator's first invite, or one with enough uses; without it "
                             "the accounts have to be there from an earlier run")
    parser.add_argument("--ws", env_var="LOCUST_WS", default="",
                        help="WebSocket address; empty: the one that the server tells")
    parser.add_argument("--password", env_var="LOCUST_PASSWORD", default="quiet-otter-lamp", is_secret=True,
                        help="of all accounts")
    parser.add_argument("--group-size", type=int, default=10, help="people in a group")
    parser.add_argument("--pause", type=float, default=1.0, help="mean seconds between two actions of a user")
    parser.add_argument("--message-bytes", type=int, default=100, help="length of a text, at least 40")


class Setup:
    """What the users of one process share during one run."""

    accounts = None
    ws = None
    group = None  # (conversation, its owner, places left)
    joining = gevent.lock.BoundedSemaphore()


@events.init.add_listener
def wait_for_checks(environment, **_):
    environment.stop_timeout = environment.stop_timeout or STOP_S


@events.test_start.add_listener
def prepare(environment, **_):
    options = environment.parsed_options
    worker = environment.runner.worker_index if isinstance(environment.runner, WorkerRunner) else 0
    Setup.accounts = Accounts(environment.host, options.invite, options.password, f"locust{worker}")
    Setup.ws = options.ws
    Setup.group = None


def code_of(answer):
    """Pipit's word for an error, so that Locust counts equal ones together."""
    try:
        return answer.json()["code"]
    except (ValueError, KeyError):
        return answer.error or "without a code"


@events.quitting.add_listener
def check_before_exit(environment, **_):
    """After Ctrl-C the exit status would be decided before the last checks have been made."""
    if not isinstance(environment.runner, WorkerRunner):
        environment.runner.stop()


class PipitUser(HttpUser):
    abstract = True
    label = ""  # begins the names of what its WebSockets report

    def wait_time(self):
        return self.options.pause * random.uniform(0.5, 1.5)

    def on_start(self):
        self.options = self.environment.parsed_options
        self.people = []
        try:
            self.prepare()
        except (Refused, requests.RequestException, WebSocketException, OSError) as error:
            self.report("start", 0, 0, str(error))
            raise StopUser() from None

    def on_stop(self):
        for person in self.people:
            person.finish_sending()
        gevent.joinall([gevent.spawn(self.see_off, person) for person in self.people])

    def see_off(self, person):
        try:
            person.check_arrivals()
        except (Refused, requests.RequestException) as error:
            self.report("everything arrived", 0, 0, str(error))
        person.close()

    def report(self, name, milliseconds, size, error):
        self.environment.events.request.fire(
            request_type="WS", name=f"{self.label}: {name}", response_time=milliseconds, response_length=size,
            exception=AssertionError(error) if error else None, context=self.context())

    def log_in(self, name, device=None):
        """Counted by Locust like any HTTP request; returns the session, or None when it was refused."""
        body = {"user": name, "password": self.options.password,
                "device": {"name": "Locust", "platform": "load", **({"id": device} if device else {})}}
        with self.client.post("/v1/login", json=body, catch_response=True) as answer:
            if answer.status_code == 200:
                return answer.json()
            answer.failure(f"{answer.status_code} {code_of(answer)}")
        if answer.status_code in (429, 503):
            time.sleep(float(answer.headers.get("Retry-After", "1")))
        return None

    def new_person(self):
        """Somebody with an account who is logged in over REST and not yet connected."""
        name = Setup.accounts.claim()
        while (session := self.log_in(name)) is None:
            self.wait()
        if not Setup.ws:
            Setup.ws = call("GET", self.host + "/.well-known/pipit")["ws"]
        person = Person(self.host, Setup.ws, session, self.report)
        self.people.append(person)
        return person


class Login(PipitUser):
    """Logs in again and again, each time as the same device."""

    label = "login"

    def prepare(self):
        self.name, self.device = Setup.accounts.claim(), None

    @task
    def login(self):
        session = self.log_in(self.name, self.device)
        if session:
            self.device = session["device"]["id"]


class DirectChat(PipitUser):
    """Two people who write to each other in turn."""

    label = "direct"

    def prepare(self):
        ann, bob = self.new_person(), self.new_person()
        made = ann.call("POST", "/v1/conversations", {"kind": "direct", "user": bob.id})
        self.conversation = made["id"]
        for person in (ann, bob):
            person.follow(self.conversation, made["head"])
            person.connect()

    @task
    def write(self):
        writer = self.people[0]
        writer.send(self.conversation, self.options.message_bytes)
        self.people.reverse()


class GroupChat(PipitUser):
    """A member of a group of --group-size; every message goes to all the others."""

    label = "group"

    def prepare(self):
        person = self.new_person()
        with Setup.joining:
            self.conversation, start = self.join(person)
        person.follow(self.conversation, start)
        person.connect()

    def join(self, person):
        """Finds a place in the group that is being filled, or begins the next one."""
        if Setup.group is None or Setup.group[2] == 0:
            made = person.call("POST", "/v1/conversations", {"kind": "group", "title": "Locust", "members": []})
            Setup.group = (made["id"], person, self.options.group_size - 1)
            return made["id"], made["head"]
        conversation, owner, places = Setup.group
        Setup.group = (conversation, owner, places - 1)
        member = owner.call("PUT", f"/v1/conversations/{conversation}/members/{person.id}", {})
        return conversation, member["joined"]

    @task
    def write(self):
        self.people[0].send(self.conversation, self.options.message_bytes)
