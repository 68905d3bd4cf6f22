"""faultcall.c, compiled and switched on for one process."""

import os
import subprocess

from process import ROOT, SLOW


def build_shim(folder):
    target = folder / "faultcall.so"
    source = ROOT / "tests/powercut/faultcall.c"
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-o", target, source, "-ldl"],
                   check=True)
    return target


def shim_environment(shim, data, **settings):
    """delay_us, log, fault: see faultcall.c."""
    found = {"LD_PRELOAD": str(shim), "FAULTCALL_DIR": str(data)}
    if SLOW > 1:
        found["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return found | {f"FAULTCALL_{key.upper()}": str(value) for key, value in settings.items()}
