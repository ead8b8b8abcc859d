"""CONTRIBUTING.md tells where things are: every file that it names exists, and the budgets are those of the rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house import rules

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
SUBJECTS = (
    "a kind of step",
    "back-off",
    "a status of runs",
    "`HistoryEntry`",
    "per commit",
    "an authoring style",
    "a query",
    "column of SQL stores",
    "a verb of the command line",
    "journal rows",
    "pause",
    "a route of the server",
    "schedules",
)


def names_in(page: str) -> list[str]:
    """The files and folders that a page names between backticks."""
    suffixes = "py|md|sql|toml|json|proto|pyi|html|yaml|lock"
    found = re.findall(rf"`([\w./*-]+(?:/|\.(?:{suffixes})))`", page)
    return [name for name in found if name != "stepflow/"]


def missing(page: str) -> list[str]:
    """The names that are no file or folder of the checkout: from its top, or below `stepflow/`."""
    return [n for n in names_in(page) if not any(any(base.glob(n)) for base in (ROOT / "stepflow", ROOT))]


def test_every_file_that_the_map_names_exists():
    assert len(names_in(PAGE)) > 80
    assert missing(PAGE) == []


def test_a_name_that_leads_nowhere_is_found():
    assert missing("`steps/kinds/`, `steps/kind/`, `drivers/*/query.py`, `drivers/*/queries2.py`, `Makefile.py`") == [
        "steps/kind/",
        "drivers/*/queries2.py",
        "Makefile.py",
    ]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_map_has_the_usual_changes(subject):
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| ")]
    assert any(subject in row for row in rows), subject


def test_the_budgets_are_those_of_the_rules():
    (budget,) = re.findall(
        r"a file has at\smost (\d+) lines \(median (\d+)\), a function at most (\d+) \(median (\d+)", PAGE
    )
    expected = rules.MAX_FILE, rules.MEDIAN_FILE, rules.MAX_FUNCTION, rules.MEDIAN_FUNCTION
    assert tuple(map(int, budget)) == expected


def test_the_arrows_are_those_of_the_rules():
    (line,) = re.findall(r"^    (errors, model .*)$", PAGE, re.M)
    below: set[str] = set()
    for group in line.split("<-"):
        parts = {part.strip() for part in group.split(",")}
        for part in parts:
            assert rules.MAY_IMPORT[part] <= below | parts, part
        below |= parts
