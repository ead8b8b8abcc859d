"""Engines that are opened and closed leave no handler of forks behind."""

from __future__ import annotations

import gc
import os
from typing import Any

from stepflow import Engine
from stepflow.drivers.port import process_fork
from stepflow.drivers.port.store import Driver
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.sqlite import SqliteDriver


def test_no_handler_is_registered_per_engine(tmp_path, monkeypatch):
    registered: list[Any] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **handlers: registered.append(handlers))
    drivers: list[Driver] = [SqliteDriver(tmp_path / "x.db"), RocksdbDriver(tmp_path / "rocks")]
    for driver in drivers:
        with Engine(driver):
            pass
    before = list(process_fork._live)  # held here: what other tests have left may be freed at any time
    for _turn in range(3):
        for driver in drivers:
            with Engine(driver):
                pass
    gc.collect()
    assert registered == []
    assert [holder for holder in process_fork._live if not any(holder is other for other in before)] == []


def test_what_cannot_be_dropped_in_a_child_keeps_nothing_else_from_it():
    dropped = []

    class Holder:
        def after_fork(self) -> None:
            dropped.append(self)
            raise OSError("already closed")

    holders = Holder(), Holder()
    for holder in holders:
        process_fork.on_fork(holder)
    child = os.fork()
    if not child:
        os._exit(len(dropped))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
