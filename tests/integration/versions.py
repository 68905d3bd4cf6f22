"""Other versions of Pipit on the bus: settings for an instance whose messages are rewritten.

The library of tests/wire is preloaded into the service; what it may leave out is the table of
docs/reference/bus.md.
"""

import os
import re

from ports import BUILD, ROOT

LIBRARY = BUILD / "tests/libpipit-wire.so"
OPTIONAL = re.findall(r"^\| `(\w+\.\w+)` \|", (ROOT / "docs/reference/bus.md").read_text(), re.M)
CURRENT = {}


def _preload(**settings):
    assert LIBRARY.exists(), f"{LIBRARY} is not built"
    # The shim is no part of the sanitized program, and its runtime need not come before it.
    sanitizer = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
    return {"LD_PRELOAD": str(LIBRARY), "ASAN_OPTIONS": sanitizer, **settings}


def later():
    """Adds fields that nobody else knows to every message, at every depth."""
    return _preload(WIRE_LATER="1")


def earlier():
    """Leaves out every field that may be missing."""
    return _preload(WIRE_LEAVES=" ".join(OPTIONAL))


def broken(seed, missing=15, enums=15):
    """No version at all: of 1,000 fields some are missing and some enums have values of no meaning."""
    return _preload(WIRE_MISSING=str(missing), WIRE_ENUMS=str(enums), WIRE_SEED=str(seed))


VERSIONS = {"later": later, "earlier": earlier}
