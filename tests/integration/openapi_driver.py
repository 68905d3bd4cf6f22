"""Drives a server by its OpenAPI description, and compares what it answers with what is written there.

Description reads docs/reference/openapi.yaml. Driver sends one operation at a time and fails when the
status is not documented, when status or type differ from what the caller expects, or when a body does
not match its schema, in either direction. It remembers which operations succeeded with which status, so
a test can demand that nothing in the description was left out.
"""

import re
import urllib.parse

import jsonschema
import requests
import yaml

from stack import ROOT, SLOW

METHODS = ("get", "put", "post", "patch", "delete")


class Description:
    def __init__(self, path=ROOT / "docs/reference/openapi.yaml"):
        self.document = yaml.safe_load(path.read_text())
        self.operations = {}
        for template, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    operation = Operation(self, template, method, item)
                    assert operation.id not in self.operations, f"operationId {operation.id} twice"
                    self.operations[operation.id] = operation

    def resolve(self, node):
        while "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def validate(self, value, schema, what):
        """Raises AssertionError with the place when value does not match."""
        rooted = {"allOf": [schema], "components": self.document["components"]}
        validator = jsonschema.Draft202012Validator(rooted, format_checker=jsonschema.FormatChecker())
        errors = sorted(validator.iter_errors(value), key=lambda error: list(error.path))
        assert not errors, f"{what}: {errors[0].json_path}: {errors[0].message}"


class Operation:
    def __init__(self, description, template, method, item):
        raw = item[method]
        self.description, self.template, self.method = description, template, method
        self.id = raw["operationId"]
        self.security = raw.get("security", description.document["security"])
        self.parameters = [description.resolve(p) for p in item.get("parameters", []) + raw.get("parameters", [])]
        self.body = raw.get("requestBody")
        self.responses = {int(status): description.resolve(r) for status, r in raw["responses"].items()}

    @property
    def public(self):
        return not self.security

    def path(self, values):
        def fill(found):
            return urllib.parse.quote(str(values[found.group(1)]), safe="")

        return re.sub(r"{(\w+)}", fill, self.template)

    def body_schema(self):
        return self.body["content"]["application/json"]["schema"] if self.body else None

    def check_request(self, body, query):
        """What the test itself sends must be what the description allows."""
        known = {p["name"]: p for p in self.parameters if p["in"] == "query"}
        for name, value in (query or {}).items():
            assert name in known, f"{self.id}: query parameter {name} is not described"
            self.description.validate(value, known[name]["schema"], f"{self.id} query {name}")
        if body is None:
            assert not self.body or not self.body["required"], f"{self.id}: the body is required"
        else:
            assert self.body, f"{self.id}: takes no body"
            self.description.validate(body, self.body_schema(), f"{self.id} request")

    def check_answer(self, status, headers, body):
        """body is the parsed JSON, the text, or None when there is none."""
        assert status in self.responses, f"{self.id}: status {status} is not described: {body}"
        assert headers.get("X-Request-Id"), f"{self.id}: no X-Request-Id"
        for status_of, header in ((401, "WWW-Authenticate"), (429, "Retry-After"), (503, "Retry-After")):
            assert status != status_of or headers.get(header), f"{self.id}: {status} without {header}"
        content = self.responses[status].get("content")
        if content is None:
            assert body is None, f"{self.id}: {status} has a body: {body}"
            return
        kind = headers.get("Content-Type", "").split(";")[0]
        assert kind in content, f"{self.id}: {status} is {kind}, not {list(content)}"
        self.description.validate(body, content[kind]["schema"], f"{self.id} {status}")
        if status >= 400:
            assert body["status"] == status, f"{self.id}: problem says {body['status']}, HTTP {status}"


class Driver:
    def __init__(self, rest_url, description=None):
        self.rest_url = rest_url
        self.description = description or Description()
        self.seen = set()  # (operationId, status)

    def call(self, operation_id, expect, path=None, query=None, body=None, token=None, headers=None):
        """Sends one operation; returns the parsed body. expect: the status that must come."""
        operation = self.description.operations[operation_id]
        if expect < 300:
            operation.check_request(body, query)
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        answer = requests.request(
            operation.method, self.rest_url + operation.path(path or {}), params=query, json=body,
            headers=headers, timeout=30 * SLOW,
        )
        value = parse(answer)
        operation.check_answer(answer.status_code, answer.headers, value)
        assert answer.status_code == expect, f"{operation_id}: {answer.status_code} instead of {expect}: {value}"
        self.seen.add((operation_id, answer.status_code))
        return value

    def not_exercised(self):
        """Successful statuses of the description that no call has had."""
        described = {(o.id, s) for o in self.description.operations.values() for s in o.responses if s < 300}
        return described - self.seen


def parse(answer):
    if not answer.content:
        return None
    return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text
