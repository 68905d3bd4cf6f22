"""A relay in front of a service's two bus ports that can keep bytes back: what a process was about
to say when it died. hold() keeps what the service sends on one of them; the connection stays."""

import selectors
import socket
import threading

REQUESTS, PUBLICATIONS = 0, 1


class BusRelay:
    def __init__(self, host, port, target_host, target_port):
        self.address, self.target = f"tcp://{host}:{port}", (target_host, target_port)
        self.held = {REQUESTS: threading.Event(), PUBLICATIONS: threading.Event()}
        self.kept = {REQUESTS: 0, PUBLICATIONS: 0}  # bytes held back
        self.selector = selectors.DefaultSelector()
        self.ending = threading.Event()
        self.listeners = []
        for which in (REQUESTS, PUBLICATIONS):
            listener = socket.create_server((host, port + which))
            listener.setblocking(False)
            self.listeners.append(listener)
            self.selector.register(listener, selectors.EVENT_READ, (self._accept, which))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def hold(self, which):
        self.kept[which] = 0
        self.held[which].set()

    def _run(self):
        while not self.ending.is_set():
            for key, _ in self.selector.select(0.02):
                handler, argument = key.data
                handler(key.fileobj, argument)

    def _accept(self, listener, which):
        client, _ = listener.accept()
        try:
            server = socket.create_connection((self.target[0], self.target[1] + which), timeout=2)
        except OSError:
            client.close()
            return
        self.selector.register(client, selectors.EVENT_READ, (self._pass, (server, None)))
        self.selector.register(server, selectors.EVENT_READ, (self._pass, (client, which)))

    def _pass(self, source, argument):
        sink, which = argument
        try:
            data = source.recv(1 << 16)
            if data and which is not None and self.held[which].is_set():
                self.kept[which] += len(data)  # dies with the service
                return
            if data:
                sink.settimeout(5)
                sink.sendall(data)
                return
        except OSError:
            pass
        for each in (source, sink):
            try:
                self.selector.unregister(each)
            except (KeyError, ValueError):
                pass
            each.close()

    def close(self):
        self.ending.set()
        self.thread.join(5)
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
