"""What a worker imports before it claims: a worker that restarts makes its runs wait for all of it."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = (
    "import click, json, sys; from stepflow.cli.app import VERBS, app; app.get_command(click.Context(app), 'worker');"
    " print(json.dumps([sorted(sys.modules), VERBS]))"
)
OTHERS = {"rich", "pydantic", "cryptography", "hypothesis", "psycopg", "rocksdict", "sqlalchemy", "stepflow.testing"}
MOST = 290  # modules of the library; 288 as this was written


def test_a_worker_imports_no_other_verb_and_no_library_that_it_does_not_need() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    modules, verbs = json.loads(done.stdout)
    assert OTHERS.isdisjoint(modules)
    assert [verb for verb in verbs if f"stepflow.cli.{verb}" in modules] == ["worker"]
    stores = ("memory", "sqlite", "postgres", "rocksdb")
    assert [name for name in stores if f"stepflow.drivers.{name}" in modules] == []
    assert sum(module.startswith("stepflow") for module in modules) <= MOST
