#!/usr/bin/env python3
"""Relays that lose, repeat and exchange messages on purpose, to see whether a load test notices.

FaultyWs stands between clients and Pipit's WebSocket, FaultyRest between them and its REST API; each
counts the messages that pass it to clients and damages some. As a program it runs both until it is
ended:  faulty_relay.py REST_PORT WS_PORT http://127.0.0.1:8080 ws://127.0.0.1:8083/v1/ws
"""

import asyncio
import http.server
import json
import sys
import threading
import urllib.error
import urllib.request

import websockets

PERIOD = 9  # of this many messages one is lost, one comes twice and two change places


class FaultyWs:
    """pipit.v1 through and through, except for some of the msg frames."""

    def __init__(self, port, target):
        self.port, self.target = port, target
        self.url = f"ws://127.0.0.1:{port}/v1/ws"
        self.passed = 0
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10), "the relay did not start"
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join(10)

    def _run(self):
        self.loop.run_until_complete(self._serve())

    async def _serve(self):
        self.ended = asyncio.Event()
        async with websockets.serve(self._client, "127.0.0.1", self.port, subprotocols=["pipit.v1"]):
            self.ready.set()
            await self.ended.wait()

    async def _client(self, client, _path=None):
        async with websockets.connect(self.target, subprotocols=["pipit.v1"]) as server:
            there = asyncio.ensure_future(self._requests(client, server))
            back = asyncio.ensure_future(self._frames(client, server))
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            there.cancel()
            back.cancel()

    async def _requests(self, client, server):
        async for frame in client:
            await server.send(frame)

    async def _frames(self, client, server):
        held = None
        async for frame in server:
            if json.loads(frame)["t"] != "msg":
                await client.send(frame)
                continue
            self.passed += 1
            turn = self.passed % PERIOD
            if turn == 3:
                continue  # lost
            if turn == 7 and held is None:
                held = frame  # changes places with this client's next one
                continue
            for _ in range(2 if turn == 5 else 1):
                await client.send(frame)
            if held is not None:
                await client.send(held)
                held = None


class FaultyRest:
    """REST through and through, except that every PERIODth message is missing in histories."""

    def __init__(self, port, target):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            passed = 0

            def relay(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name: self.headers[name] for name in ("Authorization", "Content-Type")
                           if name in self.headers}
                request = urllib.request.Request(target + self.path, body or None, headers, method=self.command)
                try:
                    with urllib.request.urlopen(request, timeout=30) as answer:
                        status, content = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, content = error.code, error.read()
                if self.command == "GET" and "/messages?" in self.path and status == 200:
                    content = self.damaged(content)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = relay

            def damaged(self, content):
                page = json.loads(content)
                kept = []
                for item in page["items"]:
                    Handler.passed += 1
                    if Handler.passed % PERIOD:
                        kept.append(item)
                page["items"] = kept
                return json.dumps(page).encode()

            def log_message(self, *_):
                pass

        self.url = f"http://127.0.0.1:{port}"
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def main():
    rest_port, ws_port, rest, ws = sys.argv[1:]
    with FaultyRest(int(rest_port), rest), FaultyWs(int(ws_port), ws):
        threading.Event().wait()


if __name__ == "__main__":
    main()
