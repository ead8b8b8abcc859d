"""The source obeys the architecture, and every rule finds what it is made to find."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import rooms, rules
from tests.house.source_tree import Tree

ROOT = Path(__file__).resolve().parents[2]
DOC = '"""Does the one thing that this test needs."""\n'
RULES = (*rules.RULES, *rooms.RULES)


@pytest.fixture(scope="module")
def source() -> Tree:
    return Tree.read(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_the_source_obeys(rule, source):
    assert rule(source) == []


@pytest.mark.parametrize("folder", ["tests", "examples"])
def test_no_file_beside_the_package_is_too_long(folder):
    page = 75  # of an example in one file; those of several files have a folder, or names that begin with orders_
    files = {p: len(p.read_text().splitlines()) for p in sorted((ROOT / folder).rglob("*.py"))}
    numbered = {p for p in files if folder == "examples" and p.name[0].isdigit()}
    assert {str(p): n for p, n in files.items() if n > (page if p in numbered else rules.MAX_FILE)} == {}


def test_no_migration_asks_the_store_for_the_time():
    files = sorted((ROOT / "stepflow").rglob("*.sql"))
    assert len(files) > 3
    assert [str(p) for p in files if rules.SQL_CLOCK.search(p.read_text())] == []


PORT = "from abc import abstractmethod\n\nclass Port:\n" + "    @abstractmethod\n    def f(self): ...\n" * 11
LAWS = '''"""The port of the sound tree."""
class Store:
    """Laws:

    1. *First.* Kept.
    2. *Second.* Kept too.
    """
'''
PARTS = """from attrs import define
@define
class Lease:
    fence: int
class Feed:
    def wake(self): ...
"""
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
    "a cycle": (rules.cycles, "engine/checks.py", "from stepflow.engine import session"),
    "a cycle through an import in a function": (
        rules.cycles,
        "engine/checks.py",
        "def f():\n    from stepflow.engine import session",
    ),
    "the door": (rules.door_from_inside, "cli/x.py", "from stepflow import Engine"),
    "the door, plainly": (rules.door_from_inside, "cli/x.py", "import stepflow"),
    "a door name that is a package": (rules.shadowing_door_names, "__init__.py", "from stepflow.model import steps"),
    "chance in a pure package": (rules.impure, "replay/x.py", "from random import random"),
    "files in a pure package": (rules.impure, "model/x.py", "def f():\n    return open('x')"),
    "uuid in a pure package": (rules.impure, "steps/x.py", "from uuid import uuid4\nX = uuid4()"),
    "a wall clock": (rules.clock_reads, "engine/checks.py", "import time as t\nX = t.time()"),
    "a clock taken along": (rules.clock_reads, "cli/x.py", "from time import monotonic_ns\nX = monotonic_ns"),
    "today": (rules.clock_reads, "testing/x.py", "import datetime\nX = datetime.date.today()"),
    "the loop's clock": (rules.clock_reads, "engine/checks.py", "def f(loop):\n    return loop.time()"),
    "the running loop's clock": (
        rules.clock_reads,
        "cli/x.py",
        "from asyncio import get_running_loop\nX = get_running_loop().time()",
    ),
    "a clock in a pure package": (rules.clock_reads, "steps/x.py", "from datetime import datetime\nX = datetime.now()"),
    "a clock as a default": (rules.clock_reads, "engine/checks.py", "import time\n\ndef f(now=time.time): ..."),
    "the store's clock": (rules.clock_reads, "drivers/x.py", "SQL = 'select now()'"),
    "a thread without a guard": (
        rules.unguarded_threads,
        "engine/x.py",
        "import threading\n\ndef f():\n    threading.Thread(target=f).start()",
    ),
    "a timer": (rules.unguarded_threads, "drivers/x.py", "from threading import Timer\n\ndef f():\n    Timer(1, f)"),
    "a wait for a thread": (rules.unguarded_threads, "cli/x.py", "def f(self):\n    self._thread.join()"),
    "a fork handler": (rules.unguarded_threads, "drivers/x.py", "import os\nos.register_at_fork(before=print)"),
    "an import inside a function": (rules.inner_imports, "engine/checks.py", "def f():\n    import json"),
    "a job that is no sentence": (rules.missing_jobs, "engine/checks.py", "helpers"),
    "no docstring": (rules.missing_jobs, "engine/checks.py", None),
    "the job of another file": (rules.missing_jobs, "engine/checks.py", ""),
    "a gap": (rules.leftovers, "engine/checks.py", "X = 1  # TO" + "DO later"),
    "hidden state": (rules.leftovers, "engine/checks.py", "def f():\n    global X\n    X = 1"),
    "a long file": (rules.too_large, "engine/checks.py", "X = 1\n" * 400),
    "a long function": (rules.too_large, "engine/checks.py", "def f():\n" + "    x = 1\n" * 60),
    "a tenth of long functions": (
        rules.too_large,
        "engine/checks.py",
        ("def f():\n    x = 1\n" * 5) + ("def f():\n" + "    x = 1\n" * 31) * 4,
    ),
    "a wide port": (rules.wide_ports, "drivers/x.py", PORT),
    "a law that nothing proves": (rules.unproved_laws, "drivers/port/store.py", LAWS),
    "from one room into a later one": (
        rooms.wrong_room_imports,
        "engine/commit/x.py",
        "from stepflow.engine.worker.y import Y",
    ),
    "from a room into the wiring": (
        rooms.wrong_room_imports,
        "engine/client/x.py",
        "def f():\n    import stepflow.engine.session",
    ),
    "a new room": (rooms.unknown_rooms, "engine/helpers/x.py", ""),
    "a shared file that uses a room": (
        rooms.unknown_rooms,
        "engine/checks.py",
        "from stepflow.engine.worker.y import Y",
    ),
    "a callback set after construction": (
        rooms.foreign_attributes,
        "engine/session.py",
        PARTS + "def f(worker, feed):\n    worker.on_quit = feed.wake",
    ),
    "an attribute of another part": (
        rooms.foreign_attributes,
        "engine/session.py",
        PARTS + "def f(worker):\n    worker.busy, x = True, 1",
    ),
    "an attribute of a part behind a part": (
        rooms.foreign_attributes,
        "engine/session.py",
        PARTS + "class Session:\n    def f(self):\n        self.worker.count += 1",
    ),
    "an attribute of another part, by its name": (
        rooms.foreign_attributes,
        "engine/session.py",
        PARTS + "def f(worker):\n    setattr(worker, 'busy', True)",
    ),
    "a driver in another driver": (
        rooms.wrong_driver_imports,
        "drivers/sqlite/x.py",
        "import stepflow.drivers.memory.x",
    ),
    "a driver in the engine": (rooms.wrong_driver_imports, "engine/x.py", "from stepflow.drivers.sqlite.x import X"),
    "a driver in the port": (rooms.wrong_driver_imports, "drivers/port/x.py", "def f():\n    from ..sqlite import x"),
    "a lambda in a record": (
        rooms.foreign_attributes,
        "engine/worker/x.py",
        PARTS + "def f(lease):\n    lease.fence = lambda: None",
    ),
    "a method in a record": (
        rooms.foreign_attributes,
        "engine/worker/x.py",
        PARTS + "def f(lease, feed):\n    lease.fence = feed.wake",
    ),
    "a class name that another class has": (rooms.names_used_twice, "cli/x.py", "class Y: ..."),
    "a class name with an underscore that another class has": (rooms.names_used_twice, "cli/x.py", "class _Y: ..."),
    "a wordy median": (rules.too_large, "engine/checks.py", ("def f():\n" + "    x = 1\n" * 8) * 4),
}
SOUND = {
    "stepflow/__init__.py": '"""The public door of a small sound tree."""\nfrom stepflow.engine.session import Engine\n',
    "stepflow/engine/__init__.py": '"""Engine: a part of the sound tree."""\n',
    "stepflow/engine/clock.py": '"""Reads the clock, the only file that may."""\nimport time\nNOW = time.time()\n',
    "stepflow/engine/session.py": '"""Runs things by the clock."""\nfrom stepflow.engine import checks\n',
    "stepflow/engine/checks.py": '"""A file that nothing is wrong with."""\n',
    "stepflow/drivers/y.py": '"""A driver of nothing at all."""\n\ndef f():\n    import psycopg\n',
    "stepflow/drivers/z.py": '"""A driver that needs an extra."""\nimport psycopg\n',
    "stepflow/cli/y.py": '"""BlockingVerbs of the sound tree."""\n\ndef f():\n    from stepflow.drivers import z\n',
    "stepflow/engine/worker/y.py": '"""A part of the sound tree."""\n\nclass Y: ...\n',
    "stepflow/drivers/memory/x.py": '"""A driver that others may not use."""\n',
    "stepflow/drivers/sqlite/x.py": '"""A driver that keeps to the port."""\nimport stepflow.drivers.port.x\n',
    "stepflow/drivers/port/x.py": '"""The port of the sound tree, without laws."""\n',
    "stepflow/steps/__init__.py": '"""The steps of the sound tree."""\nfrom datetime import datetime, time\n',
}


def test_a_sound_tree_breaks_no_rule():
    assert [found for rule in RULES for found in rule(Tree.of(SOUND))] == []


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_the_rule_finds(case):
    rule, path, code = case
    text = "X = 1\n" if code is None else DOC + code
    if rule is rules.missing_jobs and code is not None:
        text = f'"""{code}"""\n' if code else SOUND["stepflow/engine/clock.py"]
    if rule is rules.unproved_laws:
        text = code
    assert rule(Tree.of(SOUND | {f"stepflow/{path}": text})) != []


def test_a_part_may_change_itself_and_what_it_makes_and_records():
    code = (
        PARTS
        + """
class Part:
    def __init__(self, wake):
        self.wake = wake

    def f(self, lease):
        lease.fence = 1
        made = Part(None)
        made.wake = self.f
"""
    )
    assert rooms.foreign_attributes(Tree.of(SOUND | {"stepflow/engine/worker/x.py": DOC + code})) == []


def test_the_median_of_files_counts():
    files = {
        f"stepflow/engine/x{n}.py": f'"""File {n} of a tree of long ones."""\n' + "X = 1\n" * 160 for n in range(9)
    }
    (found,) = rules.too_large(Tree.of(SOUND | files))
    assert found == "the median file has 161 lines, at most 150"


def test_a_law_is_proved_by_a_test_that_is_named_after_it():
    kit = "def test_law_{}_it_holds(self): ...\n"
    path = "stepflow/testing/conformance/x.py"
    whole = SOUND | {"stepflow/drivers/port/store.py": LAWS}
    assert rules.unproved_laws(Tree.of(whole | {path: DOC + kit.format(1) + kit.format(2)})) == []
    (missing,) = rules.unproved_laws(Tree.of(whole | {path: DOC + kit.format(1)}))
    assert missing.startswith("law 2 is stated")
    (unknown,) = rules.unproved_laws(Tree.of(whole | {path: DOC + "".join(map(kit.format, (1, 2, 3)))}))
    assert unknown.startswith("a test of the kit is named after law 3")
