"""A MongoDB that is there already, as the database of a world: what its URI becomes inside, the way to it,
and its end. The machine's network is another one than the world's, so a forwarder leads out of it."""

import collections
import contextlib
import pathlib
import subprocess
import sys
import uuid
from urllib.parse import parse_qsl, urlencode

FORWARD = pathlib.Path(__file__).resolve().parent / "forward.py"
Server = collections.namedtuple("Server", "uri database")
SOCKET = "mongodb.sock"  # in the world's folder


def parts(uri):
    scheme, _, rest = uri.partition("://")
    if scheme != "mongodb":
        raise SystemExit(f"a fault run takes a server as mongodb://HOST:PORT/, not {scheme}://")
    rest, _, options = rest.partition("?")
    authority, _, database = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    return credentials + at, hosts.split(",")[0], database, dict(parse_qsl(options))


def inside(uri, host, port, database):
    """The same server and credentials at the world's own address, one server of its set."""
    credentials, _, old, options = parts(uri)
    if credentials and not any(name.lower() == "authsource" for name in options):
        options["authSource"] = old or "admin"
    options = {name: value for name, value in options.items() if name.lower() != "replicaset"}
    options["directConnection"] = "true"
    return f"mongodb://{credentials}{host}:{port}/{database}?{urlencode(options)}"


def fresh_name():
    return f"pipit_chaos_{uuid.uuid4().hex[:12]}"


@contextlib.contextmanager
def way_out(uri, folder, database):
    """While it lasts, FOLDER/mongodb.sock leads to the server; the database is dropped afterwards."""
    _, host, _, _ = parts(uri)
    host, _, port = host.rpartition(":") if ":" in host.rpartition("]")[2] else (host, "", "27017")
    forwarder = subprocess.Popen([sys.executable, "-B", str(FORWARD), f"unix:{folder}/{SOCKET}", f"tcp:{host}:{port}"])
    try:
        yield
    finally:
        forwarder.kill()
        forwarder.wait()
        import pymongo  # only a given server needs it
        with pymongo.MongoClient(uri, serverSelectionTimeoutMS=20000) as client:
            client.drop_database(database)
