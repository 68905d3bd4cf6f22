#!/usr/bin/env python3
"""Registers load-test users over REST (or logs them in again) and writes "name token" lines.

Usage: accounts.py --url http://127.0.0.1:8080 --invite CODE --count 500 --out accounts.txt
                   [--groups groups.txt --group-size 50]
The invite is the administrator's first one; without it the users exist and log in. With --groups each block of
that many users gets a conversation, whose ids are written one a line.
"""

import argparse
import concurrent.futures
import json
import os
import sys
import time
import urllib.error
import urllib.request

PASSWORD = "quiet-otter-lamp"
INVITE_USES_MAX = 1000
PATIENCE_S = 180


def call(url, body, token=None):
    """POSTs JSON; waits and repeats when the server is busy, for some minutes."""
    deadline = time.monotonic() + PATIENCE_S
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    while True:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503) or time.monotonic() > deadline:
                raise SystemExit(f"{url}: {error.code} {error.read().decode()}") from None
            time.sleep(float(error.headers.get("Retry-After", "1")))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--invite")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--out", required=True)
    parser.add_argument("--groups", help="file for the groups' conversation ids")
    parser.add_argument("--group-size", type=int, default=50)
    options = parser.parse_args()
    names = [f"load{i}" for i in range(options.count)]
    if options.invite:
        body = {"invite": options.invite, "user": "loadadmin", "password": PASSWORD}
        admin = call(options.url + "/v1/register", body)["access_token"]
        codes = [call(options.url + "/v1/admin/invites", {"uses": INVITE_USES_MAX}, admin)["invite"]
                 for _ in range(0, options.count, INVITE_USES_MAX)]

    def account(name):
        if options.invite:
            code = codes[int(name.removeprefix("load")) // INVITE_USES_MAX]
            body = {"invite": code, "user": name, "password": PASSWORD}
            return call(options.url + "/v1/register", body)["access_token"]
        return call(options.url + "/v1/login", {"user": name, "password": PASSWORD})["access_token"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        tokens = []
        for done, token in enumerate(pool.map(account, names), 1):
            tokens.append(token)
            if sys.stderr.isatty() or done % 100 == 0:
                print(f"\r{done}/{options.count} accounts", end="", file=sys.stderr)
    print(file=sys.stderr)
    descriptor = os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.writelines(f"{name} {token}\n" for name, token in zip(names, tokens))
    if options.groups:
        make_groups(options, names, tokens)


def make_groups(options, names, tokens):
    with open(options.groups, "w") as out:
        for first in range(0, len(names) - options.group_size + 1, options.group_size):
            body = {"kind": "group", "title": f"Load {first}", "members": names[first + 1 : first + options.group_size]}
            out.write(call(options.url + "/v1/conversations", body, tokens[first])["id"] + "\n")


if __name__ == "__main__":
    main()
