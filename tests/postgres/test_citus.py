"""The statements for Citus: each is of one shard, or a plain read of one table; on a plain server they do what the usual ones do.

No package brings Citus along, so what its planner accepts is checked on the plans that PostgreSQL makes of the same texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from stepflow import Engine, Status, named
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.queries import RunQuery, TallyQuery
from stepflow.drivers.port.step import Member
from stepflow.drivers.postgres import PostgresDriver, inbox
from stepflow.drivers.postgres.citus import DISTRIBUTED, REFERENCE
from stepflow.drivers.postgres.connection import PostgresConnection
from stepflow.errors import StoreError
from stepflow.testing import VirtualClock
from stepflow.testing.conformance import DriverMachine, LimitsMachine
from stepflow.testing.conformance.kit import NOW, creation, make
from stepflow.testing.conformance.model.sides import Side
from tests.postgres import hot
from tests.postgres.server import Server

SHORT = settings(
    max_examples=3, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
ORDER = named("order.v1", dict).do("bill", lambda order: order.update(billed=True)).compile()
SCHEMA = "citus"
LISTS = (
    RunQuery(hot.NOW, labels={"k": "1"}),
    RunQuery(hot.NOW, flow="f.v1", ascending=True, scan=1, changed_since=1),
    RunQuery(hot.NOW, order="id", prefix="r", scan=1, changed_since=1),
    RunQuery(hot.NOW, order="due", scan=1, changed_since=1),
    RunQuery(hot.NOW, ids=("early-1", "r")),
    RunQuery(hot.NOW, prefix="r"),
    RunQuery(hot.NOW, status=("blocked",)),
    RunQuery(hot.NOW, status=("paused", "queued")),
    RunQuery(hot.NOW, awaits=True),
)
Sent = Mapping[str, Sequence[object]]
"""The texts that were sent, each with the values of one time."""


def distributed(server: Server) -> PostgresDriver:
    """A store whose sessions take it for a distributed one: their statements are those for Citus."""
    url = server.empty(SCHEMA, shards=3)
    note = f"insert into {SCHEMA}.meta values ('citus', 1) on conflict do nothing"
    try:
        server.execute(note)
    except psycopg.errors.UndefinedTable:
        PostgresDriver(url).connect("", Owner("first", "host", 1), NOW).close()
        server.execute(note)
    return PostgresDriver(url)


def distributed_again(server: Server) -> PostgresDriver:
    """The same store for another engine."""
    return PostgresDriver(server.url(SCHEMA, shards=3))


class CitusMachine(DriverMachine):
    """The same answers as the memory model's, but for the order of revisions in a batch, which is that of its shards."""

    server: Server

    def make_driver(self) -> PostgresDriver:
        return distributed(self.server)

    def commit(self, batches: Callable[[Side], Sequence[Member]]) -> None:
        size = len(batches(self.sides[0]))
        for number in range(size):
            super().commit(lambda side, number=number: [batches(side)[number]])  # type: ignore[misc]


class CitusLimits(LimitsMachine):
    server: Server

    def make_driver(self) -> PostgresDriver:
        return distributed(self.server)


@pytest.fixture(scope="module")
def sent(server: Server) -> Sent:
    """Everything that sessions send while they do what the port has."""
    found: dict[str, Sequence[object]] = {}
    usual = psycopg.Connection.execute

    def recording(self: Any, query: Any, params: Any = None, **how: Any) -> Any:
        found.setdefault(query, params or ())
        return usual(self, query, params, **how)

    distributed(server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresConnection, "execute", recording, raising=False)
        CitusMachine.server = CitusLimits.server = server
        run_state_machine_as_test(CitusMachine, settings=SHORT)
        run_state_machine_as_test(CitusLimits, settings=SHORT)
        driver = distributed(server)
        store: Any = driver.connect("", Owner("hot", "host", 1), hot.NOW)
        hot.Hot(store, "hot").everything(4)
        for query in LISTS:
            store.read(query)
        store.read(TallyQuery(hot.NOW))
        store.close()
        upkeep = driver.maintenance("")
        assert upkeep.check() == []
        assert list(upkeep.pruning(hot.NOW * 2, 100, now=hot.NOW * 2))
        upkeep.conditions(lambda: NOW)
        lose_a_run(server, driver.connect("", Owner("last", "host", 1), hot.NOW))
    for text in (inbox.KNOWN, inbox.POST, inbox.RUN, inbox.POSTED):
        names = list(dict.fromkeys(re.findall(r":(\w+)", text)))
        for number, name in enumerate(names, 1):
            text = re.sub(rf":{name}\b", f"${number}", text)
        found[text.replace("stepflow.", f'"{SCHEMA}".')] = [{"shard": "/0", "once": 1}.get(name, "x") for name in names]
    return {text: values for text, values in found.items() if f'"{SCHEMA}".' in text}


def lose_a_run(server: Server, store: Any) -> None:
    """Let a row of the queue have no run, and the session look for it."""
    make(store, creation("lost", flow="lost.v1"), now=hot.NOW)
    server.execute(f"delete from {SCHEMA}.states where id = 'lost'")
    assert store.claim({"lost.v1": "d"}, hot.NOW, 1) == []
    found = store.next_due({"lost.v1": "d"}, hot.NOW)
    assert found.next_due is None or found.next_due > hot.NOW
    store.close()


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A plan and all parts of it."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


class Plan:
    """What PostgreSQL makes of a statement with values."""

    def __init__(self, admin: psycopg.Connection[Any], text: str, values: Sequence[object]) -> None:
        cursor = psycopg.RawCursor(admin)
        cursor.execute(f"explain (format json) {text}", values)
        row = cursor.fetchone()
        assert row is not None
        self.nodes = list(nodes((json.loads(row[0]) if isinstance(row[0], str) else row[0])[0]["Plan"]))
        found = [node for node in self.nodes if node.get("Relation Name") in DISTRIBUTED]
        self.scans = [node for node in found if "Scan" in node["Node Type"]]
        self.everywhere = [node["Relation Name"] for node in self.scans if not self._of_one_shard(node)]
        self.writes = [node["Operation"] for node in self.nodes if node["Node Type"] == "ModifyTable"]
        self.locks = any(node["Node Type"] == "LockRows" for node in self.nodes)

    @staticmethod
    def _of_one_shard(node: Mapping[str, Any]) -> bool:
        conditions = " ".join(str(node.get(kind, "")) for kind in ("Index Cond", "Filter", "Recheck Cond"))
        return re.search(r"\(\(?(\w+\.)?shard = '", conditions) is not None


def refused(text: str, plan: Plan) -> list[str]:
    """What Citus would refuse, or do on a worker that only the coordinator can do."""
    problems = []
    changes = [one for one in plan.writes if one != "Insert"]
    if plan.everywhere and (plan.locks or changes):
        problems.append(f"locks rows without equality on the shard: {plan.everywhere}")
    if plan.everywhere and len(plan.scans) > 1:
        problems.append(f"joins what may be on several workers: {plan.everywhere}")
    if plan.scans and re.search(r"nextval\(|pg_advisory|clock_timestamp|'::regclass", text):
        problems.append("calls on a worker what only the coordinator has")
    if len(plan.writes) > 1 and "Insert" in plan.writes:
        problems.append("inserts in a part of a larger statement")
    if "ctid" in text and len(plan.writes) > 1:
        problems.append("finds rows by ctid in a statement whose parts may be planned apart")
    columns = re.findall(r"insert into \S+ \(([^)]*)\)", text)
    if "meta" not in text and any("shard" not in names.split(", ") for names in columns):
        problems.append("inserts rows without a shard")
    if (conflict := re.search(r"on conflict \((\w+)", text)) and "meta" not in text and conflict[1] != "shard":
        problems.append("looks for conflicts without the shard")
    return problems


def test_every_statement_is_one_that_citus_accepts(server: Server, sent: Sent) -> None:
    found: dict[str, list[str]] = {}
    with psycopg.connect(server.uri, autocommit=True) as admin:
        admin.execute("set plan_cache_mode = force_custom_plan")
        admin.execute("set enable_seqscan = off")
        for text, values in sent.items():
            if re.match(r"[\s(]*(select|insert|update|delete|with)\b", text) and (
                problems := refused(text, Plan(admin, text, values))
            ):
                found[text] = problems
    assert found == {}
    assert len(sent) > 60


def test_a_row_of_the_queue_without_a_run_keeps_no_engine_from_ending(server: Server) -> None:
    clock = VirtualClock()
    distributed(server)
    with Engine(server.url(SCHEMA, shards=3), clock=clock) as engine:
        for name in ("lost", "kept"):
            engine.start(ORDER, {}, id=name)
    server.execute(f"delete from {SCHEMA}.states where id = 'lost'")
    with Engine(server.url(SCHEMA, shards=3), clock=clock) as engine:
        engine.register(ORDER)
        engine.run_until_idle()
        assert engine.get("kept").status() is Status.COMPLETED
    with psycopg.connect(server.uri) as admin:
        ((key, blocked),) = admin.execute(f"select id, blocked from {SCHEMA}.queue").fetchall()
    assert key == "lost"
    assert "there is a row of the queue, but no run" in blocked


def test_the_tables_can_be_distributed_as_they_are(server: Server) -> None:
    distributed(server)
    of_schema = "(select oid from pg_class where relnamespace = %s::regnamespace)"
    with psycopg.connect(server.uri, autocommit=True) as admin:
        tables = admin.execute("select tablename from pg_tables where schemaname = %s", (SCHEMA,)).fetchall()
        assert sorted(name for (name,) in tables) == sorted([*DISTRIBUTED, *REFERENCE])
        unique = admin.execute(
            "select i.indrelid::regclass::text, array(select a.attname from pg_attribute a where a.attrelid = i.indrelid"
            f" and a.attnum = any(i.indkey)) from pg_index i where i.indisunique and i.indrelid in {of_schema}",
            (SCHEMA,),
        ).fetchall()
        assert [table for table, columns in unique if "shard" not in columns] == [f"{SCHEMA}.meta"]
        for catalog, column in (("pg_trigger", "tgrelid"), ("pg_attrdef", "adrelid"), ("pg_constraint", "conrelid")):
            more = {
                "pg_attrdef": " and pg_get_expr(adbin, adrelid) like '%%nextval%%'",
                "pg_constraint": " and contype = 'f'",
            }
            query = f"select count(*) from {catalog} where {column} in {of_schema}{more.get(catalog, '')}"
            assert admin.execute(query, (SCHEMA,)).fetchone() == (0,)


def test_the_printed_script_distributes_every_table_once(server: Server) -> None:
    driver = PostgresDriver(server.url("other", shards=4))
    script = driver.distribution()
    for table in DISTRIBUTED:
        assert script.count(f"create_distributed_table('\"other\".{table}', 'shard', colocate_with => '") == 1
    assert script.count("colocate_with => 'none'") == 1
    assert re.findall(r"create_reference_table\('\"other\"\.(\w+)'\)", script) == list(REFERENCE)
    assert "set value = 8" not in script  # the URL says how many shards there are
    assert "set value = 8" in PostgresDriver(server.url("other")).distribution()


def test_a_database_without_citus_is_not_changed(server: Server) -> None:
    driver = PostgresDriver(server.url(server.schema()))
    with pytest.raises(StoreError, match="no extension citus"):
        driver.distribute()
    found = {one.what: one for one in driver.maintenance("").conditions(lambda: hot.NOW)}
    assert (found["distribution"].ok, found["distribution"].found) == (True, "none: all tables are on this server")
    assert found["shards"].found.startswith("1:")


def test_doctor_tells_that_a_table_is_not_distributed(server: Server) -> None:
    found = {one.what: one for one in distributed(server).maintenance("").conditions(lambda: hot.NOW)}
    assert not found["distribution"].ok
    assert "run stepflow migrate --citus" in found["distribution"].found
    assert found["shards"].found.startswith("3:")


def test_the_block_of_the_script_gives_a_new_store_eight_shards_once(server: Server) -> None:
    schema = server.schema()
    driver = PostgresDriver(server.url(schema))
    driver.connect("", Owner("first", "host", 1), NOW).close()
    block = driver.distribution().split(";\n")[0].replace("pg_catalog.pg_dist_partition", f"{schema}.known")
    server.execute(f"create table {schema}.known (logicalrelid regclass)")
    shards = f"select value from {schema}.meta where name = 'shards'"
    with psycopg.connect(server.uri, autocommit=True) as admin:
        admin.execute(f"insert into {schema}.known values ('{schema}.meta')")
        admin.execute(block)
        assert admin.execute(shards).fetchone() == (1,)
        admin.execute(f"delete from {schema}.known")
        admin.execute(block)
        assert admin.execute(shards).fetchone() == (8,)
