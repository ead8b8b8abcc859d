"""A program that is not heard of any more: the server ends its session as that of a dead one."""

from __future__ import annotations

import pytest

from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.sqlite import SqliteDriver
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
