"""Every row of the acceptance list has a test with the id in its name or docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
UNTESTED = {
    "U1": "the state beside an error",
    "U2": "a state that is not handled",
    "U3": "an empty list",
    "U4": "the cap of 100 hops",
    "U5": "a duplicate source",
    "U6": "nested retries",
    "U7": "a retry around waits and conditions",
    "U8": "a state of several events",
    "U9": "resuming a stored state in a new process",
    "U10": "a definition that changed in between",
    "U11": "clashes of suffixes",
    "U12": "the list of transitions",
    "U13": "applying a finished flow",
}
"""What the origin does not test."""


def named_in(text: str) -> set[str]:
    """The ids in the tests of a file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            words = node.name.split("_") + re.findall(r"\w+", ast.get_docstring(node) or "")
            found |= {word.upper() for word in words if re.fullmatch(r"[fku]\d+", word, re.I)}
    return found


def test_every_row_has_its_test_and_no_test_names_another():
    rows = {f"F{n}" for n in range(1, 7)} | {f"K{n}" for n in range(1, 35)} | set(UNTESTED)
    claimed = set().union(*(named_in(file.read_text()) for file in HERE.glob("test_*.py")))
    assert claimed == rows
