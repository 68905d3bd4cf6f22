"""Users and logins over REST, with the patience that a client needs while instances die."""

import asyncio
import re
import time

from wire_http import Http, Unknown
from world import ROOT

PASSWORD = "quiet-otter-lamp"


def load_reasons():
    """{sentence: (code, retryable)} as the reference page tells: MQTT 5 refusals carry only the sentence."""
    table = {}
    for line in (ROOT / "docs/reference/reasons.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 8 and (code := re.fullmatch(r"`(\w+)`", cells[0])):
            table[cells[7]] = (code.group(1), cells[1] == "yes")
    return table


async def insist(http, method, path, body=None, token=None, headers=None, seconds=40.0):
    """Repeats a call that is safe to repeat until it has an answer that is not retryable."""
    deadline, problem = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            answer = await http.call(method, path, body, token, headers)
            if not answer.retryable:
                return answer
            problem = answer.code
        except Unknown as error:
            problem = error
        await asyncio.sleep(0.2)
    raise Unknown(f"{method} {path} had no answer in {seconds} s: {problem}")


class Login:
    """One device's tokens. token() refreshes in time; an answer that was lost is asked for again."""

    def __init__(self, addresses, user_name, device_name, password=PASSWORD):
        self.http = Http(addresses)
        self.user_name, self.device_name, self.password = user_name, device_name, password
        self.access = self.refresh = self.device_id = None
        self.expires = 0.0
        self.lock = asyncio.Lock()
        self.ended = False  # logged out or disabled: no token any more

    def take(self, body):
        self.access, self.refresh = body["access_token"], body["refresh_token"]
        self.expires = time.monotonic() + body["expires_in_ms"] / 1000
        self.user_id, self.device_id = body["user"]["id"], body["device"]["id"]

    def spoil(self):
        """The server refused the access token: the next one is fetched."""
        self.expires = 0.0

    async def token(self):
        async with self.lock:
            while not self.ended and time.monotonic() > self.expires - 15:
                await self._renew()
            if self.ended:
                raise Unknown("logged out")
            return self.access

    async def _renew(self):
        if self.refresh is not None:
            answer = await insist(self.http, "POST", "/v1/token", {"refresh_token": self.refresh})
            if answer.ok:
                self.take(answer.body)
                return
            self.refresh = None
        await self.login()

    async def login(self):
        device = {"name": self.device_name, "platform": "chaos"}
        if self.device_id:
            device["id"] = self.device_id
        body = {"user": self.user_name, "password": self.password, "device": device}
        answer = await insist(self.http, "POST", "/v1/login", body)
        if not answer.ok:
            self.ended = answer.status in (401, 403)
            raise Unknown(f"login of {self.user_name}: {answer.code}")
        self.take(answer.body)

    def close(self):
        self.http.close()


async def register(http, invite, name):
    """The answer of a new account; one that exists because an answer was lost is logged into."""
    body = {"invite": invite, "user": name, "password": PASSWORD,
            "device": {"name": "first", "platform": "chaos"}}
    answer = await insist(http, "POST", "/v1/register", body)
    if not answer.ok:
        login = {"user": name, "password": PASSWORD, "device": body["device"]}
        answer = await insist(http, "POST", "/v1/login", login)
    if not answer.ok:
        raise Unknown(f"registering {name}: {answer.status} {answer.code}")
    return answer.body
