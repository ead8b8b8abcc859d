"""A pooler of connections, as strict as PgBouncer: it refuses parameters that it does not know, and gives away connections."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from select import select

KNOWN = {"user", "database", "client_encoding", "application_name"}
SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
ASKS = {ord("Q"), ord("S")}  # messages after which the server tells that it is ready
READY = ord("Z")


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


class Peer:
    """One end of a connection, read message by message."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket, self._data = connected, b""

    def read(self) -> list[bytes]:
        """The messages that are complete now; waits for some bytes. Raises OSError at the end."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise OSError("closed")
        self._data += data
        found = []
        while len(self._data) >= 5:
            size = 1 + struct.unpack("!i", self._data[1:5])[0]
            if len(self._data) < size:
                break
            found.append(self._data[:size])
            self._data = self._data[size:]
        return found

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise OSError("closed")
            data += more
        return data


class Pooler:
    """Listens on a socket of its own. In `transaction` mode a client keeps a server connection for one transaction only.

    `turns` of idle server connections, as PgBouncer has it: the one used last (False) or longest ago (True) goes first.
    """

    def __init__(self, upstream: Path, mode: str, *, turns: bool = False) -> None:
        self._upstream, self._per_transaction, self._turns = (
            str(upstream / ".s.PGSQL.5432"),
            mode == "transaction",
            turns,
        )
        self.folder = Path(tempfile.mkdtemp(prefix="stepflow-pooler-"))
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.folder / ".s.PGSQL.5432"))
        self._socket.listen()
        self._lock = threading.Lock()
        self._idle: list[Peer] = []
        self._closed = False
        self._greeting = b""  # the parameters that the server reported
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()
        shutil.rmtree(self.folder)
        with self._lock:
            self._closed = True
            for peer in self._idle:
                peer.socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _address = self._socket.accept()
                threading.Thread(target=self._serve, args=(Peer(client),), daemon=True).start()

    def _serve(self, client: Peer) -> None:
        server: Peer | None = None
        try:
            parameters = self._started(client)
            unknown = sorted(parameters.keys() - KNOWN)
            if unknown:
                text = f"SFATAL\0C08P01\0Munsupported startup parameter: {unknown[0]}\0\0"
                client.socket.sendall(message(b"E", text.encode()))
                return
            server = self._take(parameters)
            greeting = message(b"R", struct.pack("!i", 0)) + self._greeting + message(b"K", os.urandom(8))
            if self._per_transaction:
                server = self._give(server)
            client.socket.sendall(greeting + message(b"Z", b"I"))
            waits = 0
            while True:
                ends = [client.socket] + ([server.socket] if server else [])
                readable, _writable, _failed = select(ends, [], [])
                if client.socket in readable:
                    for part in client.read():
                        if part[:1] == b"X":
                            return
                        server = server or self._take(parameters)
                        waits += part[0] in ASKS
                        server.socket.sendall(part)
                elif server is not None:
                    parts = server.read()
                    waits -= sum(part[0] == READY for part in parts)
                    if self._per_transaction and not waits and parts[-1:] == [message(b"Z", b"I")]:
                        server = self._give(server)  # before the client knows: its next statement may go to another one
                    client.socket.sendall(b"".join(parts))
        except OSError:
            pass
        finally:
            client.socket.close()
            if server is not None:
                server.socket.close()

    def _started(self, client: Peer) -> dict[str, str]:
        """The parameters of a client's first message."""
        while True:
            (size,) = struct.unpack("!i", client.exactly(4))
            body = client.exactly(size - 4)
            if struct.unpack("!i", body[:4])[0] not in (SSL_REQUEST, GSS_REQUEST):
                words = body[4:].decode().split("\0")
                return {name: value for name, value in zip(words[::2], words[1::2], strict=False) if name}
            client.socket.sendall(b"N")

    def _take(self, parameters: dict[str, str]) -> Peer:
        with self._lock:
            if self._idle:
                return self._idle.pop(0 if self._turns else -1)
        connected = socket.socket(socket.AF_UNIX)
        try:
            return self._connected(connected, parameters)
        except OSError:
            connected.close()
            raise

    def _connected(self, connected: socket.socket, parameters: dict[str, str]) -> Peer:
        connected.connect(self._upstream)
        server = Peer(connected)
        words = "".join(f"{name}\0{value}\0" for name, value in parameters.items()) + "\0"
        body = struct.pack("!i", 196608) + words.encode()
        connected.sendall(struct.pack("!i", len(body) + 4) + body)
        reported: list[bytes] = []
        while not reported or reported[-1][0] != READY:
            reported += server.read()
        self._greeting = b"".join(part for part in reported if part[:1] == b"S")
        return server

    def _give(self, server: Peer) -> None:
        with self._lock:
            if self._closed:  # the thread of a client may come to the end of a transaction that late
                server.socket.close()
            else:
                self._idle.append(server)
