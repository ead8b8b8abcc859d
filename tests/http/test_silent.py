"""A program that is not heard of any more: the server ends its session as that of a dead one. A server that is not heard of any more."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from stepflow.drivers.http import client
from stepflow.drivers.http.client import ServerClient
from stepflow.drivers.http.flowstate import messages
from stepflow.drivers.http.flowstate.client import FlowstateClient, Unanswered
from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.errors import StepflowError, Unavailable
from stepflow.testing.conformance.kit import FLOWS, NOW, creation, make
from tests.http.served import Served


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_a_silent_program_holds_is_free_and_counts_as_a_crash(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("stepflow.server.store_sessions.SILENT_S", 0.2)
    served = Served(MemoryDriver() if kind == "memory" else SqliteDriver(tmp_path / "store.db"))
    silent = served.driver.connect("", Owner("silent", "host", 1), NOW)
    other = served.driver.connect("", Owner("other", "host", 2), NOW)
    make(silent, creation("a"))
    (claim,) = silent.claim(FLOWS, NOW, 1)
    assert claim.row.crashes == 0
    while (record := other.load(["a"])[0]) is not None and record.row is not None and record.row.owner:
        pass  # each request shows that this program is alive; the time limit of the test is that of the wait
    assert record is not None
    assert record.row is not None
    assert record.row.crashes == 1
    now = silent.time()  # it is back: with another session
    assert now is not None
    assert [again.row.crashes for again in silent.claim(FLOWS, now, 1)] == [1]
    silent.close()
    other.close()
    served.close()


class Silent:
    """A server that takes requests, and answers none; `taken` counts them."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.asked = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    @property
    def taken(self) -> int:
        return len(self._open)

    def _take(self) -> None:
        while True:
            try:
                self._open.append(self._listener.accept()[0])
                self._open[-1].recv(1)
                self.asked.set()
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for taken in (self._listener, *self._open):
            taken.close()


def ask_stepflow(url: str) -> tuple[Any, Any]:
    own = ServerClient(url)
    return own, lambda writes: own.call("load", {"ids": []}, writes=writes)


def ask_flowstate(url: str) -> tuple[Any, Any]:
    own = FlowstateClient(url)
    return own, lambda writes: own.call("GetStates", (), messages.get_states(0, 1), writes=writes)


@pytest.mark.parametrize("asking", [ask_stepflow, ask_flowstate])
@pytest.mark.parametrize("writes", [False, True])
def test_a_session_that_ends_waits_once_for_a_server_that_does_not_answer(monkeypatch, asking, writes):
    """What an engine does at its end would else wait anew each time, and the stop take the sum."""
    monkeypatch.setattr(client, "LAST_READ_S", 0.1)
    monkeypatch.setattr(client, "READ_S", 0.1)
    monkeypatch.setattr(client, "RETRY_S", 0.0)
    silent = Silent()
    own, ask = asking(silent.url)
    own.hurry(ending=True)
    with pytest.raises((StepflowError, Unanswered), match="does not answer"):
        ask(writes)
    for _part in range(5):
        with pytest.raises(Unavailable, match="asked to end"):
            ask(writes)
    assert silent.taken == 1
    own.hurry(ending=False)
    with pytest.raises((StepflowError, Unanswered), match="timed out"):
        ask(writes)
    assert silent.taken == 2
    own.close()
    silent.close()


@pytest.mark.parametrize("asking", [ask_stepflow, ask_flowstate])
@pytest.mark.parametrize("writes", [False, True])
def test_a_request_that_was_sent_before_the_session_is_asked_to_end_is_given_up_then(monkeypatch, asking, writes):
    """It would else wait for the rest of READ_S: a supervisor kills the worker by then."""
    monkeypatch.setattr(client, "LAST_READ_S", 0.1)
    monkeypatch.setattr(client, "RETRY_S", 0.0)
    silent, told = Silent(), []
    own, ask = asking(silent.url)

    def request() -> None:
        try:
            ask(writes)
        except (StepflowError, Unanswered) as error:
            told.append(str(error))

    sent = threading.Thread(target=request)
    sent.start()
    silent.asked.wait()
    own.hurry(ending=True)
    sent.join(client.READ_S / 2)
    assert not sent.is_alive()
    assert ["timed out" in text for text in told] == [True]
    own.close()
    silent.close()
