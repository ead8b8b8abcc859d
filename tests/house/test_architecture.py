"""The source obeys the architecture, and every rule finds what it is made to find."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import rules
from tests.house.source_tree import Tree

ROOT = Path(__file__).resolve().parents[2]
DOC = '"""Does the one thing that this test needs."""\n'


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda r: r.__name__)
def test_the_source_obeys(rule):
    assert rule(Tree.read(ROOT)) == []


@pytest.mark.parametrize("folder", ["tests", "examples"])
def test_no_file_beside_the_package_is_too_long(folder):
    limit = 60 if folder == "examples" else rules.MAX_FILE
    files = {p: len(p.read_text().splitlines()) for p in sorted((ROOT / folder).rglob("*.py"))}
    assert {str(p): n for p, n in files.items() if n > limit and not p.name.startswith("orders_")} == {}


BAD = {
    "upward from model to engine": (rules.upward_arrows, "model/x.py", "from stepflow.engine.clock import now"),
    "upward inside a function": (rules.upward_arrows, "steps/x.py", "def f():\n    import stepflow.engine.clock"),
    "upward through a relative import": (rules.upward_arrows, "drivers/x.py", "from ..engine import clock"),
    "sideways": (rules.upward_arrows, "steps/x.py", "from stepflow.drivers import y"),
    "for typing only": (
        rules.upward_arrows,
        "model/x.py",
        "if TYPE_CHECKING:\n    from stepflow.engine.clock import C",
    ),
    "a new top-level part": (rules.unknown_parts, "helpers/x.py", ""),
    "a cycle": (rules.cycles, "engine/x.py", "from stepflow.engine import loop"),
    "the door": (rules.door_from_inside, "cli/x.py", "from stepflow import Engine"),
    "the door, plainly": (rules.door_from_inside, "cli/x.py", "import stepflow"),
    "a door name that is a package": (rules.shadowing_door_names, "__init__.py", "from stepflow.model import steps"),
    "chance in a pure package": (rules.impure, "replay/x.py", "from random import random"),
    "files in a pure package": (rules.impure, "model/x.py", "def f():\n    return open('x')"),
    "uuid in a pure package": (rules.impure, "steps/x.py", "from uuid import uuid4\nX = uuid4()"),
    "a wall clock": (rules.clock_reads, "engine/x.py", "import time as t\nX = t.time()"),
    "a clock taken along": (rules.clock_reads, "cli/x.py", "from time import monotonic_ns\nX = monotonic_ns"),
    "today": (rules.clock_reads, "testing/x.py", "import datetime\nX = datetime.date.today()"),
    "the loop's clock": (rules.clock_reads, "engine/x.py", "def f(loop):\n    return loop.time()"),
    "the store's clock": (rules.clock_reads, "drivers/x.py", "SQL = 'select now()'"),
    "an import inside a function": (rules.inner_imports, "engine/x.py", "def f():\n    import json"),
    "no docstring": (rules.missing_jobs, "engine/x.py", None),
    "the job of another file": (rules.missing_jobs, "engine/x.py", ""),
    "a gap": (rules.leftovers, "engine/x.py", "X = 1  # TO" + "DO later"),
    "hidden state": (rules.leftovers, "engine/x.py", "def f():\n    global X\n    X = 1"),
    "a long file": (rules.too_large, "engine/x.py", "X = 1\n" * 300),
    "a long function": (rules.too_large, "engine/x.py", "def f():\n" + "    x = 1\n" * 60),
    "a wordy median": (rules.too_large, "engine/x.py", ("def f():\n" + "    x = 1\n" * 8) * 4),
}
SOUND = {
    "stepflow/__init__.py": '"""The public door of a small sound tree."""\nfrom stepflow.engine.loop import Engine\n',
    "stepflow/engine/__init__.py": '"""Engine: a part of the sound tree."""\n',
    "stepflow/engine/clock.py": '"""Reads the clock, the only file that may."""\nimport time\nNOW = time.time()\n',
    "stepflow/engine/loop.py": '"""Runs things by the clock."""\nfrom stepflow.engine import x\n',
    "stepflow/engine/x.py": '"""A file that nothing is wrong with."""\n',
    "stepflow/drivers/y.py": '"""A driver of nothing at all."""\n\ndef f():\n    import psycopg\n',
    "stepflow/drivers/z.py": '"""A driver that needs an extra."""\nimport psycopg\n',
    "stepflow/cli/y.py": '"""Verbs of the sound tree."""\n\ndef f():\n    from stepflow.drivers import z\n',
    "stepflow/steps/__init__.py": '"""The steps of the sound tree."""\nfrom datetime import datetime, time\n',
}


def test_a_sound_tree_breaks_no_rule():
    assert [found for rule in rules.RULES for found in rule(Tree.of(SOUND))] == []


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_the_rule_finds(case):
    rule, path, code = case
    text = "X = 1\n" if code is None else DOC + code
    if rule is rules.missing_jobs and code is not None:
        text = SOUND["stepflow/engine/clock.py"]
    assert rule(Tree.of(SOUND | {f"stepflow/{path}": text})) != []
