"""The command line on one SQLite file: several workers, and what the other verbs tell of them."""

from __future__ import annotations

from pathlib import Path

from stepflow import Engine
from tests.processes import flows
from tests.processes.checks import start_many
from tests.processes.commands import doctor, share_by_command, tell_everything, tell_of_a_block, tell_of_a_death
from tests.processes.harness import Nursery


def test_workers_started_by_command_share_without_doing_anything_twice(nursery: Nursery) -> None:
    share_by_command(nursery, runs=40, workers=2)


def test_explain_tells_who_holds_a_run_and_what_moves_it_on(nursery: Nursery) -> None:
    tell_everything(nursery)


def test_explain_show_and_list_tell_that_the_holder_of_a_run_died(nursery: Nursery) -> None:
    tell_of_a_death(nursery)


def test_explain_and_doctor_tell_of_a_definition_that_is_missing(nursery: Nursery) -> None:
    tell_of_a_block(nursery)


def test_the_doctor_looks_at_a_rocksdb_store_and_at_who_has_it_open(tmp_path: Path) -> None:
    url = f"rocksdb:///{tmp_path / 'store'}"
    start_many(url, flows.sync_chain, 3)
    assert doctor(url)["store"]["found"] == f"{url} is sound, 3 runs"
    with Engine(url):
        assert doctor(url)["store"]["ok"]  # within one process it is shared
    for table in (tmp_path / "store").rglob("*.sst"):
        table.write_bytes(b"nonsense")
    for log in (tmp_path / "store").rglob("MANIFEST*"):
        log.write_bytes(b"nonsense")
    found = doctor(url, code=3)["store"]
    assert str(tmp_path / "store") in found["found"]
