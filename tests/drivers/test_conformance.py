"""The entry of the conformance kit: one import line, names that load when they are used, errors that name what there is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from stepflow.testing import conformance

SOURCE = ast.parse(Path(conformance.__file__).read_text())


@pytest.mark.parametrize("name", conformance.__all__)
def test_every_name_is_there(name):
    assert getattr(conformance, name).__name__ == name
    assert name in dir(conformance)


def test_type_checkers_and_programs_see_the_same_names_from_the_same_modules():
    typed = {
        alias.name: str(node.module).removeprefix("stepflow.testing.conformance.")
        for block in SOURCE.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == conformance._MODULE_OF
    assert sorted(typed) == conformance.__all__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"no attribute 'Laws'; it has CrashLaws, DriverLaws, "):
        conformance.Laws  # noqa: B018


def test_the_entry_loads_what_is_used():
    program = (
        "import sys, stepflow.testing.conformance as kit\n"
        "loaded = lambda: [m for m in ('pytest', 'hypothesis', 'attrs') if m in sys.modules]\n"
        "print(loaded())\n"
        "from stepflow.testing.conformance import DriverLaws\n"
        "print([m for m in loaded() if m != 'attrs'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n['pytest']\n"
