"""The door: its two lists of names agree, everything it names is there, and opening it costs next to nothing."""

from __future__ import annotations

import ast
import functools
import inspect
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


def undocumented(name: str, value: object) -> list[str]:
    """The name itself, and every public method and property of a class, that has no docstring."""
    missing = [] if inspect.getdoc(value) else [name]
    if isinstance(value, type):
        parts = {key: inspect.getattr_static(value, key) for key in dir(value) if not key.startswith("_")}
        told = (property, functools.cached_property, staticmethod, classmethod)
        parts = {key: part for key, part in parts.items() if isinstance(part, told) or inspect.isroutine(part)}
        missing += [f"{name}.{key}" for key, part in parts.items() if not inspect.getdoc(part)]
    return missing


@pytest.mark.parametrize("name", stepflow.__all__)
def test_every_name_and_all_that_it_offers_is_documented(name):
    assert undocumented(name, getattr(stepflow, name)) == []


def test_what_is_not_documented_is_found():
    class Bare:
        def method(self) -> None: ...

        @property
        def value(self) -> int:
            return 1

        def told(self) -> None:
            """It is."""

    assert undocumented("Bare", Bare) == ["Bare", "Bare.method", "Bare.value"]


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
