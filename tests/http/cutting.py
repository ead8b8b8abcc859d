"""Cutter: a proxy that cuts connections where a test asks for it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress


class Cutter:
    """A proxy that hands requests on. It cuts the connection instead of handing back an answer that `cuts` selects, and instead
    of handing on a request that `drops` selects. A server that dies before it has answered breaks its client's connection, too.
    """

    def __init__(self, port: int, cuts: Callable[[bytes], bool], drops: Callable[[bytes], bool] | None = None) -> None:
        self._port, self.cuts, self._drops = port, cuts, drops or (lambda _request: False)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._hand_on, args=(client,), daemon=True).start()

    def _hand_on(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as server:  # it may be down
            while request := _message(client):
                if self._drops(request):
                    self.cut += 1
                    return
                server.sendall(request)
                if not (answer := _message(server)):
                    return
                if self.cuts(request):
                    self.cut += 1
                    return
                client.sendall(answer)

    def close(self) -> None:
        self._socket.close()


def _message(sock: socket.socket) -> bytes:
    """One HTTP message with its body; empty if the connection ends before that does."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        if not (part := sock.recv(65536)):
            return b""
        raw += part
    head, _blank, body = raw.partition(b"\r\n\r\n")
    sizes = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(sizes[0]):
        if not (part := sock.recv(65536)):
            return b""
        body += part
    return head + b"\r\n\r\n" + body
