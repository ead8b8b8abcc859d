"""The program in the README is killed by SIGKILL in a real process and goes on in the next one, as the README says."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.house.pages import ROOT, blocks_of, run_script

KILLER = """
import builtins, os, signal

def deadly_print(*args, _print=builtins.print, **options):
    _print(*args, **options, flush=True)
    if args[0] == "{word}":
        os.kill(os.getpid(), signal.SIGKILL)

builtins.print = deadly_print
"""


def quickstart() -> str:
    return next(b.text for b in blocks_of((ROOT / "README.md").read_text()) if b.language == "python")


def run(folder: Path, die_at: str = ""):
    script = folder / "quickstart.py"
    script.write_text((KILLER.format(word=die_at) if die_at else "") + quickstart())
    return run_script(script, folder)


@pytest.mark.parametrize(
    ("die_at", "first", "second"),
    [
        ("charged", ["charged 42"], ["charged 42", "shipped 42"]),
        ("shipped", ["charged 42", "shipped 42"], ["shipped 42"]),
    ],
)
def test_it_goes_on_where_it_was_killed(die_at, first, second, tmp_path):
    killed = run(tmp_path, die_at)
    assert killed.returncode == -signal.SIGKILL
    assert killed.stdout.splitlines() == first
    resumed = run(tmp_path)
    assert resumed.stdout.splitlines() == [*second, "Order(number=42, paid=True)"]


def test_a_finished_program_does_nothing_again(tmp_path):
    run(tmp_path)
    assert run(tmp_path).stdout.splitlines() == ["Order(number=42, paid=True)"]


def test_it_is_short():
    assert len([line for line in quickstart().splitlines() if line.strip()]) <= 18
