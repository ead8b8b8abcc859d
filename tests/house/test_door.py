"""The door: its two lists of names agree, everything it names is there, and opening it costs next to nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import stepflow

SOURCE = ast.parse(Path(stepflow.__file__).read_text())


def typed_names() -> dict[str, str]:
    """Name -> module, as type checkers see them."""
    return {
        alias.name: str(node.module)
        for block in SOURCE.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_and_programs_see_the_same_names_from_the_same_modules():
    assert typed_names() == stepflow._MODULE_OF
    assert sorted(stepflow._MODULE_OF) == stepflow.__all__


@pytest.mark.parametrize("name", stepflow.__all__)
def test_every_name_is_there(name):
    value = getattr(stepflow, name)
    assert getattr(value, "__name__", name) in (name, str(value))
    assert name in dir(stepflow)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Flow'"):
        stepflow.Flow  # noqa: B018


def test_chains_do_not_load_engines_and_engines_do_not_load_drivers():
    program = (
        "import sys, stepflow\n"
        "print([m for m in ('attrs', 'asyncio') if m in sys.modules])\n"
        "from stepflow import named\n"
        "print([m for m in ('asyncio', 'sqlite3', 'stepflow.engine') if m in sys.modules])\n"
        "from stepflow import Engine\n"
        "print([m for m in ('stepflow.drivers.sqlite', 'stepflow.cli', 'click') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n[]\n"
