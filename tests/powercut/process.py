"""One real pipit-storage on a data folder, and what to ask it."""

import ctypes
import os
import pathlib
import re
import signal
import subprocess
import time

from bus import ROOT, Bus, Lost

BUILD = pathlib.Path(os.environ.get("PIPIT_BUILD", ROOT / "build"))
SLOW = 4 if re.search("address|thread", BUILD.name) else 1  # sanitizers are slower
STOPPED = "stopped by SIGSTOP"
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed run leaves no process on its disks


class Storage:
    """Starts at once; `wait_ready` tells when it answers."""

    def __init__(self, data, folder, name, extra=None, wrapper=()):
        self.base = f"{folder}/{name}"
        self.log_path = pathlib.Path(f"{self.base}.log")
        env = {key: value for key, value in os.environ.items() if not key.startswith("PIPIT_")}
        env |= {
            "PIPIT_STORAGE_STORE": f"sqlite:{data}",
            "PIPIT_STORAGE_BUS_LISTEN": f"ipc://{self.base}",
            "PIPIT_STORAGE_OPS_LISTEN": "127.0.0.1:0",
        }
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, str(BUILD / "pipit-storage")],
                env=env | (extra or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )

    def ended(self):
        """None while it runs, else its exit code, or STOPPED."""
        if self.process.returncode is None:
            try:
                found = os.waitid(
                    os.P_PID, self.process.pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT
                )
            except ChildProcessError:
                found = None
            if found is not None and found.si_code == os.CLD_STOPPED:
                return STOPPED
        return self.process.poll()

    def connect(self, timeout=20.0):
        """A bus connection, as soon as it listens; Lost when it ends or is stopped before."""
        deadline = time.monotonic() + timeout * SLOW
        while True:
            try:
                return Bus(self.base)
            except Lost:
                code = self.ended()
                if code is not None:
                    raise Lost(f"ended with {code}") from None
                if time.monotonic() > deadline:
                    raise TimeoutError(f"storage does not listen: {self.tail()}") from None
                time.sleep(0.002)

    def wait(self, timeout):
        """Exit code, STOPPED, or None when it still runs after the time."""
        deadline = time.monotonic() + timeout * SLOW
        while True:
            code = self.ended()
            if code is not None or time.monotonic() > deadline:
                return code
            time.sleep(0.002)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; the exit code, or STOPPED."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.wait(20)
        return "no exit after SIGTERM" if code is None else code

    def tail(self, lines=8):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
