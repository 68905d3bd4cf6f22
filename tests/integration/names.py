"""Host names of a test's own: a private /etc/hosts for the processes that are started with it.

Services resolve the host of a bus address again every 2 s, as they would a headless service of
Kubernetes. Each process gets a mount namespace in which /etc/hosts is a file of the test; rewriting
that file in place (same inode) is seen by all of them at once. Needs root or user namespaces.
"""

import os
import pathlib

PAGE = 4096  # the file is always a whole number of pages, so that one write replaces it


class Names:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.addresses = {}  # host name -> [address]
        self.path.write_bytes(b"")
        self._write()

    def add(self, name, address):
        held = self.addresses.setdefault(name, [])
        if address not in held:
            held.append(address)
            self._write()

    def remove(self, name, address):
        if address in self.addresses.get(name, ()):
            self.addresses[name].remove(address)
            self._write()

    def _write(self):
        lines = ["127.0.0.1 localhost"]
        lines += [f"{address} {name}" for name, held in self.addresses.items() for address in held]
        text = ("\n".join(lines) + "\n").encode()
        size = max(-(-len(text) // PAGE) * PAGE, self.path.stat().st_size)
        file = os.open(self.path, os.O_WRONLY)
        try:
            os.pwrite(file, text.ljust(size, b"\n"), 0)
        finally:
            os.close(file)

    def prefix(self):
        """Put before a command's arguments; the process keeps its id."""
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        return ["unshare", "--mount", *user, "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"',
                str(self.path)]
