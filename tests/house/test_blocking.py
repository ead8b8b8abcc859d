"""The blocking faces are what the script generates from the async ones, and both have the same names and parameters."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest

import stepflow
from stepflow.engine.blocking.flow_engine import FlowEngine
from stepflow.engine.blocking.states import BlockingVerbs
from stepflow.engine.flow_engine import AsyncFlowEngine
from stepflow.engine.states.api import AsyncVerbs
from tests.house.generate_blocking import COMMAND, FACES, ROOT, generated

PAIRS = [
    (stepflow.AsyncEngine, stepflow.Engine),
    (stepflow.AsyncRun, stepflow.Run),
    (stepflow.Watch, stepflow.SyncWatch),
    (AsyncVerbs, BlockingVerbs),
    (AsyncFlowEngine, FlowEngine),
]


@pytest.mark.parametrize("path", FACES)
def test_the_files_are_what_the_script_generates(path):
    assert (ROOT / path).read_text() == generated(path), f"{path} differs from its async source: run `{COMMAND}`"


def public(kind: type[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Public methods by name, with their parameters."""
    return {
        name: [(p.name, p.kind, p.default) for p in inspect.signature(getattr(kind, name)).parameters.values()]
        for name in dir(kind)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("twin", "face"), PAIRS, ids=lambda kind: kind.__name__)
def test_both_faces_have_the_same_methods_and_parameters(twin, face):
    assert public(face) == public(twin)
    assert not [name for name, parameters in public(face).items() if any(p[1] is p[1].VAR_KEYWORD for p in parameters)]


def test_both_engines_take_the_same_arguments():
    """Except where commits are made: the loop of a blocking engine is its own."""
    theirs = inspect.signature(stepflow.AsyncEngine)
    same = [parameter for name, parameter in theirs.parameters.items() if name != "commit_on_loop"]
    assert inspect.signature(stepflow.Engine) == theirs.replace(parameters=same)


@pytest.fixture
def changed(tmp_path):
    """Generates Run from a copy of the source in which a text was replaced."""

    def change(before: str, after: str) -> str:
        shutil.copytree(ROOT / "stepflow" / "engine", tmp_path / "stepflow" / "engine")
        source: Path = tmp_path / "stepflow/engine/client/run.py"
        text = source.read_text()
        assert before in text
        source.write_text(text.replace(before, after))
        return generated("stepflow/engine/blocking/run.py", tmp_path)

    return change


STATUS = "    async def status(self)"


def test_a_new_method_is_forwarded_with_its_docstring(changed):
    method = '''    async def peek(self, *ids: str, limit: int = 5, tx: Any = None) -> list[str]:
        """Look, as in `await run.peek("a")`."""
        return [*ids]

'''
    text = changed(STATUS, method + STATUS)
    assert "    def peek(self, *ids: str, limit: int = 5, tx: Any = None) -> list[str]:\n" in text
    assert '        """Look, as in `run.peek("a")`."""\n' in text
    assert "        return self._call_tx(tx, self._run.peek(*ids, limit=limit, tx=tx))\n" in text


def test_parameters_without_names_are_refused(changed):
    with pytest.raises(AssertionError, match=r"AsyncRun\.status takes anything by keyword: name its parameters"):
        changed(STATUS, "    async def status(self, **options: Any)")


def test_a_docstring_that_speaks_of_the_loop_is_refused(changed):
    with pytest.raises(AssertionError, match="status: say it without 'loop', or write this method by hand"):
        changed("What the run is doing now.", "What the run is doing now; call it on the loop.")


def test_a_type_that_nothing_defines_is_refused(changed):
    with pytest.raises(AssertionError, match="nothing defines 'Moment'"):
        changed(f"{STATUS} -> Status", f"{STATUS} -> Moment")


@pytest.mark.parametrize(
    ("method", "refusal"),
    [
        ("    @property\n    def status(self)", "is decorated: write it by hand in RunBase"),
        (
            "    async def siblings(self) -> dict[str, AsyncRun[Any]]: ...\n\n" + STATUS,
            "only handles and lists of handles",
        ),
    ],
)
def test_what_cannot_be_forwarded_is_refused(changed, method, refusal):
    with pytest.raises(AssertionError, match=refusal):
        changed(STATUS, method)
