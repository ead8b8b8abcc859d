"""The verbs that mend runs: the table of the guide has all of them, on each surface, for one run and for many, with a dry run."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import msgspec
import pytest

from stepflow import AsyncEngine, Engine
from stepflow.cli.app import VERBS, app
from stepflow.engine.blocking.run import Run
from stepflow.engine.client.run import AsyncRun
from stepflow.server.operator_api.api import OPERATIONS

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "many-runs.md"
ROW = re.compile(
    r"\| (?P<verb>\w+) \| `(?P<one>\w+\.\w+)\(.*?\)` \| `engine\.(?P<many>\w+)\(runs.*?\)` \| `(?P<cli>\w+)` \| `(?P<api_one>/run/\w+)`"
    r" \| `(?P<api_many>/runs/\w+)` \|"
)
TABLE = {found["verb"]: found for line in GUIDE.read_text().splitlines() if (found := ROW.fullmatch(line))}
ALIASES = {"retry"}  # of redrive
CONTEXT = click.Context(app)


def options_of(verb):
    command = app.get_command(CONTEXT, verb)
    assert command is not None
    return {name for one in command.params for name in one.opts}


def takes_dry_run(cls, verb):
    return "dry_run" in inspect.signature(getattr(cls, verb)).parameters


def test_the_table_has_every_verb_of_each_surface():
    bulk = {name for name in dir(AsyncEngine) if not name.startswith("_") and callable(getattr(AsyncEngine, name)) and takes_dry_run(AsyncEngine, name)}  # fmt: skip
    assert {row["many"] for row in TABLE.values()} == bulk
    posts = {one.path for one in OPERATIONS if one.method == "POST" and one.path.startswith("/runs/")}
    assert {row["api_many"] for row in TABLE.values()} == posts
    assert {row["cli"] for row in TABLE.values()} == {one for one in VERBS if "--yes" in options_of(one)} - ALIASES


@pytest.mark.parametrize("verb", TABLE)
def test_each_cell_is_there(verb):
    row = TABLE[verb]
    assert {row["many"], row["cli"], row["api_one"][5:], row["api_many"][6:]} == {verb}
    holder, _dot, method = row["one"].partition(".")
    one_of: dict[str, tuple[type, ...]] = {"run": (Run, AsyncRun), "engine": (Engine, AsyncEngine)}
    assert all(callable(getattr(cls, method)) for cls in one_of[holder])
    assert takes_dry_run(Engine, verb)
    assert {"--yes", "--all", "--status", "--label", "--error-type", "--position", "--flow"} <= options_of(verb)
    found = {one.path: one for one in OPERATIONS}
    fields = {field.name: field for field in msgspec.structs.fields(found[row["api_many"]].body)}
    assert {"filter", "ids"} <= fields.keys()
    assert fields["dry_run"].default is True
    assert "id" in {field.name for field in msgspec.structs.fields(found[row["api_one"]].body)}


def test_retry_is_redrive():
    assert options_of("retry") == options_of("redrive")
