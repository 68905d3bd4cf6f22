#!/usr/bin/env python3
"""Writes docs/reference/openapi.json from openapi.yaml, the source. --check: fails when they differ."""

import json
import pathlib
import sys

import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "docs/reference"


def main():
    source, target = FOLDER / "openapi.yaml", FOLDER / "openapi.json"
    text = json.dumps(yaml.safe_load(source.read_text()), ensure_ascii=False, separators=(",", ":")) + "\n"
    if "--check" not in sys.argv[1:]:
        target.write_text(text)
        return 0
    if target.exists() and target.read_text() == text:
        return 0
    print(f"{target} is not made from {source}: run scripts/openapi-json.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
