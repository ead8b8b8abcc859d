"""Ports for servers that are processes: free ones that stay free until the server listens, and ones at which nothing listens."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def free_port() -> int:
    """A port below those that the system gives to outgoing connections, so that nothing takes it while no server has it."""
    for port in random.SystemRandom().sample(range(20_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses connections, and that nothing else can get."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # it does not listen
        yield held.getsockname()[1]
