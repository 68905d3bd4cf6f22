"""Carries connections from one address to another: into a world comes what listens outside of it.

forward.py FROM TO, each tcp:HOST:PORT or unix:PATH. A given MongoDB is reached so: one forwarder
in the machine's own network takes a Unix socket to the server, another one in the database's place
in the world takes TCP to that socket. Killed, frozen or cut off, it is a database that is.
"""

import asyncio
import os
import sys

PIECE_BYTES = 1 << 16


def parsed(address):
    kind, _, rest = address.partition(":")
    if kind == "unix" and rest:
        return kind, rest, None
    host, _, port = rest.rpartition(":")
    if kind != "tcp" or not host or not port.isdigit():
        raise SystemExit(f"forward.py: {address}: write tcp:HOST:PORT or unix:PATH")
    return kind, host.strip("[]"), int(port)


async def connect(address):
    kind, host, port = address
    if kind == "unix":
        return await asyncio.open_unix_connection(host)
    return await asyncio.open_connection(host, port)


async def copy(reader, writer):
    while data := await reader.read(PIECE_BYTES):
        writer.write(data)
        await writer.drain()


async def carry(reader, writer, target):
    """Either side's end ends both: half an open connection would look like a frozen server."""
    writers = [writer]
    try:
        far_reader, far_writer = await connect(target)
        writers.append(far_writer)
        ways = [asyncio.create_task(copy(reader, far_writer)), asyncio.create_task(copy(far_reader, writer))]
        _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in left:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    except OSError:
        pass  # the target is away: so is this connection
    finally:
        for each in writers:
            each.close()


async def main(source, target):
    kind, host, port = source

    async def accepted(reader, writer):
        await carry(reader, writer, target)

    if kind == "unix":
        if os.path.exists(host):
            os.unlink(host)
        server = await asyncio.start_unix_server(accepted, host)
    else:
        server = await asyncio.start_server(accepted, host, port)
    await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    try:
        asyncio.run(main(parsed(sys.argv[1]), parsed(sys.argv[2])))
    except KeyboardInterrupt:
        pass
