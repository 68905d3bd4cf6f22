"""The REST API is what docs/reference/openapi.yaml says: every operation, both ways."""

import copy
import json
import re
import subprocess
import sys
import time

import pytest
import requests
import yaml

from clients import PASSWORD, uuid7
from openapi_driver import Description, Driver, parse
from stack import BUILD, ROOT, SLOW

DESCRIPTION = Description()
OPERATIONS = sorted(DESCRIPTION.operations)


def member_of(stack, *names):
    made = stack.people.make(*names)
    return made if isinstance(made, list) else [made]


# --- the description by itself -------------------------------------------------------------------


def test_examples_match_their_schemas():
    count = 0

    def walk(node, place):
        nonlocal count
        if isinstance(node, list):
            for index, child in enumerate(node):
                walk(child, f"{place}[{index}]")
        if not isinstance(node, dict):
            return
        if "schema" in node:
            examples = [e["value"] for e in node.get("examples", {}).values()]
            examples += [node["example"]] if "example" in node else []
            for example in examples:
                DESCRIPTION.validate(example, node["schema"], place)
                count += 1
        for key, child in node.items():
            if key != "example":
                walk(child, f"{place}/{key}")

    walk(DESCRIPTION.document, "")
    assert count > 80


def test_every_operation_is_complete():
    for operation in DESCRIPTION.operations.values():
        raw = DESCRIPTION.document["paths"][operation.template][operation.method]
        assert raw["summary"] and len(raw["tags"]) == 1
        assert any(status < 300 for status in operation.responses), operation.id
        assert operation.public or {401, 403} <= set(operation.responses), operation.id
        names = set(re.findall(r"{(\w+)}", operation.template))
        assert names == {p["name"] for p in operation.parameters if p["in"] == "path"}, operation.id
        if operation.body:
            content = operation.body["content"]["application/json"]
            assert "example" in content or "examples" in content, operation.id
        for status, response in operation.responses.items():
            for kind, content in response.get("content", {}).items():
                assert "example" in content, f"{operation.id} {status} {kind}"


def test_route_table_and_description_agree():
    shown = subprocess.run([str(BUILD / "pipit-auth"), "--describe-routes"], capture_output=True, text=True,
                           timeout=10, check=True).stdout
    routes = {}
    for line in shown.splitlines():
        method, path, access = line.split(" ")
        routes[(method.lower(), path)] = access
    described = {(o.method, o.template): o for o in DESCRIPTION.operations.values()}
    assert set(routes) == set(described)
    for key, access in routes.items():
        assert (access == "public") == described[key].public, key
        assert (access == "admin") == key[1].startswith("/v1/admin/"), key


def test_json_is_made_from_the_yaml(stack):
    subprocess.run([sys.executable, str(ROOT / "scripts/openapi-json.py"), "--check"], check=True, timeout=20)
    served = requests.get(stack.rest_url + "/v1/openapi.yaml", timeout=10)
    assert served.content.decode() == (ROOT / "docs/reference/openapi.yaml").read_text()
    assert requests.get(stack.rest_url + "/v1/openapi.json", timeout=10).json() == yaml.safe_load(served.content)


# --- the checker proves that it can fail ---------------------------------------------------------


@pytest.mark.parametrize("planted", ["status", "missing", "type", "extra body", "content type", "pattern"])
def test_checker_finds_planted_violations(planted):
    operation = DESCRIPTION.operations["getMe"]
    headers = {"Content-Type": "application/json", "X-Request-Id": "r_1"}
    body = copy.deepcopy(operation.responses[200]["content"]["application/json"]["example"])
    operation.check_answer(200, headers, body)
    status = 200
    if planted == "status":
        status = 201
    elif planted == "missing":
        del body["device"]
    elif planted == "type":
        body["admin"] = "no"
    elif planted == "content type":
        headers["Content-Type"] = "text/html"
    elif planted == "pattern":
        body["created_at"] = "yesterday"
    else:
        operation, status = DESCRIPTION.operations["logout"], 204
    with pytest.raises(AssertionError):
        operation.check_answer(status, headers, body)


def test_checker_notices_an_operation_that_was_left_out():
    driver = Driver("http://unused")
    driver.seen = {(o.id, s) for o in DESCRIPTION.operations.values() for s in o.responses if s < 300}
    assert not driver.not_exercised()
    driver.seen.remove(("putMember", 201))
    assert driver.not_exercised() == {("putMember", 201)}


# --- every operation against a running server ----------------------------------------------------


def drive_discovery(driver):
    driver.call("getServerInfo", 200)
    driver.call("getKeys", 200)
    driver.call("getDescriptionYaml", 200)
    driver.call("getDescriptionJson", 200)


def drive_sessions(driver, admin):
    invite = driver.call("adminCreateInvite", 201, token=admin.token)["invite"]
    body = {"invite": invite, "user": "oa-ann", "password": PASSWORD, "display_name": "Ann"}
    body["device"] = {"id": "d_oa-phone", "name": "Ann's phone", "platform": "web"}
    driver.call("register", 422, body={**body, "user": "Not A Name"})
    driver.call("register", 422, body={**body, "password": "12345678"})
    driver.call("register", 422, body={**body, "password": "short"})
    driver.call("register", 403, body={**body, "invite": "pi_wrong"})
    ann = driver.call("register", 201, body=body)
    assert ann["user"] == {"id": "u_oa-ann", "name": "oa-ann", "display_name": "Ann", "admin": False}
    assert ann["device"]["id"] == "d_oa-phone"
    driver.call("register", 403, body={**body, "user": "oa-other"})  # the invite is used up
    again = driver.call("adminCreateInvite", 201, body={"uses": 2, "note": "twice"}, token=admin.token)["invite"]
    driver.call("register", 409, body={**body, "invite": again})
    second = driver.call("login", 200, body={"user": "u_oa-ann", "password": PASSWORD})
    driver.call("login", 401, body={"user": "oa-ann", "password": "wrong-password"})
    driver.call("login", 401, body={"user": "oa-nobody", "password": "wrong-password"})
    fresh = driver.call("refreshToken", 200, body={"refresh_token": second["refresh_token"]})
    assert fresh["device"] == second["device"] and fresh["refresh_token"] != second["refresh_token"]
    driver.call("refreshToken", 401, body={"refresh_token": "pr_" + "A" * 43})
    driver.call("logout", 204, token=fresh["access_token"])
    driver.call("getMe", 401, token=fresh["access_token"])
    return ann["access_token"], again


def drive_me(driver, token):
    driver.call("getMe", 200, token=token)
    assert driver.call("updateMe", 200, body={"display_name": "Ann B."}, token=token)["display_name"] == "Ann B."
    other = driver.call("login", 200, body={"user": "oa-ann", "password": PASSWORD, "device": {"name": "old"}})
    items = driver.call("listDevices", 200, token=token)["items"]
    assert [d["id"] for d in items if d["current"]] == ["d_oa-phone"]
    assert other["device"]["id"] in {d["id"] for d in items}
    driver.call("deleteDevice", 204, path={"device": other["device"]["id"]}, token=token)
    driver.call("deleteDevice", 404, path={"device": other["device"]["id"]}, token=token)
    driver.call("getMe", 401, token=other["access_token"])
    driver.call("changePassword", 403, body={"current": "wrong-password", "new": "another-otter"}, token=token)
    driver.call("changePassword", 422, body={"current": PASSWORD, "new": "password1"}, token=token)
    driver.call("changePassword", 204, body={"current": PASSWORD, "new": "another-otter"}, token=token)
    driver.call("login", 401, body={"user": "oa-ann", "password": PASSWORD})
    driver.call("login", 200, body={"user": "oa-ann", "password": "another-otter"})


def drive_people(driver, token, bob):
    driver.call("block", 204, path={"user": bob.name}, token=token)
    assert driver.call("listBlocks", 200, token=token)["items"] == [{"user": bob.id}]
    driver.call("unblock", 204, path={"user": bob.id}, token=token)
    driver.call("block", 422, path={"user": "me"}, token=token)
    driver.call("block", 404, path={"user": "oa-nobody"}, token=token)
    names = []
    after = None
    while True:
        query = {"query": "oa-", "limit": 1, **({"after": after} if after else {})}
        page = driver.call("listUsers", 200, query=query, token=token)
        assert len(page["items"]) <= 1
        names += [u["name"] for u in page["items"]]
        after = page.get("next")
        if not after:
            break
    assert names == sorted(names) and {"oa-ann", bob.name} <= set(names)
    driver.call("getUser", 200, path={"user": bob.name}, token=token)
    driver.call("getUser", 404, path={"user": "oa-nobody"}, token=token)
    driver.call("listUsers", 422, query={"limit": 101}, token=token)
    driver.call("createMemberInvite", 403, token=token)


def drive_conversations(driver, token, bob, cleo):
    body = {"kind": "direct", "user": bob.name}
    direct = driver.call("createConversation", 201, body=body, token=token)["id"]
    assert driver.call("createConversation", 200, body=body, token=token)["id"] == direct
    group = {"kind": "group", "title": "Club", "members": [bob.name], "id": "oa-club"}
    assert driver.call("createConversation", 201, body=group, token=token)["id"] == "c_oa-club"
    driver.call("createConversation", 409, body=group, token=cleo.token)
    driver.call("createConversation", 404, body={"kind": "group", "title": "x", "members": ["oa-nobody"]}, token=token)
    club = {"conversation": "oa-club"}
    assert driver.call("getConversation", 200, path=club, token=token)["role"] == "owner"
    driver.call("getConversation", 403, path=club, token=cleo.token)
    driver.call("getConversation", 403, path={"conversation": "c_oa-nothing"}, token=token)
    driver.call("updateConversation", 200, path=club, body={"title": "Choir"}, token=token)
    driver.call("updateConversation", 403, path=club, body={"title": "x"}, token=bob.token)
    driver.call("putMember", 201, path={**club, "user": cleo.name}, token=token)
    driver.call("putMember", 200, path={**club, "user": cleo.id}, body={"role": "admin"}, token=token)
    driver.call("putMember", 404, path={**club, "user": "oa-nobody"}, token=token)
    roles = {m["user"]: m["role"] for m in driver.call("listMembers", 200, path=club, token=token)["items"]}
    assert roles == {"u_oa-ann": "owner", bob.id: "member", cleo.id: "admin"}
    driver.call("deleteMember", 204, path={**club, "user": bob.name}, token=cleo.token)
    driver.call("deleteMember", 403, path={**club, "user": "oa-ann"}, token=cleo.token)
    driver.call("setMuted", 200, path=club, body={"muted": True}, token=token)
    drive_messages(driver, token, cleo, club)
    before = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 3600))
    items = driver.call("listConversations", 200, query={"since": before, "limit": 100}, token=token)["items"]
    assert {"c_oa-club", direct} == {i["id"] for i in items}
    assert next(i for i in items if i["id"] == "c_oa-club")["muted"] is True
    driver.call("deleteMember", 204, path={**club, "user": "me"}, token=cleo.token)
    driver.call("deleteMember", 204, path={**club, "user": "me"}, token=cleo.token)  # twice is once
    driver.call("deleteConversation", 204, path=club, token=token)
    left = driver.call("listConversations", 200, query={"since": before}, token=token)["items"]
    assert next(i for i in left if i["id"] == "c_oa-club")["state"] == "left"


def drive_messages(driver, token, cleo, club):
    first = uuid7()
    path = {**club, "message": first}
    # Numbers and key order of a body stay as they were sent.
    body = {"z": 1.0, "text": "hi 👍", "a": [1e3, 18446744073709551615]}
    stored = driver.call("sendMessage", 201, path=path, body={"body": body}, token=token)
    assert driver.call("sendMessage", 200, path=path, body={"body": body}, token=token) == stored
    driver.call("sendMessage", 409, path=path, body={"body": body}, token=cleo.token)
    driver.call("sendMessage", 400, path={**club, "message": "7"}, body={"body": {}}, token=token)
    driver.call("sendMessage", 422, path={**club, "message": uuid7()}, body={"body": "text"}, token=token)
    old = uuid7(int(time.time() * 1000) - 90_000_000)
    driver.call("sendMessage", 400, path={**club, "message": old}, body={"body": {}}, token=token)
    seq = {**club, "message": stored["seq"]}
    reply = {"body": {"text": "yes"}, "reply": stored["seq"]}
    driver.call("sendMessage", 201, path={**club, "message": uuid7()}, body=reply, token=cleo.token)
    edit = {"message": uuid7(), "body": {"text": "hello"}}
    driver.call("editMessage", 403, path=seq, body=edit, token=cleo.token)
    edited = driver.call("editMessage", 200, path=seq, body=edit, token=token)
    assert driver.call("editMessage", 200, path=seq, body=edit, token=token) == edited
    key = {"Idempotency-Key": f'"{uuid7()}"'}
    reacted = driver.call("addReaction", 200, path={**seq, "emoji": "👍"}, token=cleo.token, headers=key)
    assert driver.call("addReaction", 200, path={**seq, "emoji": "👍"}, token=cleo.token, headers=key) == reacted
    driver.call("addReaction", 400, path={**seq, "emoji": "👍"}, token=token, headers={"Idempotency-Key": "x"})
    driver.call("removeReaction", 200, path={**seq, "emoji": "👍"}, token=cleo.token)
    driver.call("recallMessage", 200, path=seq, token=token)
    page = driver.call("listMessages", 200, path=club, query={"after": 0, "limit": 100}, token=token)
    assert [m["kind"] for m in page["items"]] == ["msg", "msg", "edit", "react", "react", "recall"]
    assert [m["seq"] for m in page["items"]] == list(range(1, page["head"] + 1)) and not page["has_more"]
    assert page["items"][0]["body"] == body and list(page["items"][0]["body"]) == ["z", "text", "a"]
    newest = driver.call("listMessages", 200, path=club, query={"limit": 2}, token=token)
    assert [m["seq"] for m in newest["items"]] == [page["head"] - 1, page["head"]] and newest["has_more"]
    older = driver.call("listMessages", 200, path=club, query={"before": 3, "limit": 1}, token=token)
    assert [m["seq"] for m in older["items"]] == [2] and older["has_more"]
    driver.call("listMessages", 422, path=club, query={"limit": 101}, token=token)
    driver.call("listMessages", 422, path=club, query={"before": 3, "after": 1}, token=token)
    assert driver.call("setRead", 200, path=club, body={"seq": 2}, token=token)["read"] == 2
    assert driver.call("setRead", 200, path=club, body={"seq": 1}, token=token)["read"] == 2  # never back
    assert driver.call("setRead", 200, path=club, body={"seq": 10**6}, token=token)["read"] == page["head"]


def drive_admin(driver, admin, bob, invite):
    users = driver.call("adminListUsers", 200, query={"query": "oa-"}, token=admin.token)["items"]
    assert bob.id in {u["id"] for u in users}
    target = {"user": bob.name}
    driver.call("adminUpdateUser", 200, path=target, body={"disabled": True}, token=admin.token)
    assert driver.call("adminGetUser", 200, path=target, token=admin.token)["disabled"] is True
    driver.call("getMe", 403, token=bob.token)
    driver.call("login", 403, body={"user": bob.name, "password": PASSWORD})
    driver.call("refreshToken", 401, body={"refresh_token": bob.refresh})  # its family has ended
    driver.call("adminUpdateUser", 200, path=target, body={"disabled": False}, token=admin.token)
    driver.call("adminUpdateUser", 409, path={"user": "me"}, body={"admin": False}, token=admin.token)
    password = driver.call("adminResetPassword", 200, path=target, token=admin.token)["password"]
    session = driver.call("login", 200, body={"user": bob.name, "password": password})
    driver.call("adminGetStats", 403, token=session["access_token"])
    listed = driver.call("adminListInvites", 200, token=admin.token)["items"]
    assert not [i for i in listed if i.get("invite")]
    named = next(i for i in listed if i["note"] == "twice")
    driver.call("adminDeleteInvite", 204, path={"invite": named["id"]}, token=admin.token)
    driver.call("adminDeleteInvite", 404, path={"invite": named["id"]}, token=admin.token)
    body = {"invite": invite, "user": "oa-late", "password": PASSWORD}
    driver.call("register", 403, body=body)
    driver.call("adminGetStats", 200, token=admin.token)
    newest = driver.call("adminListAudit", 200, query={"limit": 5}, token=admin.token)["items"]
    assert newest[0]["action"] == "invite_deleted" and newest[0]["actor"] == admin.id
    older = driver.call("adminListAudit", 200, query={"before": newest[-1]["id"], "limit": 100}, token=admin.token)
    everything = json.dumps([newest, older])
    assert PASSWORD not in everything and password not in everything and invite not in everything


def test_every_operation_answers_as_described(stack):
    bob, cleo = member_of(stack, "oa-bob", "oa-cleo")
    admin = stack.people.admin
    driver = Driver(stack.rest_url)
    drive_discovery(driver)
    token, invite = drive_sessions(driver, admin)
    drive_me(driver, token)
    drive_people(driver, token, bob)
    drive_conversations(driver, token, bob, cleo)
    drive_admin(driver, admin, bob, invite)
    # Members may invite on servers that say so; an administrator may on every one.
    driver.call("createMemberInvite", 201, body={"note": "for Dan"}, token=admin.token)
    assert not driver.not_exercised()


# --- the same rules for all of them --------------------------------------------------------------


def fill(operation):
    """A path whose parameters have the right shape and name nothing."""
    message = uuid7() if operation.id == "sendMessage" else 1
    values = {"user": "oa-nobody", "conversation": "c_oa-none", "device": "d_none", "message": message,
              "emoji": "👍", "invite": "0" * 64}
    return operation.path(values)


def send(stack, operation, **options):
    headers = options.pop("headers", {})
    answer = requests.request(options.pop("method", operation.method), stack.rest_url + fill(operation),
                              headers=headers, timeout=30 * SLOW, **options)
    return answer


@pytest.fixture(scope="module")
def caller(stack):
    member_of(stack, "oa-caller")
    return {"Authorization": f"Bearer {stack.people.admin.token}"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_anonymous_is_refused(stack, name):
    operation = DESCRIPTION.operations[name]
    answer = send(stack, operation)
    if operation.public:
        assert answer.status_code != 401
        return
    operation.check_answer(answer.status_code, answer.headers, parse(answer))
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", OPERATIONS)
def test_unknown_query_parameter_is_refused(stack, caller, name):
    operation = DESCRIPTION.operations[name]
    answer = send(stack, operation, headers=caller, params={"surprise": "1"})
    operation.check_answer(answer.status_code, answer.headers, parse(answer))
    assert answer.status_code == 422


@pytest.mark.parametrize("name", [n for n in OPERATIONS if DESCRIPTION.operations[n].method != "get"])
def test_bad_bodies_are_refused(stack, caller, name):
    operation = DESCRIPTION.operations[name]
    json_type = {**caller, "Content-Type": "application/json"}
    cases = [
        (json_type, b'{"surprise":1}', 422),
        (json_type, b"{", 400),
        (json_type, b"[]", 400),
        (json_type, b'{"a":1,"a":1}', 400),
        (json_type, b'{"a":' * 40 + b"1" + b"}" * 40, 400),
        ({**caller, "Content-Type": "text/plain"}, b"{}", 415),
        (caller, b"{}", 415),
    ]
    for headers, body, status in cases:
        answer = send(stack, operation, headers=headers, data=body)
        operation.check_answer(answer.status_code, answer.headers, parse(answer))
        if name == "createConversation" and status == 422:
            assert "kind" in answer.json()["detail"]  # which fields are known depends on it
        assert answer.status_code == status, (body, answer.text)
        if b"surprise" in body and name != "createConversation":
            assert "surprise" in answer.json()["detail"], answer.text


@pytest.mark.parametrize("name", [n for n in OPERATIONS if DESCRIPTION.operations[n].method == "get"])
def test_get_takes_no_body(stack, caller, name):
    operation = DESCRIPTION.operations[name]
    answer = send(stack, operation, headers={**caller, "Content-Type": "application/json"}, data=b"{}")
    operation.check_answer(answer.status_code, answer.headers, parse(answer))
    assert answer.status_code == 400


@pytest.mark.parametrize("template", sorted(DESCRIPTION.document["paths"]))
def test_other_methods_are_405_with_allow(stack, template):
    item = DESCRIPTION.document["paths"][template]
    operation = next(o for o in DESCRIPTION.operations.values() if o.template == template)
    described = {m.upper() for m in item if m != "parameters"}
    for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"} - described:
        answer = send(stack, operation, method=method)
        assert answer.status_code == 405, method
        assert set(answer.headers["Allow"].split(", ")) == described
        assert "Access-Control-Allow-Origin" not in answer.headers


IN_CONVERSATION = [n for n in OPERATIONS if "{conversation}" in DESCRIPTION.operations[n].template]
GOOD_BODIES = {
    "updateConversation": {"title": "mine now"}, "putMember": {}, "setMuted": {"muted": True},
    "setRead": {"seq": 1}, "sendMessage": {"body": {"text": "x"}},
    "editMessage": {"message": uuid7(), "body": {"text": "x"}},
}


@pytest.fixture(scope="module")
def strangers(stack):
    owner, former, outsider = member_of(stack, "oa-owner", "oa-former", "oa-outsider")
    conversation = owner.group("private", former)
    owner.send(conversation, "secret")
    former.ok("DELETE", f"/v1/conversations/{conversation}/members/me")
    return {"owner": owner, "former": former, "outsider": outsider, "conversation": conversation}


@pytest.mark.parametrize("who", ["former", "outsider"])
@pytest.mark.parametrize("name", IN_CONVERSATION)
def test_non_members_get_nothing_of_a_conversation(stack, strangers, who, name):
    operation = DESCRIPTION.operations[name]
    person, owner = strangers[who], strangers["owner"]
    before = owner.history(strangers["conversation"])
    message = 1 if operation.method != "put" or name == "addReaction" else uuid7()
    # Not "remove me": leaving twice succeeds for who was a member.
    path = {"conversation": strangers["conversation"], "message": message, "emoji": "👍", "user": owner.name}
    driver = Driver(stack.rest_url)
    body = GOOD_BODIES.get(name)
    driver.call(name, 403, path=path, body=body, token=person.token)
    # A conversation that does not exist is the same answer: nobody learns which do.
    driver.call(name, 403, path={**path, "conversation": "c_oa-none"}, body=body, token=person.token)
    assert owner.history(strangers["conversation"]) == before


def test_request_id_is_echoed(stack):
    url = stack.rest_url + "/.well-known/pipit"
    assert requests.get(url, headers={"X-Request-Id": "mine-1"}, timeout=10).headers["X-Request-Id"] == "mine-1"
    for bad in ("x" * 65, "a b", 'a"b', "ä".encode("utf-8").decode("latin-1")):
        made = requests.get(url, headers={"X-Request-Id": bad}, timeout=10).headers["X-Request-Id"]
        assert re.fullmatch(r"r_[a-z2-7]{16}", made)


def test_tokens_are_never_cached(stack):
    answer = requests.post(stack.rest_url + "/v1/login", timeout=30 * SLOW,
                           json={"user": stack.people.admin.name, "password": PASSWORD})
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    keys = requests.get(stack.rest_url + "/.well-known/jwks.json", timeout=10)
    assert "max-age=300" in keys.headers["Cache-Control"]


def test_large_bodies_are_413(stack):
    url = stack.rest_url + "/v1/login"
    body = json.dumps({"user": "x", "password": "y" * 300_000})
    answer = requests.post(url, data=body, headers={"Content-Type": "application/json"}, timeout=10 * SLOW)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
