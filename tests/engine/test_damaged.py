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

from stepflow import CodecError, Context, Engine, Limit, Status, named, workflow
from stepflow.drivers.port import inbox
from stepflow.drivers.port.commit import Commit, Created, Enqueue, Write
from stepflow.drivers.port.inbox import dump
from stepflow.drivers.rocksdb.keys import Keys, text
from stepflow.model.state import POSITION, State, Transition
from stepflow.testing import VirtualClock
from tests.http.served import Served
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
    "a pass": '{"annotations":{"stepflow.renewed":"many"},"to":"order.v1"}',
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


@pytest.fixture(params=["sqlite", "postgres"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Callable[[str], list[Any]]]:
    """The URL of a store with SQL, and what executes a statement on it, in which `@` begins the name of a table."""
    if request.param == "sqlite":
        path = tmp_path / "runs.db"

        def in_file(statement: str) -> list[Any]:
            with closing(sqlite3.connect(path)) as program, program:
                return program.execute(statement.replace("@", "stepflow_")).fetchall()

        return f"sqlite:///{path}", in_file
    server: Server = request.getfixturevalue("postgres")
    url = server.url()
    where, schema = url.split("&schema=")

    def on_server(statement: str) -> list[Any]:
        with psycopg.connect(where) as program:
            cursor = program.execute(statement.replace("@", f"{schema}."))  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    return url, on_server


@pytest.mark.parametrize(
    "damage",
    [
        "delete from @history where id = 'bad'",
        "update @queue set limits = 'garbage' where id = 'bad'",
        "update @queue set limits = '[[5]]' where id = 'bad'",
        "update @history set exchange = 'garbage' where id = 'bad'",
        "update @history set transition = 'garbage', labels = '[1]' where id = 'bad'",
        "insert into @owners (shard, id, host, pid, beat, flows) select shard, 'o', 'h', 1, 1, 'garbage' from @states limit 1",
        "insert into @tallied (shard, rev, prunings, counts) select shard, 1, 0, 'garbage' from @states limit 1",
        "insert into @tallied (shard, rev, prunings, counts) select shard, 1, 0, '[[1,2]]' from @states limit 1",
    ],
    ids=lambda statement: statement[:60],
)
def test_a_damaged_row_keeps_no_other_run_from_anything(tables: tuple[str, Callable[[str], list[Any]]], damage: str):
    others_complete_after(damage, *tables)


@pytest.mark.parametrize(
    "damage", ["update @queue set id = 'nobody' where id = 'bad'", "delete from @states where id = 'bad'"]
)
def test_a_row_of_the_queue_without_a_run_is_blocked(tables: tuple[str, Callable[[str], list[Any]]], damage: str):
    url, execute = tables
    others_complete_after(damage, url, execute)
    ((blocked,),) = execute("select blocked from @queue")
    assert "there is a row of the queue, but no run" in blocked


def test_a_run_whose_exchange_is_gone_is_blocked_and_every_verb_says_so(tables: tuple[str, Callable[[str], list[Any]]]):
    (url, execute), clock = tables, VirtualClock()
    with Engine(url, clock=clock) as engine:
        engine.register(ORDER)
        engine.start(ORDER, {}, id="done")
        engine.run_until_idle()
        for name in ("good", "bad"):
            engine.start(ORDER, {"amount": 1}, id=name)
    execute("delete from @history where id in ('bad', 'done')")
    with Engine(url, clock=clock) as engine:
        engine.register(ORDER)
        engine.run_until_idle()
        assert engine.get("good").exchange() == {"amount": 1, "billed": True}
        bad, done = engine.get("bad"), engine.get("done")
        assert (bad.status(), done.status()) == (Status.BLOCKED, Status.COMPLETED)
        assert all("its stored exchange is missing" in run.explain() for run in (bad, done))
        for verb in (bad.exchange, bad.redrive, done.result):
            with pytest.raises(CodecError):
                verb()
        bad.cancel()
        assert bad.status() is Status.CANCELLED


def others_complete_after(damage: str, url: str, execute: Callable[[str], object]) -> None:
    """The others of three runs complete after this statement, lists and tallies have them."""
    clock = VirtualClock()
    with Engine(url, clock=clock) as engine:
        engine.register(ORDER)
        for name in ("bad", "good", "fine"):
            engine.start(ORDER, {"amount": 1}, id=name, labels={"shop": "a"}, limits=[Limit(f"of-{name}", 1)])
    if "@tallied" in damage:
        execute("delete from @tallied")
    if "@owners" in damage and url.startswith("postgresql:"):
        damage = damage.replace("beat, flows", "beat, locks, flows").replace("1, 1,", "1, 1, false,")
    execute(damage)
    with Engine(url, clock=clock) as engine:
        engine.register(ORDER)
        for _time in range(3):
            engine.run_until_idle()
            clock.advance(60)
        assert [engine.get(name).status() for name in ("good", "fine")] == [Status.COMPLETED] * 2
        assert {"good", "fine"} <= {run.id for run in engine.runs()}
        assert engine.tally()["order.v1"]["completed"] >= 2


def test_what_was_posted_and_cannot_be_read_becomes_a_conflict(tables: tuple[str, Callable[[str], list[Any]]]):
    (url, execute), clock = tables, VirtualClock()
    with Engine(url, clock=clock) as engine:
        engine.register(ORDER)
        engine.start(ORDER, {"amount": 1}, id="before")
        engine.run_until_idle()
    for number, body in enumerate(("garbage", "[]", '{"writes":[]}', '{"writes":[{"id":5}]}'), 1):
        execute(
            f"insert into @inbox (shard, seq, body) select shard, {number}, '{body}' from @states where id = 'before'"
        )
    with Engine(url, clock=clock) as engine:
        engine.register(ORDER)
        engine.start(ORDER, {"amount": 1}, id="after")
        engine.run_until_idle()
        assert engine.get("after").status() is Status.COMPLETED
    assert execute("select posted, body from @conflicts order by seq") == [
        ("unreadable", body) for body in ("garbage", "[]", '{"writes":[]}', '{"writes":[{"id":5}]}')
    ]


def test_what_an_older_version_could_not_read_takes_place_when_it_can_be_read(
    tables: tuple[str, Callable[[str], list[Any]]], monkeypatch: pytest.MonkeyPatch
):
    (url, execute), clock = tables, VirtualClock()
    with Engine(url, clock=clock) as engine:
        engine.register(ORDER)
        engine.start(ORDER, {"amount": 1}, id="before")
        engine.run_until_idle()
    posts = [
        dump(Commit(writes=(start_of(name),), queue=(Enqueue(name, "order.v1", 1),))) for name in ("first", "second")
    ]
    for seq, body in enumerate((*posts, "garbage"), 1):
        execute(f"insert into @inbox (shard, seq, body) select shard, {seq}, '{body}' from @states where id = 'before'")
    with Engine(url, clock=clock) as engine, monkeypatch.context() as older:
        older.setattr(inbox, "_parsed", older_version)
        engine.register(ORDER)
        engine.start(ORDER, {"amount": 1}, id="after")
        engine.run_until_idle()
    assert execute("select posted, body from @conflicts order by seq") == [
        ("unreadable", body) for body in (*posts, "garbage")
    ]
    last = dump(Commit(writes=(start_of("third"),), queue=(Enqueue("third", "order.v1", 1),)))
    execute(f"insert into @inbox (shard, seq, body) select shard, 9, '{last}' from @states where id = 'before'")
    with Engine(url, clock=clock) as engine:
        engine.register(ORDER)
        engine.run_until_idle()
        assert {run.id for run in engine.runs()} == {"before", "after", "first", "second", "third"}
    assert execute("select posted, body from @conflicts order by seq") == [("unreadable", "garbage")]


def start_of(run_id: str) -> Write:
    created = Created("order.v1", "hash", 1)
    return Write(State(run_id, 0, Transition("order.v1", {POSITION: '["order.v1"]'})), "{}", created)


def older_version(body: str) -> tuple[Commit, int]:
    raise KeyError("born")


@pytest.mark.parametrize("record", [b"garbage", b"", b"[1]", b"[9,1,2]", b"9\x001\x001", b"\xff\xfe"])
@pytest.mark.parametrize("kind", ["runs", "history", "events", "counts"])
def test_a_damaged_record_of_rocksdb_keeps_no_other_run_from_anything(tmp_path: Path, kind: str, record: bytes):
    path, clock, prefix = tmp_path / "store", VirtualClock(), getattr(Keys(""), kind)
    flow = named("waits.v1", dict).wait_event("go", "go", int, put).compile()
    with Engine(f"rocksdb:///{path}", clock=clock) as engine:
        engine.register(ORDER, flow)
        for name in ("bad", "good"):
            engine.start(flow, {}, id=f"{name}-waits")
        engine.run_until_idle()
        for name in ("bad", "good"):
            engine.get(f"{name}-waits").publish("go", 5)
            engine.start(ORDER, {}, id=name)
    db = Rdict(str(path), Options(raw_mode=True))
    damaged = [key for key in list(db.keys()) if key.startswith(prefix) and (kind == "counts" or b"bad" in key)]
    assert damaged
    for key in damaged:
        db[key] = record
    db.close()
    with Engine(f"rocksdb:///{path}", clock=clock) as engine:
        engine.register(ORDER, flow)
        engine.run_until_idle()
        statuses = {run.id: run.status for run in engine.runs()}
        hit = () if kind == "counts" else ("bad-waits",) if kind == "events" else ("bad", "bad-waits")
        assert statuses == dict.fromkeys(statuses, Status.COMPLETED) | dict.fromkeys(hit, Status.BLOCKED)
        assert len(statuses) == 4
        for name in hit if kind != "events" else ():
            assert engine.get(name).info().unreadable
            assert "stepflow rewind" in engine.get(name).explain()
            assert engine.get(name).history()[-1].unreadable or kind == "runs"
    db = Rdict(str(path), Options(raw_mode=True))
    assert kind == "counts" or {db[key] for key in damaged} == {record}
    db.close()


def test_a_run_whose_state_cannot_be_read_is_blocked_by_a_worker_behind_a_server(tmp_path: Path):
    (url, damage), clock = in_sqlite(tmp_path / "runs.db"), VirtualClock()
    with Engine(url, clock=clock) as engine:
        for name in ("good", *COLUMNS):
            engine.start(ORDER, {"amount": 1}, id=name, labels={"shop": "a"})
    for column in COLUMNS:
        damage(column, column, "garbage")
    served = Served(url)
    try:
        with Engine(served.url, clock=clock) as engine:
            engine.register(ORDER)
            engine.run_until_idle()
            found = {run.id: run for run in engine.runs()}
            assert {name: str(run.status) for name, run in found.items()} == {
                "good": "completed",
                **dict.fromkeys(COLUMNS, "blocked"),
            }
            assert all(f"stored {column} cannot be read" in found[column].unreadable for column in COLUMNS)
    finally:
        served.close()
    for column in COLUMNS:
        assert damage(column, column, "again") == "garbage"
