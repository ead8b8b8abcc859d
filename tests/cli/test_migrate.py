"""The verb `migrate`: makes a store, prints the SQL that does, and distributes the tables."""

import re
import sqlite3
from contextlib import closing

from stepflow.drivers.sqlite.schema import migrations


def laid_out_alike(statements):
    """Without the spaces and quotes that `ALTER TABLE` puts in other places than a person who writes a table."""
    return [" ".join(re.sub(r"([(),])", r" \1 ", text.replace('"', "")).split()) for (text,) in statements]


def test_migrate_prints_sql_that_makes_the_very_tables(stepflow, tmp_path):
    script = stepflow("migrate", "--print")
    assert not list(tmp_path.glob("*.db"))
    assert stepflow("migrate").endswith(f"has schema {migrations()[-1][0]}\n")
    (made,) = tmp_path.glob("*.db")
    with closing(sqlite3.connect(":memory:")) as ours, closing(sqlite3.connect(made)) as theirs:
        ours.executescript(script)
        tables, facts = (
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid",
            "SELECT * FROM stepflow_meta ORDER BY name",
        )
        assert laid_out_alike(ours.execute(tables)) == laid_out_alike(theirs.execute(tables))
        assert ours.execute(facts).fetchall() == theirs.execute(facts).fetchall()
    assert [one["number"] for one in stepflow.json("migrate", "--print")["scripts"]] == [
        number for number, _script in migrations()
    ]


def test_migrate_names_the_schema_of_a_server_without_asking_it(stepflow):
    printed = stepflow("migrate", "--print", "--store", "postgresql://nobody@nowhere.invalid/db?schema=mine")
    assert 'create table "mine".queue (' in printed
    assert "stepflow." not in printed


def test_migrate_prints_how_citus_distributes_the_tables(stepflow):
    printed = stepflow("migrate", "--citus", "--print", "--store", "postgresql://nobody@nowhere.invalid/db?schema=mine")
    assert printed.index('create table "mine".queue (') < printed.index(
        "create_distributed_table('\"mine\".queue', 'shard'"
    )
    assert "create_reference_table('\"mine\".schedules')" in printed
    scripts = stepflow.json("migrate", "--citus", "--print", "--store", "postgresql://nobody@nowhere.invalid/db")[
        "scripts"
    ]
    assert scripts[-1]["number"] == "citus"


def test_migrate_distributes_no_store_of_another_kind(stepflow):
    assert stepflow("migrate", "--citus", "--print") == ""
    assert stepflow.code
    assert "only a PostgreSQL store can be distributed: give a postgresql:// URL" in stepflow.err
