"""Law 24: a change of a schedule is part of its commit's atom, and applies to one version of it only."""

from __future__ import annotations

import random
from itertools import count

from stepflow.drivers.port.commit import Commit, Committed
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleQuery, ScheduleRow
from stepflow.drivers.port.store import Store
from stepflow.errors import RevMismatch
from stepflow.testing.conformance.kit import FLOWS, NOW, Sessions, begun, creation, make, record, refused, step


def change(store: Store, schedule_id: str, version: int = 0, due: int | None = None, body: str | None = "{}") -> int:
    """Change a schedule, which may not be refused; its new version, 0 if it is deleted."""
    make(store, Commit(schedule=ScheduleChange(schedule_id, version, due, body)))
    found = store.read(ScheduleQuery(schedule_id))
    return found[0].version if found else 0


def first(store: Store) -> int | None:
    """When the first schedule is due."""
    return store.next_due(FLOWS, NOW).schedule


class ScheduleLaws:
    """What schedules do."""

    def test_law_24_schedules_come_back_as_they_were_given(self, sessions: Sessions) -> None:
        store = sessions.session()
        assert store.read(ScheduleQuery()) == []
        assert first(store) is None
        given = {
            "a": (None, ""),
            "A": (NOW, '{"ü": "\'\\"\\\\"}'),
            "nightly/ü \U0001f980": (NOW - 7, "x" * 100_000),
            "nul\0one\1": (NOW + (1 << 52), "\0\1\n\t"),
        }
        for name, (due, body) in given.items():
            change(store, name, 0, due, body)
        found = store.read(ScheduleQuery())
        assert [(row.id, row.due, row.body) for row in found] == [(name, *given[name]) for name in sorted(given)]
        assert all(row.version > 0 for row in found)
        for row in found:
            assert store.read(ScheduleQuery(row.id)) == [row]
        assert store.read(ScheduleQuery("nobody")) == []
        assert first(store) == NOW - 7
        assert sessions.driver.maintenance("").check() == []

    def test_law_24_pages_by_id_and_by_due_time(self, sessions: Sessions) -> None:
        store = sessions.session()
        for n in range(7):
            change(store, f"s{n}", 0, None if n == 3 else NOW - n)
        every = store.read(ScheduleQuery())
        assert [row.id for row in store.read(ScheduleQuery(limit=3))] == ["s0", "s1", "s2"]
        assert store.read(ScheduleQuery(after="s2", limit=3)) == every[3:6]
        assert store.read(ScheduleQuery(after="s6")) == []
        assert [row.id for row in store.read(ScheduleQuery(until=NOW - 2))] == ["s6", "s5", "s4", "s2"]
        assert [row.id for row in store.read(ScheduleQuery(until=NOW, limit=2))] == ["s6", "s5"]
        assert store.read(ScheduleQuery(until=NOW - 7)) == []

    def test_law_24_a_change_applies_to_the_version_that_it_names(self, sessions: Sessions) -> None:
        store, other = sessions.session(), sessions.session()
        version = change(store, "a", 0, NOW, "1")
        for wrong in (0, version + 1, version - 1):
            for body in ("2", None):
                error = refused(other, Commit(schedule=ScheduleChange("a", wrong, NOW, body)))
                assert isinstance(error, RevMismatch)
                assert error.ids == ["a"]
        assert isinstance(refused(store, Commit(schedule=ScheduleChange("b", 0, None, None))), RevMismatch)
        assert store.read(ScheduleQuery()) == [ScheduleRow("a", version, NOW, "1")]
        newer = change(other, "a", version, NOW + 5, "2")
        assert newer > version
        assert first(store) == NOW + 5
        assert isinstance(refused(store, Commit(schedule=ScheduleChange("a", version, NOW, "3"))), RevMismatch)
        assert change(store, "a", newer, None, "2") > newer
        assert first(other) is None

    def test_law_24_a_deleted_schedule_has_no_version_that_comes_again(self, sessions: Sessions) -> None:
        store = sessions.session()
        version = change(store, "a", 0, NOW, "1")
        assert change(store, "a", version, None, None) == 0
        assert first(store) is None
        make(store, Commit(schedule=ScheduleChange("a", 0, None, "2")))
        make_later = store.commit([Commit(schedule=ScheduleChange("b", 0, None, "2"))], NOW + 9)
        assert isinstance(make_later[0], Committed)
        assert isinstance(refused(store, Commit(schedule=ScheduleChange("b", version, NOW, "3"))), RevMismatch)

    def test_law_24_it_is_part_of_its_commits_atom(self, sessions: Sessions) -> None:
        store = sessions.session()
        version = change(store, "a", 0, NOW, "1")
        stale = creation("run")._replace(schedule=ScheduleChange("a", version + 1, None, "2"))
        assert isinstance(refused(store, stale), RevMismatch)
        assert store.load(["run"]) == [None]
        make(store, creation("run")._replace(schedule=ScheduleChange("a", version, NOW + 1, "2")))
        assert record(store, "run").row is not None
        (row,) = store.read(ScheduleQuery("a"))
        again = refused(store, creation("run")._replace(schedule=ScheduleChange("a", row.version, NOW + 2, "3")))
        assert isinstance(again, RevMismatch)
        assert again.ids == ["run"]
        assert store.read(ScheduleQuery("a")) == [row]
        held, rev = begun(store, "other")
        make(store, step(held, rev)._replace(schedule=ScheduleChange("a", row.version, None, None)))
        assert store.read(ScheduleQuery("a")) == []

    def test_law_24_of_changes_in_one_batch_one_applies(self, sessions: Sessions) -> None:
        store = sessions.session()
        version = change(store, "a", 0, NOW, "0")
        batch = [creation(f"run{n}")._replace(schedule=ScheduleChange("a", version, NOW + n, str(n))) for n in range(5)]
        results = store.commit([creation("before"), *batch, creation("after")], NOW)
        done = [n for n, result in enumerate(results) if isinstance(result, Committed)]
        assert len(done) == 3
        assert {0, 6} < set(done)
        (winner,) = set(done) - {0, 6}
        assert [found is not None for found in store.load([f"run{n}" for n in range(5)])].index(True) == winner - 1
        assert store.read(ScheduleQuery("a"))[0].body == str(winner - 1)

    def test_law_24_sessions_of_other_namespaces_have_their_own(self, sessions: Sessions) -> None:
        store, other = sessions.session(), sessions.session("other")
        change(store, "a", 0, NOW, "1")
        assert other.read(ScheduleQuery()) == []
        assert first(other) is None
        change(other, "a", 0, NOW + 3, "2")
        assert [row.body for row in store.read(ScheduleQuery())] == ["1"]
        assert (first(store), first(other)) == (NOW, NOW + 3)

    def test_law_24_many_changes_in_any_order(self, sessions: Sessions) -> None:
        store, chance, model = sessions.session(), random.Random(24), dict[str, ScheduleRow]()  # noqa: S311 - repeatable
        for n in count():
            if n == 150:
                break
            name = chance.choice("abcdef")
            known = model.get(name)
            version = 0 if known is None else known.version
            given = version + chance.choice([0, 0, 0, 1])
            due, body = chance.choice([None, NOW - n, NOW + n]), chance.choice([None, str(n), str(n)])
            (result,) = store.commit([Commit(schedule=ScheduleChange(name, given, due, body))], NOW + n)
            fits = given == version and (known is not None or body is not None)
            assert isinstance(result, Committed if fits else RevMismatch)
            if fits and body is None:
                del model[name]
            elif fits and body is not None:
                (found,) = store.read(ScheduleQuery(name))
                assert found == ScheduleRow(name, found.version, due, body)
                assert found.version > version
                model[name] = found
            dues = [row.due for row in model.values() if row.due is not None]
            assert first(store) == min(dues, default=None)
        assert store.read(ScheduleQuery()) == [model[name] for name in sorted(model)]
        assert sessions.driver.maintenance("").check() == []

    def test_law_8_schedules_are_durable_and_law_22_pruning_leaves_them(self, sessions: Sessions) -> None:
        store = sessions.session()
        version = change(store, "a", 0, NOW, "1")
        assert sessions.driver.maintenance("").prune(NOW + 10, 100) == 0
        store.close()
        assert sessions.session().read(ScheduleQuery()) == [ScheduleRow("a", version, NOW, "1")]
