"""Fixtures: `stack` is shared by a module, `fresh_stack` makes one with its own settings."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from clients import People  # noqa: E402
from stack import Stack  # noqa: E402


@pytest.fixture(scope="module")
def stack():
    running = Stack().start()
    running.people = People(running)
    yield running
    running.stop()


@pytest.fixture
def fresh_stack():
    made = []

    def make(start=True, counts=None, store="sqlite", **settings):
        running = Stack(settings, counts=counts, store=store)
        made.append(running)
        if start:
            running.start()
        running.people = People(running)
        return running

    yield make
    for running in made:
        running.stop()
