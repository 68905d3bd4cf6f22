"""MongoDB's wire protocol in the tests: FerretDB as a process of our own, or a server that is there.

PIPIT_TEST_MONGODB_URI names any real server; then no FerretDB is started.
"""

import os
import pathlib
import signal
import socket
import subprocess
import uuid
from urllib.parse import quote

import pymongo

from ports import ROOT, SLOW, free_port, wait_until

EXTERNAL_URI = os.environ.get("PIPIT_TEST_MONGODB_URI", "")
_binary = None


def binary():
    """Builds FerretDB when this machine has not got it yet; a failure is an error, never a skip."""
    global _binary
    if _binary is None:
        built = subprocess.run([str(ROOT / "scripts/build-ferretdb.sh")], stdout=subprocess.PIPE, text=True,
                               timeout=1800, check=True)
        _binary = built.stdout.strip()
    return _binary


def fresh_name():
    return f"pipit_test_{uuid.uuid4().hex[:16]}"


def with_database(uri, database):
    """The same server, other database. Credentials keep their authentication database."""
    scheme, _, rest = uri.partition("://")
    rest, _, options = rest.partition("?")
    hosts, _, old = rest.partition("/")
    options = [option for option in options.split("&") if option]
    if "@" in hosts and not any(option.lower().startswith("authsource=") for option in options):
        options.append(f"authSource={old or 'admin'}")
    return f"{scheme}://{hosts}/{database}" + ("?" + "&".join(options) if options else "")


def drop(uri, database):
    """Removes a test's database from a server that goes on living."""
    client = pymongo.MongoClient(uri, serverSelectionTimeoutMS=20000)
    client.drop_database(database)
    client.close()


class FerretDB:
    """One server over a folder of its own; its data survive kill() and start()."""

    def __init__(self, folder, username="", password="", tls=None):
        """tls: (certificate file, key file, file of the authority); then it listens with TLS alone."""
        self.folder = pathlib.Path(folder)
        self.port = free_port()
        self.username, self.password, self.tls = username, password, tls
        self.process = None
        self.expected_exit = False
        self.log = self.folder / "ferretdb.log"

    def uri(self, database):
        if not self.username:
            return f"mongodb://127.0.0.1:{self.port}/{database}"
        return (f"mongodb://{quote(self.username, safe='')}:{quote(self.password, safe='')}"
                f"@127.0.0.1:{self.port}/{database}?authSource=pipit_setup")

    def start(self, prefix=()):
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [binary(), "--handler=sqlite", f"--sqlite-url=file:{self.folder}/", "--telemetry=disable",
                   "--debug-addr=-", f"--state-dir={self.folder}", "--log-level=ERROR"]
        if self.tls:
            certificate, key, authority = self.tls
            command += ["--listen-addr=", f"--listen-tls=127.0.0.1:{self.port}",
                        f"--listen-tls-cert-file={certificate}", f"--listen-tls-key-file={key}",
                        f"--listen-tls-ca-file={authority}"]
        else:
            command += [f"--listen-addr=127.0.0.1:{self.port}"]
        if self.username:
            command += ["--test-enable-new-auth", "--setup-database=pipit_setup",
                        f"--setup-username={self.username}", f"--setup-password={self.password}"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FERRETDB_")}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*prefix, *command], env=environment, stdout=log, stderr=log,
                                            start_new_session=True)
        self.expected_exit = False
        wait_until(self._accepts, 30, "FerretDB to accept connections")
        return self

    def _accepts(self):
        assert self.process.poll() is None, f"FerretDB ended: {self.log.read_text()[-2000:]}"
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self, signal_number=signal.SIGKILL):
        """Also SIGSTOP and SIGCONT; start() brings a killed one back on the same port and data."""
        self.expected_exit = True
        if self.process.poll() is None:
            os.kill(self.process.pid, signal_number)
        if signal_number in (signal.SIGKILL, signal.SIGTERM):
            self.process.wait(timeout=20 * SLOW)

    def stop(self):
        """Ends it for good; returns what went wrong before, or None."""
        if self.process is None:
            return None
        code = self.process.poll()
        if code is not None:
            return None if self.expected_exit else f"FerretDB had ended with {code}: {self.log.read_text()[-2000:]}"
        self.process.kill()  # it may be stopped, and its data go away now
        self.process.wait()
        return None
