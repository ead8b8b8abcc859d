"""Stands between a session and the server, and cuts a connection just after the server did what it was told."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

READY = b"Z\x00\x00\x00\x05I"  # for the next statement, outside of a transaction
DONE = (b"SELECT ", b"COMMIT\x00")  # tags of what was executed, and not only prepared


class Proxy:
    """Listens on a socket of its own; `cut(needle)` ends the next connection that sends these bytes, before the answer."""

    def __init__(self, upstream: Path) -> None:
        self._upstream = str(upstream / ".s.PGSQL.5432")
        self.folder = Path(tempfile.mkdtemp(prefix="stepflow-proxy-"))
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.folder / ".s.PGSQL.5432"))
        self._socket.listen()
        self._needle = b""
        self._refusing = self._then_refuse = False
        self._held: list[socket.socket] | None = None  # connections that nothing answers, from `hold` to `pass_on`
        self._servers: list[socket.socket] = []
        self._muted: set[socket.socket] = set()
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, needle: bytes, *, then_refuse: bool = False) -> None:
        """Cut once; with `then_refuse` there is no new connection afterwards either."""
        self._needle, self._then_refuse = needle, then_refuse

    def mute(self) -> None:
        """Lose the server's side of all connections that there are, and keep the client's side open: no answer comes."""
        self._muted.update(self._servers)
        for server in self._servers:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Answer no connection that there is, and none that is made from now on."""
        self._held = []
        self.mute()

    def pass_on(self) -> None:
        """New connections are served again."""
        for client in self._held or ():
            client.close()
        self._held = None

    @property
    def holds(self) -> bool:
        """Whether connections that are made now get no answer."""
        return self._held is not None

    @property
    def held(self) -> int:
        """How many connections were made since `hold`."""
        return len(self._held or ())

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._socket.accept()
            except OSError:
                return
            if self._held is not None:
                self._held.append(client)
                continue
            if self._refusing:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._upstream)
            self._servers.append(server)
            cutting = threading.Event()
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target, client, cutting), daemon=True).start()

    def _pump(
        self, source: socket.socket, target: socket.socket, client: socket.socket, cutting: threading.Event
    ) -> None:
        seen = b""
        try:
            while data := source.recv(1 << 16):
                if self._muted & {source, target}:
                    continue
                if source is client:
                    if self._needle and self._needle in data:
                        self._needle = b""
                        cutting.set()
                elif cutting.is_set():
                    seen += data
                    if not seen.endswith(READY):
                        continue
                    if any(tag in seen for tag in DONE):
                        self.cuts += 1
                        self._refusing = self._then_refuse
                        return
                    data, seen = seen, b""
                target.sendall(data)
        except OSError:
            pass
        finally:
            lost = {source} if self._muted & {source} else {source, target}
            for end in lost:  # shut down: the other thread waits at the same sockets
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self) -> None:
        self.pass_on()
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()
        shutil.rmtree(self.folder)
