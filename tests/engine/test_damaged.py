"""A store of which a row is damaged, or missing: only the run that needs it is blocked, nothing of it is overwritten, and the others go on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rocksdict import Options, Rdict

from stepflow import CodecError, Context, Engine, Status, named, workflow
from stepflow.drivers.rocksdb.keys import Keys, text
from stepflow.testing import VirtualClock
from tests.postgres.server import Server

ORDER = named("order.v1", dict).do("bill", lambda order: order.update(billed=True)).compile()
Damage = Callable[[str, str, str], str]
"""Replaces a column (transition, labels or annotations) of the newest State of a run; the first argument is its id, the result what was there."""

COLUMNS = ("transition", "labels", "annotations")


@workflow("report.v1")
def report(wf: Context, number: int) -> int:
    return wf.execute("double", double, number)


def double(number: int) -> int:
    return 2 * number


FLOWS = (ORDER, report)
TEXTS = {
    "no JSON": "garbage",
    "nothing": "",
    "a list": "[]",
    "a number": "5",
    "other values": '{"to":5,"annotations":6,"k":7}',
    "a deep one": "[" * 100_000,
}
NOTES = {
    "a position": '{"annotations":{"stepflow.state":"garbage"},"to":"order.v1"}',
    "another position": '{"annotations":{"stepflow.state":"[5]"},"to":"order.v1"}',
    "a deadline": '{"annotations":{"stepflow.deadline":"soon"},"to":"order.v1"}',
    "an attempt": '{"annotations":{"stepflow.attempt":"first"},"to":"order.v1"}',
    "an error": '{"annotations":{"stepflow.error":"[]"},"to":"order.v1"}',
    "the events of a wait": '{"annotations":{"stepflow.waiting":"event:a","stepflow.also":"b"},"to":"order.v1"}',
    "a status of another version": '{"annotations":{"stepflow.status":"archived"},"to":""}',
}


def in_sqlite(path: Path) -> tuple[str, Damage]:
    def damage(run_id: str, column: str, stored: str) -> str:
        with closing(sqlite3.connect(path)) as program:
            (before,) = program.execute(f"SELECT {column} FROM stepflow_states WHERE id = ?", (run_id,)).fetchone()
            program.execute(f"UPDATE stepflow_states SET {column} = ? WHERE id = ?", (stored, run_id))
            program.commit()
        return str(before)

    return f"sqlite:///{path}", damage


def in_postgres(url: str) -> tuple[str, Damage]:
    where, schema = url.split("&schema=")

    def damage(run_id: str, column: str, stored: str) -> str:
        with psycopg.connect(where) as program:
            (before,) = program.execute(
                f"select {column} from {schema}.states where id = %s", (run_id,)
            ).fetchone() or ("",)
            program.execute(f"update {schema}.states set {column} = %s where id = %s", (stored, run_id))
        return str(before)

    return url, damage


def in_rocksdb(path: Path) -> tuple[str, Damage]:
    def damage(run_id: str, column: str, stored: str) -> str:
        db = Rdict(str(path), Options(raw_mode=True))
        prefix = Keys("").history + text(run_id)
        key = max(key for key in list(db.keys()) if key.startswith(prefix))
        parts = db[key].split(b"\0", 7)
        number = 4 + COLUMNS.index(column)
        before, parts[number] = parts[number], stored.encode()
        db[key] = b"\0".join(parts)
        db.close()
        return before.decode()

    return f"rocksdb:///{path}", damage


@pytest.fixture(params=["sqlite", "postgres", "rocksdb"])
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Damage]:
    """The URL of a store, and what changes a row in it while no engine has it open."""
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        return in_postgres(server.url())
    return in_sqlite(tmp_path / "runs.db") if request.param == "sqlite" else in_rocksdb(tmp_path / "store")


WAYS = [(column, stored) for column in COLUMNS for stored in TEXTS.values()]
WAYS += [("transition", stored) for stored in NOTES.values()]


def test_a_run_whose_state_cannot_be_read_is_blocked_and_the_others_go_on(damaged: tuple[str, Damage]):
    (url, damage), clock = damaged, VirtualClock()
    bad = {f"bad-{number}": way for number, way in enumerate(WAYS)} | {"bad-report": ("transition", "garbage")}
    with Engine(url, clock=clock) as engine:
        engine.register(*FLOWS)
        for name in ("good", *bad):
            if name != "bad-report":
                engine.start(ORDER, {"amount": 1}, id=name, labels={"shop": "a"})
        for name in ("good-report", "bad-report"):
            engine.start(report, 2, id=name)
    for name, (column, stored) in bad.items():
        damage(name, column, stored)
    with Engine(url, clock=clock) as engine:
        engine.register(*FLOWS)
        engine.run_until_idle()
        found = {run.id: run for run in engine.runs(limit=1000)}
        statuses = {name: str(run.status) for name, run in found.items()}
        assert statuses == dict.fromkeys(bad, "blocked") | {"good": "completed", "good-report": "completed"}
        assert engine.tally() == {
            "order.v1": {"completed": 1, "blocked": len(WAYS)},
            "report.v1": {"completed": 1, "blocked": 1},
        }
        for name, (column, _stored) in bad.items():
            run = engine.get(name)
            blocked = run.info().blocked
            assert blocked is not None
            assert (blocked.kind, run.status()) == ("unreadable", Status.BLOCKED)
            assert f"run {name!r}: its stored {column} cannot be read" in blocked.text
            assert f"its stored {column} cannot be read" in found[name].unreadable
            assert "stepflow rewind" in run.explain()
            for refused in (run.redrive, run.wake):
                with pytest.raises(CodecError, match=f"run {name!r}: its stored {column} cannot be read"):
                    refused()
            assert [entry.rev for entry in run.history()]
            assert run.timeline()
    for name, (column, stored) in bad.items():
        assert damage(name, column, "again") == stored


def test_a_run_whose_state_cannot_be_read_goes_back_to_an_earlier_revision(damaged: tuple[str, Damage]):
    (url, damage), clock = damaged, VirtualClock()
    flow = named("two.v1", dict).do("a", lambda order: order.update(a=1)).wait_event("go", "go", int, put).compile()
    with Engine(url, clock=clock) as engine:
        engine.register(flow)
        for name in ("rewound", "forked", "cancelled"):
            engine.start(flow, {}, id=name, labels={"shop": "a"})
        engine.run_until_idle()
        revs = {name: engine.get(name).history()[0].rev for name in ("rewound", "forked")}
        newest = engine.get("rewound").info().rev
    for name in ("rewound", "forked", "cancelled"):
        damage(name, "transition", "garbage")
        damage(name, "labels", "garbage")
    with Engine(url, clock=clock) as engine:
        engine.register(flow)
        if engine.get("rewound").history()[-1].unreadable:  # else the store has the State in its history, too
            with pytest.raises(CodecError, match=f"at revision {newest}, its stored transition cannot be read"):
                engine.get("rewound").rewind(rev=newest)
        engine.get("rewound").rewind(rev=revs["rewound"])
        engine.get("forked").fork(rev=revs["forked"], id="copy")
        engine.get("cancelled").cancel()
        engine.run_until_idle()
        for name in ("rewound", "copy"):
            engine.get(name).publish("go", 7)
        engine.run_until_idle()
        done = {name: engine.get(flow, name).result() for name in ("rewound", "copy")}
        assert done == {name: {"a": 1, "go": 7} for name in ("rewound", "copy")}
        assert engine.get("rewound").info().labels == engine.get("copy").info().labels == {"shop": "a"}
        assert engine.get("cancelled").status() is Status.CANCELLED


def put(order: dict[str, Any], number: int) -> None:
    order["go"] = number


def test_a_run_whose_exchange_is_gone_is_blocked_and_the_others_go_on(tmp_path: Path):
    path = tmp_path / "shop.db"
    with Engine(f"sqlite:///{path}") as engine:
        engine.register(ORDER)
        for name in ("good", "bad"):
            engine.start(ORDER, {"amount": 1}, id=name)
    with closing(sqlite3.connect(path)) as program:
        program.execute("DELETE FROM stepflow_history WHERE id = 'bad'")
        program.commit()
    with Engine(f"sqlite:///{path}") as engine:
        engine.register(ORDER)
        engine.run_until_idle()
        assert (engine.get("good").status(), engine.get("bad").status()) == (Status.COMPLETED, Status.BLOCKED)
        assert engine.get("good").exchange() == {"amount": 1, "billed": True}
